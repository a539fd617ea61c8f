"""What is wrong, or soon will be, and what to do about it: the same as `gatepost alarms`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from gatepost.analysis.alarms.alarm import Severity
from gatepost.manage.pages.exports import exported
from gatepost.manage.pages.guard import gateway_of, who
from gatepost.manage.pages.pages import render
from gatepost.manage.use_cases.alarms import alarm_record, alarms

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


LEVELS: Final = {Severity.CRITICAL: "fail", Severity.ERROR: "fail", Severity.WARNING: "warn"}
"""How severities look."""
_COLUMNS: Final = ("severity", "kind", "about", "certificate", "title", "detail", "fix", "since")
_SHOWN: Final = 200


def _alarms(request: Request) -> Response:
    found = alarms(gateway_of(request), who(request), time.time())
    if file := exported(request, "alarms", _COLUMNS, lambda: map(alarm_record, found.alarms)):
        return file
    return render(
        request,
        "overview/alarms.html",
        found=found.alarms[:_SHOWN],
        total=len(found.alarms),
        looked=found.looked,
        unknown=found.unknown[:_SHOWN],
        levels=LEVELS,
    )


ROUTES = [Route("/alarms", _alarms)]
