"""The way to a new connector: from the scenario by the questions that fit it to one that was tried and is saved.

Each step is a page of its own, whose address has all answers so far. Nothing is changed before the last step.
"""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.account_forms import by_field
from gatepost.manage.pages.connector_draft import SCENARIOS, ConnectorDraft, draft_of, need, problems, table_of
from gatepost.manage.pages.guard import context_of, needs, own_organizations, perform, principal_of
from gatepost.manage.pages.issuer_trust import UNCONFIRMED, chosen_issuer, issuer_page
from gatepost.manage.pages.rendering import (
    LONG_PATIENCE,
    PATIENCE,
    PENDING,
    is_partial,
    link,
    render,
    see_changed,
    see_other,
)
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.pages.validation import ended, live, request_of
from gatepost.manage.pages.validation_tasks import task_items
from gatepost.manage.use_cases.connector_views import (
    DraftConnector,
    ValidateDraft,
    draft_connector,
    keep_draft_validation,
    validate_draft,
    view_draft_validation,
)
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.login_secrets import SetConnectorSecret, set_connector_secret
from gatepost.manage.use_cases.part_cases import PARTS, AddPart
from gatepost.manage.use_cases.part_record import part_command, part_toml
from gatepost.manage.use_cases.private_content import NOT_STORED
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.resource_actions import seen_issuers
from gatepost.manage.use_cases.validation_runs import ValidateConnector
from gatepost.policy.connectors.resources import Resources
from gatepost.policy.connectors.trust_anchors import is_pem
from gatepost.texts import N_
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from gatepost.manage.use_cases.context import Context
    from gatepost.policy.connectors.records import Organization


_PATH: Final = "/connectors/new"
_WEEK: Final = "7d"
_MODES: Final = ("rehearse", "enforce", "disabled")
_TITLES: Final = {
    "scenario": N_("Scenario"),
    "name": N_("Connector name"),
    "use": N_("Use of connector"),
    "routing": N_("Routing"),
    "security": N_("Security restrictions"),
    "check": N_("Validation"),
    "save": N_("Review"),
}
_FIRST_ANSWERS: Final[dict[str, dict[str, str]]] = {
    "to-partner": {"use": "domains", "routing": "mx", "tls_settings": "certificate-validation"},
    "to-own": {"use": "accepted", "tls_settings": "certificate-validation"},
    "from-partner": {"require_tls": "on"},
    "from-own": {"known_by": "certificate", "require_tls": "on"},
}
"""What is chosen before somebody chooses: what Exchange recommends."""


def _owners(request: Request) -> Sequence[Organization]:
    """Organizations that who asks may make connectors in. Raises HTTPException if there can be none."""
    principal = principal_of(request)
    if Scope.CONNECTORS not in principal.scopes and Scope.OWNER not in principal.scopes:
        needs(request, Scope.CONNECTORS, next(iter(principal.organizations or ()), None))
    return own_organizations(request)


def _owner(request: Request, draft: ConnectorDraft) -> Organization | None:
    """The organization of the draft, if it was chosen and exists."""
    owners = _owners(request)
    if not draft.organization:
        return owners[0] if len(owners) == 1 else None
    return next((owner for owner in owners if owner.name == draft.organization), None)


def _step(request: Request) -> Response:
    query = request.query_params
    draft, at = draft_of(query), query.get("at", "")
    owner = _owner(request, draft)
    if query.get("go") and at:
        return _go(request, draft, owner, at)
    step = query.get("step", "scenario")
    scenario = draft.scenario
    if scenario is None or owner is None or step not in scenario.steps:
        step = "scenario"
    return _page(request, draft, owner, step)


def _go(request: Request, draft: ConnectorDraft, owner: Organization | None, at: str) -> Response:
    """On to the next step if the answers of this one are right, or back in any case."""
    scenario, back = draft.scenario, request.query_params.get("go") == "back"
    errors: dict[str, str] = {}
    if scenario is None:
        errors["scenario"] = _("Choose a scenario.")
    if owner is None:
        known = draft.organization
        errors["organization"] = (
            _("There is no organization %(name)s.", name=repr(known)) if known else _("Choose an organization.")
        )
    if errors or scenario is None or owner is None:
        return _page(request, draft, owner, "scenario", errors=errors)
    place = scenario.steps.index(at) if at in scenario.steps else 0
    draft = draft.with_done(scenario.steps[place])
    if back:
        return _at(draft, owner, scenario.steps[max(0, place - 1)])
    if errors := problems(draft, at, owner, context_of(request).settings.limits.prefixes()):
        return _page(request, draft, owner, at, errors=errors)
    return _at(draft, owner, scenario.steps[min(place + 1, len(scenario.steps) - 1)])


def _at(draft: ConnectorDraft, owner: Organization, step: str) -> Response:
    return RedirectResponse(_address(draft, owner, step), HTTPStatus.SEE_OTHER)


