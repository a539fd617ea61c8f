"""The page Doctor: what is wrong with the gateway or its machine, and what to do next (`gatepost doctor`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from gatepost.manage.pages.guard import context_of
from gatepost.manage.pages.rendering import render
from gatepost.manage.use_cases.doctor import ExamineGateway, examine_gateway
from gatepost.manage.use_cases.execution import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.doctor import DoctorFinding


_ORDER: Final = ("fail", "unknown", "warn", "pass")


def _doctor(request: Request) -> Response:
    """The network is asked only on request, since that takes up to half a minute."""
    asks = request.query_params.get("network") == "1"
    findings = execute(examine_gateway, context_of(request), ExamineGateway(offline=not asks)).findings
    return render(request, "overview/doctor.html", found=gravest_first(findings), asks=asks)


def gravest_first(findings: Iterable[DoctorFinding]) -> Sequence[DoctorFinding]:
    """The findings in the order in which a person should read them."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.level))


ROUTES = [Route("/doctor", _doctor)]
