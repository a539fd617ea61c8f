"""The page of alarms: what is wrong, or soon will be, and what to do; the same as `gatepost alarms`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from gatepost.analysis.alarms.alarm import Severity
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import perform
from gatepost.manage.pages.rendering import render
from gatepost.manage.use_cases.alarms import ListAlarms, list_alarms

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


LEVELS: Final = {Severity.CRITICAL: "fail", Severity.ERROR: "fail", Severity.WARNING: "warn"}
"""How severities look."""
_COLUMNS: Final = ("severity", "kind", "about", "certificate", "title", "detail", "fix", "since")
_SHOWN: Final = 200


def _alarms(request: Request) -> Response:
    current = perform(request, list_alarms, ListAlarms())
    if file := exported(request, "alarms", _COLUMNS, lambda: current.alarms):
        return file
    return render(
        request,
        "overview/alarms.html",
        found=current.alarms[:_SHOWN],
        total=len(current.alarms),
        looked=current.looked,
        unknown=current.unknown[:_SHOWN],
        levels=LEVELS,
    )


ROUTES = [Route("/alarms", _alarms)]