def _address(draft: ConnectorDraft, owner: Organization | None, step: str, path: str = _PATH, **more: str) -> str:
    answers = {**draft.answers, "organization": owner.name if owner else draft.organization}
    return link(path, step=step, **more, **answers)


def _page(
    request: Request,
    draft: ConnectorDraft,
    owner: Organization | None,
    step: str,
    *,
    errors: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    scenario = draft.scenario
    steps = scenario.steps if scenario else ("scenario", "name")
    fields = draft.fields_of(step)
    if scenario and step not in draft.done and not errors:
        first = {name: text for name, text in _FIRST_ANSWERS[scenario.key].items() if name in fields}
        draft = ConnectorDraft({**first, **draft.answers})
    errors, owners = errors or {}, _owners(request)
    kept = {name: text for name, text in draft.answers.items() if name not in fields and name != "organization"}
    values: dict[str, Any] = {
        "draft": draft,
        "owner": owner,
        "owners": [organization.name for organization in owners],
        "organization_choices": [
            ("", _("Choose one")),
            *((organization.name, organization.display_name or organization.name) for organization in owners),
        ],
        "scenario": scenario,
        "scenarios": SCENARIOS.values(),
        "needs": {choice.key: need(choice, owner) for choice in SCENARIOS.values()} if owner else {},
        "step": step,
        "title": _(_TITLES[step]),
        "steps": [_(_TITLES[text]) for text in steps],
        "current": steps.index(step) + 1,
        "paths": [_address(draft, owner, text) for text in steps],
        "kept": kept,
        "action": link(_PATH, step=step, **kept, organization=owner.name if owner else ""),
        "errors": errors,
        "tasks": (),
        "trial": ValidateConnector(organization="", connector=""),
        "effects": None,
        "open": (),
        **context,
    }
    if step == "save" and scenario and owner:
        values |= _review(request, draft, owner)
    elif step == "check" and scenario and owner and not values["tasks"]:
        record = _record(request, draft, owner)
        values["tasks"] = task_items(record) if record else ()
    wanted = "effects" if request.query_params.get("part") == "effects" else ""
    return render(request, "wizard/wizard.html", block=wanted, **values)


def _left(request: Request, draft: ConnectorDraft, owner: Organization) -> list[tuple[str, str, str]]:
    """Open problems: the step, its address, and what to do."""
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    prefixes = context_of(request).settings.limits.prefixes()
    left = []
    for step in scenario.steps[1:-2]:
        errors = problems(draft, step, owner, prefixes)
        if step not in draft.done:
            errors = {"": _("Complete this step.")}
        left += [(_(_TITLES[step]), _address(draft, owner, step), text) for text in errors.values()]
    return left


def _review(request: Request, draft: ConnectorDraft, owner: Organization) -> dict[str, Any]:
    """Data of the last step: open problems, the validation, and on request the effects."""
    left = _left(request, draft, owner)
    values: dict[str, Any] = {
        "table": table_of(draft),
        "open": left,
        "record": _record(request, draft, owner),
        "effects_path": _address(draft, owner, "save", part="effects"),
        "mode": draft["mode"] or ("enforce" if draft.logs_in else "rehearse"),
    }
    if not left and request.query_params.get("part") == "effects":
        context, connector = context_of(request), _drafted(draft, owner, since=_WEEK)
        text = json.dumps(msgspec.to_builtins(connector), sort_keys=True)
        question = "wizard effects", principal_of(request), text, context.directory().version
        patience = PATIENCE if is_partial(request) else LONG_PATIENCE
        result = context.kept(ReportCounts).answers.of(
            context.principal.share_key, question, partial(_effects, context, connector), patience
        )
        values["effects"] = PENDING if result is None else result.value
    return values


def _effects(context: Context, asked: DraftConnector) -> dict[str, Any]:
    """What it would do to the mail of a week; this is kept, and so without all the resources."""
    outcome, chosen = execute(draft_connector, context, asked)
    kept = replace(outcome, after=Resources())
    return {"outcome": kept, "command": part_command(chosen.part), "toml": part_toml(chosen.part)}


def _drafted(draft: ConnectorDraft, owner: Organization, *, since: str = "") -> DraftConnector:
    """The connector as it would be, whether it will be enforced or not."""
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - asked of drafts with one
    return DraftConnector(
        organization=owner.name, kind=scenario.kind.key, name=draft["name"], table=table_of(draft), since=since
    )


def _record(request: Request, draft: ConnectorDraft, owner: Organization) -> dict[str, Any] | None:
    """What came of trying it, None if it was not tried."""
    return perform(request, view_draft_validation, _drafted(draft, owner)).record


# ------------------------------------------------------------------------------------------------ trying and saving


def _given(request: Request) -> tuple[ConnectorDraft, Organization]:
    """The draft of a form and its address, whole enough for more than a page. Raises HTTPException."""
    draft = draft_of({**request.query_params, **request.state.form})
    owner = _owner(request, draft)
    if owner is None or draft.scenario is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, _("Start with the scenario."))
    needs(request, Scope.CONNECTORS, owner.name)
    return draft, owner


