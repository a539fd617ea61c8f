"""The page Doctor: what is wrong with the gateway or its machine, and what to do next (`gatepost doctor`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from gatepost.manage.pages.guard import context_of
from gatepost.manage.pages.rendering import render
from gatepost.manage.use_cases.doctor import ExamineGateway, examine_gateway
from gatepost.manage.use_cases.execution import execute

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


def _doctor(request: Request) -> Response:
    """The network is asked only on request, since that takes up to half a minute."""
    asks = request.query_params.get("network") == "1"
    examined = execute(examine_gateway, context_of(request), ExamineGateway(offline=not asks))
    return render(request, "overview/doctor.html", found=examined.gravest_first, asks=asks)


ROUTES = [Route("/doctor", _doctor)]
