"""Drills: the list of those that are kept, one of them in full, and the form that runs one.

A drill ends within 15 seconds and is held by `manage.use_cases.drills`; who leaves meanwhile finds it in the list.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gatepost.analysis.checks.attacks import CONTROL
from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.guard import or_not_there, perform, principal_of
from gatepost.manage.pages.paging import by_fields, stored_rows
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.use_cases import drills as drill_cases
from gatepost.manage.use_cases.connector_views import find_connectors
from gatepost.manage.use_cases.connectors import ConnectorSelection
from gatepost.manage.use_cases.jobs import follow
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.sentences import ours
from gatepost.texts import NN_

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.paging import Columns


_SIZE: Final = 50
_SORTS: Final[Columns[drill_cases.KeptDrill]] = by_fields("connector", "organization", time="at") | {
    "result": lambda drill: (not drill.fault, drill.passed),
    "verdict": lambda drill: drill.fault or drill.verdict,
}
_OFFERED: Final = 200  # connectors that the form suggests; any other can be typed
_MOST: Final = 60.0  # seconds; a drill ends within 15
_WAIT: Final = 20.0


def _list(request: Request, error: str = "", chosen: str = "") -> Response:
    query = request.query_params
    organization = query.get("organization", "")
    wanted = drill_cases.ListDrills(organization=organization, limit=_SIZE, after=query.get("after", ""))
    page = stored_rows(request, drill_cases.list_drills, wanted, _SORTS, NN_("%(num)s drill", "%(num)s drills"))
    principal = principal_of(request)
    may_drill = bool(principal.scopes & {Scope.CONNECTORS, Scope.OWNER})
    offered = ConnectorSelection(organization=organization, direction="outbound", limit=_OFFERED) if may_drill else None
    rows = perform(request, find_connectors, offered).rows if offered else ()
    return render(
        request,
        "drills/list.html",
        **page._asdict(),
        offered=[f"{row.organization}/{row.name}" for row in rows],
        may_drill=may_drill,
        chosen=chosen or query.get("connector", "")[:300],
        error=error,
        path=lambda drill: connector_path(drill.organization, "outbound", drill.connector),
    )


def _drill(request: Request) -> Response:
    """Run the drill of a form, and show what it found."""
    chosen = request.state.form.get("connector", "").strip()[:300]
    organization, _slash, name = chosen.partition("/")
    if not name:
        text = _("Choose a connector: its organization, a slash and its name.")
        return _list(request, text, chosen)
    try:
        wanted = drill_cases.DrillConnector(organization=organization, connector=name, wait=_WAIT)

        def show(identity: str) -> drill_cases.DrillState:
            shown = drill_cases.ShowDrill(organization=organization, id=identity, wait=_WAIT)
            return perform(request, drill_cases.show_drill, shown)

        state = perform(request, drill_cases.start_drill, wanted).value
        held = follow(state, show, seconds=_MOST).held
    except Refusal as refusal:
        if refusal.kind is RefusalKind.FORBIDDEN:
            raise
        return _list(request, ours(refusal.text), chosen)
    if not held.evidence:
        said = ours(held.unkept) or _("The control message did not arrive, so that the drill shows nothing.")
        return see_other(request, "/drills", said, "warn")
    return see_other(request, f"/drills/{held.evidence.rpartition('/')[2]}")


def _show(request: Request) -> Response:
    name = request.path_params["name"]
    with or_not_there(
        _("There is no drill %(name)s, or you have no access to its organization.", name=repr(name[:200]))
    ):
        held = perform(request, drill_cases.show_kept_drill, drill_cases.ShowKeptDrill(name=name[:200]))
    fault, record = ours(held.fault), held.record
    shown: dict[str, Any] = {}
    if not fault:
        try:
            shown = _shown(record)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # somebody else made it, hash and all
            fault = _("it does not have the format of a drill")
    return render(
        request,
        "drills/drill.html",
        name=name,
        held=held,
        fault=fault,
        shown=shown,
        path=connector_path(str(record.get("organization", "")), "outbound", str(record.get("connector", ""))),
    )


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    """Texts of a record, for the template. Raises KeyError, TypeError and so on for one that is none."""
    requirement = record["requirement"]
    return {
        **{name: str(record[name]) for name in ("organization", "connector", "configuration")},
        "at": datetime.fromisoformat(record["at"]).timestamp(),
        "verdict": ours(str(record["verdict"])),
        "requirement": _(
            "%(requirement)s, profile %(profile)s",
            requirement=ours(str(requirement["text"])),
            profile=requirement["profile"],
        ),
        "notes": [ours(str(note)) for note in record["notes"]],
        "weaknesses": [ours(str(weakness)) for weakness in record["weaknesses"]],
        "scenarios": [_scenario(scenario) for scenario in record["scenarios"]],
    }


def _scenario(scenario: dict[str, Any]) -> dict[str, Any]:
    control = scenario["scenario"] == CONTROL
    held = scenario["result"] == "held"
    level = "pass" if held != control else "warn" if not (control or scenario["promised"]) else "fail"
    return {
        "title": ours(str(scenario["title"])),
        "level": level,
        "word": (_("Not arrived") if held else _("Arrived")) if control else _("Stopped") if held else _("Left"),
        "expected": _("arrives") if control else _("waits") if scenario["promised"] else _("out of scope"),
        "happened": ours(str(scenario["happened"])),
        "saw": ours(str(scenario["far_end_saw"])),
        "reply": str(scenario["attempts"][-1]["reply"]),
    }


ROUTES = [
    Route("/drills", _list),
    Route("/drills", _drill, methods=["POST"]),
    Route("/drills/{name}", _show),
]
