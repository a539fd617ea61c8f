"""Many connectors switched at once: what was selected in their list, shown as one change before it is made.

The list sends what was ticked, or its filter; the page that asks for confirmation names each connector, so that what is
done is what was seen. What it does to the mail of a week is worked out behind the page, which asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gatepost.language import _, ngettext
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.bulk_validation import begin_validations
from gatepost.manage.pages.editor import change_rows
from gatepost.manage.pages.flash import Undo
from gatepost.manage.pages.guard import context_of, perform, principal_of
from gatepost.manage.pages.login import local_target
from gatepost.manage.pages.paging import fitting
from gatepost.manage.pages.rendering import LONG_PATIENCE, PATIENCE, PENDING, is_partial, render, see_changed, see_other
from gatepost.manage.use_cases.connector_switches import MOST, ConnectorName, SwitchConnectors, switch_connectors
from gatepost.manage.use_cases.connector_views import FindConnectors, find_connectors
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.sentences import ours
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.blast_radius import Radius
    from gatepost.manage.use_cases.change_shapes import ChangeReport


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
_SHOWN: Final = 500  # changes of a page
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
    rows = fitting(change_rows_of(planned), _SHOWN)
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

    result = context.kept(ReportCounts).answers.of(question, work, PATIENCE if is_partial(request) else LONG_PATIENCE)
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
    rows = perform(request, find_connectors, FindConnectors(limit=MOST, **chosen)).rows
    return [
        ConnectorName(organization=row.organization, direction=row.direction, name=row.name)  # type: ignore[arg-type]  # it is one of two
        for row in rows
    ]


def _back(request: Request) -> str:
    return local_target(request.state.form.get("back", "/connectors"))


ROUTES = [
    Route("/connectors/confirm", _act, methods=["POST"]),
    Route("/connectors/switch", _switch, methods=["POST"]),
]
