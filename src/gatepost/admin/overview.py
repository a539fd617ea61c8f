"""The first page: whether the gateway runs, what waits, and what needs somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from gatepost.admin.guard import gateway_of, who
from gatepost.admin.pages import render
from gatepost.administration.status import configuration, queue_depth, workers

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["ROUTES"]


def _overview(request: Request) -> Response:
    gateway, principal = gateway_of(request), who(request)
    return render(
        request,
        "overview/overview.html",
        depth=queue_depth(gateway, principal),
        configuration=configuration(gateway),
        workers=workers(gateway) if principal.is_of_gateway else (),
    )


ROUTES = [Route("/", _overview)]
