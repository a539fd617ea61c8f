"""The list of connectors, and what is done with many of them: validations, and switches, which are confirmed first.

The list has direction, domains, requirements, last validation and results of the last 7 days. A page costs what its
rows cost; results are counted afterwards, when htmx asks for the rows again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from gatepost.analysis.rehearsal.verdicts import ConnectorKey, Verdicts
from gatepost.language import _, ngettext, translated
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.pages.editor import change_rows
from gatepost.manage.pages.event_stream import followed
from gatepost.manage.pages.exports import MOST, exported
from gatepost.manage.pages.guard import context_of, perform, principal_of
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.paging import SIZE, by_fields, fitting, foot, offset_of, order_of, page_of, paged
from gatepost.manage.pages.rendering import (
    LONG_PATIENCE,
    PATIENCE,
    PENDING,
    fragment,
    is_partial,
    link,
    render,
    see_changed,
    see_other,
)
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.pages.signed_cookies import Undo
from gatepost.manage.use_cases import bulk_validation
from gatepost.manage.use_cases.connector_views import CountVerdicts, count_verdicts, find_connectors
from gatepost.manage.use_cases.connectors import SORTS, ConnectorEntry, ConnectorSelection, connector_record
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.paging import Columns, sorted_by
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.resource_actions import MOST as MOST_SELECTED
from gatepost.manage.use_cases.resource_actions import ConnectorName, SwitchConnectors, switch_connectors
from gatepost.sentences import ours
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.blast_radius import Radius
    from gatepost.manage.use_cases.change_shapes import ChangeReport
    from gatepost.manage.use_cases.jobs import Job


ACTIONS: Final = {
    "rehearse": N_("Put in rehearsal"),
    "enforce": N_("Enforce"),
    "enable": N_("Enable"),
    "disable": N_("Disable"),
}
"""What can be changed of many, and what it is called."""
VALIDATE: Final = "validate"
_SWITCHED: Final = {
    "rehearse": NN_("%(num)s connector is in rehearsal", "%(num)s connectors are in rehearsal"),
    "enforce": NN_("%(num)s connector is enforced", "%(num)s connectors are enforced"),
    "enable": NN_("%(num)s connector is enabled", "%(num)s connectors are enabled"),
    "disable": NN_("%(num)s connector is disabled", "%(num)s connectors are disabled"),
}
_WILL_BE: Final = {
    "rehearse": NN_(
        "%(connectors)s will be in rehearsal, in one revision.", "%(connectors)s will be in rehearsal, in one revision."
    ),
    "enforce": NN_(
        "%(connectors)s will be enforced, in one revision.", "%(connectors)s will be enforced, in one revision."
    ),
    "enable": NN_(
        "%(connectors)s will be enabled, in one revision.", "%(connectors)s will be enabled, in one revision."
    ),
    "disable": NN_(
        "%(connectors)s will be disabled, in one revision.", "%(connectors)s will be disabled, in one revision."
    ),
}
_ALREADY: Final = {
    "rehearse": N_("All of the selected connectors are in rehearsal already."),
    "enforce": N_("All of the selected connectors are enforced already."),
    "enable": N_("All of the selected connectors are enabled already."),
    "disable": N_("All of the selected connectors are disabled already."),
}
_CHANGES_SHOWN: Final = 500  # changes of a page
_NAMED: Final = 20


def may_switch(principal: Principal) -> bool:
    """Whether they may change connectors of any organization that they see."""
    return not {Scope.CONNECTORS, Scope.OWNER}.isdisjoint(principal.scopes)


def key_of(name: ConnectorName) -> str:
    """A connector as a form names it."""
    return f"{name.organization}/{name.direction}/{name.name}"


def _act(request: Request) -> Response:
    """What the list asks for: a change is shown first; to validate changes nothing, and begins."""
    if request.state.form.get("action") == VALIDATE:
        return begin_validations(request, _selected(request))
    return _confirm(request)


def _confirm(request: Request, error: str = "") -> Response:
    """Show the change that would be made."""
    wanted, back = _wanted(request), _back(request)
    context, part = context_of(request, dry_run=True), request.state.form.get("part", "")
    planned = execute(switch_connectors, context, wanted).value
    rows = fitting(change_rows_of(planned), _CHANGES_SHOWN)
    return render(
        request,
        "connectors/switch.html",
        block="decided" if part else "",
        error=error,
        action=wanted.action,
        label=_(ACTIONS[wanted.action]),
        already=_(_ALREADY[wanted.action]),
        will_be=_WILL_BE[wanted.action],
        total=len(wanted.connectors),
        changed=len(planned.changes),
        named=wanted.connectors[:_NAMED],
        outcome=planned,
        rows=rows,
        more=len(planned.changes) - len(rows),
        fields=[
            ("action", wanted.action),
            ("back", back),
            *(("connectors", key_of(name)) for name in wanted.connectors),
        ],
        note=wanted.note,
        decided=_decided(request, wanted, planned.version) if part else None,
        partial=is_partial(request),
        back=back,
    )


def change_rows_of(planned: ChangeReport) -> list[tuple[str, str | None, str | None]]:
    """Fields that change, each with its connector: what `change_rows` leaves out where there is only one."""
    return [
        (change.path.removeprefix("organization."), before, after)
        for change, (_path, before, after) in zip(planned.changes, change_rows(planned.changes), strict=True)
    ]


def _decided(request: Request, wanted: SwitchConnectors, version: int) -> Radius | str | None:
    """What it would have done to the mail of a week; PENDING while that is worked out, None if it touches none."""
    context = context_of(request, dry_run=True)
    question = "switch", principal_of(request), wanted.action, tuple(wanted.connectors), version

    def work() -> Radius | None:
        return execute(switch_connectors, context, _with(wanted, since="7d")).value.radius

    result = context.kept(ReportCounts).answers.of(
        context.principal.share_key, question, work, PATIENCE if is_partial(request) else LONG_PATIENCE
    )
    return PENDING if result is None else result.value


def _with(wanted: SwitchConnectors, **changes: Any) -> SwitchConnectors:
    return SwitchConnectors(
        action=wanted.action, connectors=wanted.connectors, note=wanted.note, **{"since": "", **changes}
    )


def _switch(request: Request) -> Response:
    wanted = _wanted(request)
    try:
        outcome = perform(request, switch_connectors, wanted).value
    except Refusal as refusal:
        if refusal.kind not in {RefusalKind.INPUT, RefusalKind.CONFLICT, RefusalKind.BLOCKED}:
            raise
        return _confirm(request, ours(refusal.text))
    back = _back(request)
    if not outcome.changes:
        return see_other(request, back, _(_ALREADY[wanted.action]), "info")
    switched = ngettext(*_SWITCHED[wanted.action], len(wanted.connectors))
    said = _(
        "%(switched)s: revision %(version)s%(places)s.",
        switched=switched,
        version=outcome.version,
        places=outcome.places,
    )
    return see_changed(request, back, said, outcome.warnings[:1], undo=undo_of(outcome.version, back))


def undo_of(version: int, back: str) -> Undo:
    """The way back from a change that was just made, as long as nobody changed anything since."""
    fields = (("expected", str(version)), ("back", back), ("note", f"Undo of revision {version}"))
    return Undo(f"/history/{version - 1}/revert", fields)


def _wanted(request: Request) -> SwitchConnectors:
    """Read an action from a form: on the selected connectors, or on all that match the filter. Raises Refusal."""
    form = request.state.form
    action, note = form.get("action", ""), form.get("note", "").strip()[:500]
    if action not in ACTIONS:
        raise Refusal(RefusalKind.INPUT, N_("Choose an action."))
    return SwitchConnectors(action=action, connectors=_selected(request), note=note, since="")


def _selected(request: Request) -> list[ConnectorName]:
    """The connectors of a form. Raises Refusal if there are none."""
    form = request.state.form
    names = _matching(request, form) if form.get("which") == "all" else _named(form.getlist("connectors"))
    if not names:
        raise Refusal(
            RefusalKind.INPUT,
            N_("No connector is selected. Select connectors, or apply the action to all that match the filter."),
        )
    return names


def _named(keys: list[str]) -> list[ConnectorName]:
    names = []
    for key in keys:
        organization, _slash, rest = key.partition("/")
        direction, _slash, name = rest.partition("/")
        if direction not in {"inbound", "outbound"} or not name:
            raise Refusal(RefusalKind.INPUT, _("There is no connector %(name)s.", name=repr(key[:100])))
        names.append(ConnectorName(organization=organization, direction=direction, name=name))  # type: ignore[arg-type]  # it was looked at
    return names


def _matching(request: Request, form: Mapping[str, str]) -> list[ConnectorName]:
    chosen: dict[str, Any] = {name: form.get(name, "").strip() for name in ("organization", "q", "direction", "status")}
    rows = perform(request, find_connectors, ConnectorSelection(limit=MOST_SELECTED, **chosen)).rows
    return [
        ConnectorName(organization=row.organization, direction=row.direction, name=row.name)  # type: ignore[arg-type]  # it is one of two
        for row in rows
    ]


def _back(request: Request) -> str:
    return local_target(request.state.form.get("back", "/connectors"))


_FIRST: Final = {"not-validated": 0, "unknown": 1, "": 2, "validated": 3}
_DEFAULT: Final = "result"
_SORTS: Final[Columns[bulk_validation.ConnectorResult]] = by_fields("name", "direction", "organization") | {
    "result": lambda result: (_FIRST[result.outcome], result.state == "waiting"),
    "verdict": lambda result: result.verdict or None,
}


def begin_validations(request: Request, names: list[ConnectorName]) -> Response:
    """Begin to validate them, and show how far it came. Raises Refusal."""
    state = perform(
        request, bulk_validation.validate_connectors, bulk_validation.ValidateConnectors(connectors=names)
    ).value
    return see_other(request, f"/connectors/validations/{state.id}")


def under_way(request: Request) -> list[bulk_validation.ValidationCounts]:
    """Validations of many that go on; none for whom may start none."""
    if not principal_of(request).scopes & {Scope.CONNECTORS, Scope.OWNER}:
        return []
    items = perform(request, bulk_validation.list_validations, bulk_validation.ListValidations()).items
    return [counts for counts in items if not counts.done]


def _show(request: Request) -> Response:
    state = perform(
        request, bulk_validation.show_validations, bulk_validation.ShowValidations(id=request.path_params["run"])
    )
    return render(request, "connectors/validations.html", **_shown(request, state))


def _shown(request: Request, state: bulk_validation.BulkValidation) -> dict[str, Any]:
    """What the template takes; what failed stands first, unless another order is asked for."""
    sort = order_of(request, _SORTS)
    page = paged(request, sorted_by(state.connectors, sort or _DEFAULT, _SORTS))
    return {
        "counts": state.counts,
        "trouble": state.trouble,
        "rows": page.rows,
        "foot": foot(page, NN_("%(num)s connector", "%(num)s connectors")),
        "path": connector_path,
        "sort": sort or _DEFAULT,
        "connect": link(f"/connectors/validations/{state.id}/events", page=page_of(request), sort=sort),
    }


async def _events(request: Request) -> Response:
    job = await run_in_threadpool(_job, request)

    def shown() -> str:
        address, state = request.url.path.removesuffix("/events"), bulk_validation.bulk_state(job)
        return fragment(request, "connectors/validations.html", "progress", address=address, **_shown(request, state))

    return followed(request, job, shown)


def _job(request: Request) -> Job[bulk_validation.ManyConnectors, bulk_validation.Batch]:
    return perform(
        request, bulk_validation.follow_validations, bulk_validation.ShowValidations(id=request.path_params["run"])
    )


def _stop(request: Request) -> Response:
    identity = request.path_params["run"]
    perform(request, bulk_validation.stop_validations, bulk_validation.StopValidations(id=identity))
    return see_other(request, f"/connectors/validations/{identity}", _("The validation was stopped."), "info")


_COLUMNS = (
    "status", "name", "direction", "organization", "from", "to", "mode", "domains", "requires", "validated",
    "validated_at", "passed_7d", "failed_7d",
)  # fmt: skip
FAILED = {"inbound": N_("refused"), "outbound": N_("held back")}
"""What becomes of mail that does not meet a connector."""
_DIRECTIONS = ("", "inbound", "outbound")
_STATUSES = ("", "enabled", "rehearsal", "disabled")


def _list(request: Request) -> Response:
    principal, query = principal_of(request), request.query_params
    direction, status = query.get("direction", ""), query.get("status", "")
    sort, with_verdicts = query.get("sort", ""), bool(query.get("verdicts"))
    selection = ConnectorSelection(
        organization=query.get("organization", ""),
        q=query.get("q", "").strip(),
        limit=SIZE,
        offset=offset_of(request),
        direction=direction if direction in _DIRECTIONS else "",
        status=status if status in _STATUSES else "",
        sort=sort if sort.removeprefix("-") in SORTS else "",
    )

    def records() -> Iterator[dict[str, Any]]:
        rows = perform(request, find_connectors, replace(selection, limit=MOST, offset=0)).rows
        return _records(rows, counted(request, rows))

    if file := exported(request, "connectors", _COLUMNS, records):
        return file
    waits = selection.sort.endswith("verdicts") and not with_verdicts  # for counting: in that order when it is done
    page = perform(request, find_connectors, replace(selection, sort="") if waits else selection)
    return render(
        request,
        "connectors/list.html",
        block="rows",
        rows=page.rows,
        foot=foot(page, NN_("%(num)s connector", "%(num)s connectors")),
        verdicts=counted(request, page.rows) if with_verdicts else None,
        selection=selection,
        filtered=bool(selection.q or selection.direction or selection.status),
        may_change=principal.may(Scope.CONNECTORS, selection.organization or None)
        or (not principal.is_of_gateway and Scope.CONNECTORS in principal.scopes),
        may_switch=may_switch(principal),
        switch_actions=((VALIDATE, _("Validate")), *translated(ACTIONS).items()),
        under_way=under_way(request),
        path=connector_path,
        failed_word=translated(FAILED),
    )


def counted(request: Request, rows: Sequence[ConnectorEntry]) -> dict[ConnectorKey, Verdicts]:
    """Counts of these connectors in the trace of the last seven days."""
    keys = [ConnectorKey(row.organization, row.direction, row.name) for row in rows]
    verdicts = perform(request, count_verdicts, CountVerdicts(connectors=keys))
    return {key: verdicts[key].in_mode(row.mode) for key, row in zip(keys, rows, strict=True)}


def _records(rows: Sequence[ConnectorEntry], verdicts: dict[ConnectorKey, Verdicts]) -> Iterator[dict[str, Any]]:
    for row in rows:
        verdict = verdicts[ConnectorKey(row.organization, row.direction, row.name)]
        record = connector_record(row) | {"mode": row.mode}
        yield record | {
            "validated": row.validated.outcome if row.validated else None,
            "validated_at": row.validated.at if row.validated else None,
            "passed_7d": verdict.passed,
            "failed_7d": verdict.failed,
        }


ROUTES: Final = [
    Route("/connectors", _list),
    Route("/connectors/validations/{run}", _show),
    Route("/connectors/validations/{run}/events", _events),
    Route("/connectors/validations/{run}/stop", _stop, methods=["POST"]),
    Route("/connectors/confirm", _act, methods=["POST"]),
    Route("/connectors/switch", _switch, methods=["POST"]),
]
