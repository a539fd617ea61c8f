"""One connector: its settings, validation, rehearsal, changes and actions.

Parts from the trace and the history come afterwards, when htmx asks for them, or a link does.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gatepost.analysis.rehearsal.verdicts import ConnectorKey
from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages import resource_paths
from gatepost.manage.pages.account_forms import all_errors
from gatepost.manage.pages.connectors import FAILED, counted, undo_of
from gatepost.manage.pages.editor import change_rows
from gatepost.manage.pages.guard import context_of, needs, not_there, or_not_there, perform, principal_of
from gatepost.manage.pages.rendering import LONG_PATIENCE, PATIENCE, PENDING, is_partial, render, see_changed, see_other
from gatepost.manage.pages.text_filters import sentence
from gatepost.manage.pages.validation_tasks import task_items
from gatepost.manage.use_cases import login_secrets
from gatepost.manage.use_cases.connector_views import ConnectorView, ViewConnector, view_connector
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.name_lookup import RULE, Chosen, Part
from gatepost.manage.use_cases.part_cases import PARTS, RemovePart, SetPart
from gatepost.manage.use_cases.part_record import fields_of, part_command, part_toml
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.rehearsal import RehearsalQuestion, RehearsalReport, show_rehearsal
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.resource_views import ListPartChanges, list_part_changes
from gatepost.manage.use_cases.trace import SearchTrace, search_trace_events
from gatepost.manage.use_cases.validation_runs import ValidateConnector
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response


DIRECTIONS: Final = ("inbound", "outbound")
_LAST: Final = 5

_SWITCHES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "enable": ({"enabled": True}, N_("%(connector)s is enabled.")),
    "disable": ({"enabled": False}, N_("%(connector)s is disabled: the gateway handles mail without it.")),
    "enforce": (
        {"mode": None},
        N_("%(connector)s is enforced: the gateway refuses or holds back mail that does not meet its requirements."),
    ),
    "rehearse": (
        {"mode": "rehearse"},
        N_("%(connector)s is in rehearsal: the gateway only reports mail that it would refuse or hold back."),
    ),
}


def chosen_of(request: Request) -> Chosen:
    """The connector that the address names, if who asks sees it. Raises HTTPException."""
    return _viewed(request).chosen


def _viewed(request: Request) -> ConnectorView:
    values = request.path_params
    organization, direction = values["organization"], request.scope["route"].name
    if not principal_of(request).sees(organization):
        raise not_there()
    connector = ViewConnector(organization=organization, direction=direction, name=values["name"])
    with or_not_there(
        _(
            "There is no %(direction)s connector %(name)s in %(organization)s.",
            direction=direction,
            name=repr(values["name"]),
            organization=organization,
        )
    ):
        return perform(request, view_connector, connector)


def _page(request: Request) -> Response:
    return connector_page(request, chosen_of(request))


def connector_page(
    request: Request,
    chosen: Chosen,
    error: str = "",
    *,
    status: int = 0,
    trial: ValidateConnector | None = None,
    trial_errors: Mapping[str, str] | None = None,
) -> Response:
    """The page of a connector. error: what is wrong. trial, trial_errors: what was to be tried, and why it was not."""
    part, view = chosen.part, _viewed(request)
    wanted = request.query_params.get("part", "")
    loaded = {name: load(request, chosen) if wanted in {name, "all"} else None for name, load in _LATER.items()}
    validation = view.validation
    return render(
        request,
        "connectors/connector.html",
        status,
        block=wanted if wanted in _LATER else "",
        row=view.row,
        chosen=chosen,
        fields=fields_of(chosen.connector),
        validation=validation,
        tasks=task_items(validation) if validation else (),
        rules=_naming(chosen),
        toml=part_toml(part),
        command=part_command(part),
        may_change=principal_of(request).may(Scope.CONNECTORS, chosen.organization.name),
        here=resource_paths.part_path(part),
        edit=resource_paths.edit_path(part),
        version_path=resource_paths.version_path,
        trace_path=resource_paths.trace_path,
        rule_path=lambda rule: resource_paths.part_path(Part(RULE, chosen.organization, rule)),
        failed_word=_(FAILED[chosen.direction]),
        version=view.version,
        trust_path=resource_paths.trust_path(chosen.organization.name, chosen.connector.name),
        validate_path=resource_paths.validate_path(chosen.organization.name, chosen.direction, chosen.connector.name),
        trial=trial
        or ValidateConnector(organization="", connector="", session=request.query_params.get("session", "")),
        trial_errors=trial_errors or {},
        made=bool(request.query_params.get("made")),
        shown_changes=change_rows,
        error=error,
        secret=_secret(request, chosen),
        **loaded,
    )


def _secret(request: Request, chosen: Chosen) -> str:
    """What there is of the secret of a connector that logs in, "" for one that does not."""
    if getattr(chosen.connector, "authentication", None) is None:  # inbound connectors never have one
        return ""
    shown = login_secrets.ShowConnectorSecret(organization=chosen.organization.name, connector=chosen.connector.name)
    return perform(request, login_secrets.show_connector_secret, shown).secret


def _naming(chosen: Chosen) -> list[Any]:
    """The mail flow rules that send mail by it, and so need it."""
    if chosen.direction == "inbound":
        return []
    name = chosen.connector.name.lower()
    return [rule for rule in chosen.organization.mail_flow_rules if rule.route_via_connector.lower() == name]


def _mail(request: Request, chosen: Chosen) -> dict[str, Any]:
    """How mail fared, and the last of it."""
    owner = chosen.organization.name
    verdicts = counted(request, [_viewed(request).row])
    search = SearchTrace(since="30d", organization=owner, connector=chosen.connector.name, limit=_LAST * 4)
    events = perform(request, search_trace_events, search).items
    inbound = chosen.direction == "inbound"
    rows = [event for event in events if (event.event in {"RECEIVE", "REFUSE"}) == inbound]
    return {"verdicts": verdicts[ConnectorKey(owner, chosen.direction, chosen.connector.name)], "rows": rows[:_LAST]}


def _report(request: Request, chosen: Chosen) -> dict[str, Any] | str:
    """What it did to mail, or would do; PENDING while the trace is read for it."""
    owner, name = chosen.organization.name, chosen.connector.name
    whose = principal_of(request).organizations  # what a replay finds depends on it
    question = "connector report", whose, owner, chosen.direction, name, _viewed(request).version
    context, replay = context_of(request), not chosen.connector.enabled
    since = "7d" if replay else "30d"

    def work() -> dict[str, Any]:
        rehearsal_question = RehearsalQuestion(name=name, organization=owner, since=since, replay=replay)
        rehearsal_question.direction = "inbound" if chosen.direction == "inbound" else "outbound"
        return _shown_report(execute(show_rehearsal, context, rehearsal_question))

    result = context.kept(ReportCounts).answers.of(
        context.principal.share_key, question, work, PATIENCE if is_partial(request) else LONG_PATIENCE
    )
    return PENDING if result is None else result.value | {"at": result.at}


def _shown_report(report: RehearsalReport) -> dict[str, Any]:
    """The fields that are shown, and no more, since this is kept."""
    return {
        "answer": report.answer,
        "since": report.since,
        "messages": report.messages,
        "words": report.words,
        "conclusion": report.summary,
        "passed": report.passed,
        "failed": report.failed,
        "unknown": report.unknown,
        "groups": report.groups[:20],
    }


def _changes(request: Request, chosen: Chosen) -> list[Any]:
    """Who changed it last."""
    part = chosen.part
    changes = ListPartChanges(kind=part.kind.key, organization=chosen.organization.name, name=part.name)
    return list(perform(request, list_part_changes, changes).items)


_LATER: Final[dict[str, Callable[[Request, Chosen], Any]]] = {"mail": _mail, "report": _report, "changes": _changes}


def _act(request: Request) -> Response:
    """A switch was pressed."""
    chosen = chosen_of(request)
    needs(request, Scope.CONNECTORS, chosen.organization.name)
    cases, context = PARTS[chosen.part.kind.key], context_of(request)
    named = {
        "organization": chosen.organization.name,
        "name": chosen.part.name,
        "note": request.state.form.get("note", "")[:500],
    }
    do = request.state.form.get("do", "")
    try:
        if do == "remove":
            execute(cases.remove, context, RemovePart(**named))
            return see_other(
                request, "/connectors", _("%(connector)s was removed.", connector=sentence(ours(chosen.label)))
            )
        if do == "secret" and chosen.direction == "outbound":
            secret = login_secrets.SetConnectorSecret(
                organization=chosen.organization.name,
                connector=chosen.connector.name,
                secret=request.state.form.get("secret", ""),
            )
            execute(login_secrets.set_connector_secret, context, secret)
            return see_other(
                request, resource_paths.part_path(chosen.part), _("The secret was stored. The next log-in uses it.")
            )
        if do not in _SWITCHES:
            raise not_there(_("There is no action %(name)s.", name=repr(do)))
        fields, said = _SWITCHES[do]
        outcome = execute(cases.set, context, SetPart(document=fields, **named)).value
    except Refusal as refusal:
        status = HTTPStatus.CONFLICT if refusal.kind is RefusalKind.CONFLICT else 0
        errors = f": {all_errors(refusal)}" if refusal.errors else ""
        return connector_page(request, chosen, f"{ours(refusal.text)}{errors}", status=status)
    revision = _("Revision %(version)s%(places)s.", version=outcome.version, places=outcome.places)
    text = f"{_(said, connector=sentence(ours(chosen.label)))} {revision}"
    path = resource_paths.connector_path(chosen.organization.name, chosen.direction, chosen.connector.name)
    undo = undo_of(outcome.version, path) if outcome.changes else None
    return see_changed(request, path, text, outcome.warnings, undo=undo)


ROUTES = [
    Route(f"/connectors/{{organization}}/{direction}/{{name:path}}", handler, methods=[method], name=direction)
    for direction in DIRECTIONS
    for method, handler in (("GET", _page), ("POST", _act))
]