def _begin(request: Request) -> Response:
    """With htmx the tasks that follow it; without, when it has ended, the step anew."""
    draft, owner = _given(request)
    scenario, is_live = draft.scenario, request.headers.get("hx-request") == "true"
    assert scenario is not None  # noqa: S101 - _given says so
    wanted = request_of(owner.name, scenario.direction, draft["name"], request.state.form)
    try:
        validation = ValidateDraft(draft=_drafted(draft, owner), trial=wanted)
        state = perform(request, validate_draft, validation)
        if is_live:
            return live(request, state)
        record = ended(request, owner.name, state)
    except Refusal as refusal:
        errors = by_field(refusal)
        if is_live:
            return render(request, "connectors/refused.html", 200, errors=errors)
        return _page(request, draft, owner, "check", errors=errors, trial=wanted)
    return _page(request, draft, owner, "check", tasks=task_items(record), trial=wanted)


def _issuer(request: Request) -> Response:
    """The issuer that the trial saw, as the authority of the draft once its fingerprint was confirmed."""
    draft, owner = _given(request)
    issuers, back = seen_issuers(_record(request, draft, owner)), _address(draft, owner, "check")
    form = request.state.form
    if "sha256" in form and (issuer := chosen_issuer(issuers, form)):
        known = draft["trust_anchors"]
        anchors = (known + "\n" if is_pem(known) else "") + issuer.pem
        trusting = draft_of({**draft.answers, "trust_anchors": anchors})
        return see_other(
            request,
            _address(trusting, owner, "check"),
            _("The issuer is trusted by the new connector. Validate again."),
        )
    fields = {**draft.answers, "organization": owner.name}
    error = _(UNCONFIRMED) if "sha256" in form else ""
    return issuer_page(request, issuers, back, f"{_PATH}/issuer", fields=fields, error=error)


def _save(request: Request) -> Response:
    draft, owner = _given(request)
    mode, note = draft["mode"], draft["note"][:500]
    scenario = draft.scenario
    assert scenario is not None  # noqa: S101 - _given says so
    if mode not in _MODES or (draft.logs_in and mode == "rehearse"):
        return _page(request, draft, owner, "save", errors={"mode": _("Choose a mode.")})
    if _left(request, draft, owner):
        return _page(request, draft, owner, "save", errors={"": _("Nothing was saved: some steps are incomplete.")})
    table = table_of(draft, mode) | {"name": draft["name"]}
    part = AddPart(organization=owner.name, document=table, note=note)
    try:
        outcome = perform(request, PARTS[scenario.kind.key].add, part).value
    except Refusal as refusal:
        if refusal.kind is RefusalKind.UNREADABLE:
            raise
        return _page(request, draft, owner, "save", errors=_errors(refusal))
    perform(request, keep_draft_validation, _drafted(draft, owner))
    saved = _(
        "Connector %(draft)s was saved as revision %(version)s%(places)s.",
        draft=draft["name"],
        version=outcome.version,
        places=outcome.places,
    )
    problem = _store_secret(request, draft, owner)
    warnings = [text for text in outcome.warnings if problem != "" or NOT_STORED not in text]
    warnings += [problem] if problem else []
    path = connector_path(owner.name, scenario.direction, draft["name"])
    return see_changed(request, link(path, made="yes"), saved, warnings)


def _store_secret(request: Request, draft: ConnectorDraft, owner: Organization) -> str | None:
    """Seal the secret that was entered. "" if that was done, a warning if it failed, None if there was none.

    The connector is saved already.
    """
    secret = request.state.form.get("secret", "")
    if not draft.logs_in or not secret:
        return None
    wanted = SetConnectorSecret(organization=owner.name, connector=draft["name"], secret=secret)
    try:
        perform(request, set_connector_secret, wanted)
    except Refusal as refusal:
        return _("The secret was not stored, and mail waits: %(text)s", text=refusal.text)
    return ""


def _errors(refusal: Refusal) -> dict[str, str]:
    """For the summary above the form: which field, and what is wrong."""
    return {error.path or "": f"{error.path}: {error.message}" for error in refusal.errors} or {"": refusal.text}


ROUTES = [
    Route(_PATH, _step, methods=["GET"]),
    Route(_PATH, _save, methods=["POST"]),
    Route(f"{_PATH}/validate", _begin, methods=["POST"]),
    Route(f"{_PATH}/issuer", _issuer, methods=["POST"]),
]
