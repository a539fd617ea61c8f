"""Validating a stored connector from its page: the form, the stream that follows it, and the way without a script."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from gatepost.access.principal import Scope
from gatepost.admin.connector import DIRECTIONS, chosen_of
from gatepost.admin.guard import gateway_of, needs
from gatepost.admin.pages import link, render, see_other
from gatepost.admin.places import connector_path
from gatepost.admin.trials import Subject, followed, meant, waited
from gatepost.administration.validation import Trial, keep_validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.administration.choice import Chosen

__all__ = ["ROUTES", "trial_of", "validate_path"]

_MONTH: Final = 30 * 86_400.0
_MOST: Final = 10  # recipients of a test message


def validate_path(organization: str, direction: str, name: str, step: str = "validate") -> str:
    """Where a validation begins. step: "live" is what follows it."""
    return f"/connectors/{step}/{quote(organization, safe='')}/{direction}/{quote(name, safe='')}"


def trial_of(given: Mapping[str, str]) -> Trial:
    """What a form or an address says is to be tried."""
    recipients = [one for one in re.split(r"[\s,;]+", given.get("recipients", "")) if one]
    return Trial(tuple(recipients[:_MOST]), session=given.get("session", "").strip()[:200], since=time.time() - _MONTH)


def _asked(request: Request) -> tuple[Chosen, Subject]:
    chosen = chosen_of(request)
    needs(request, Scope.CONNECTORS, chosen.organization.name)
    given = request.state.form if request.method == "POST" else request.query_params
    gateway = gateway_of(request)
    return chosen, Subject(gateway.directory(), chosen, trial_of(given), partial(keep_validation, gateway, chosen))


def _begin(request: Request) -> Response:
    """With htmx the tasks that follow it; without, when it has ended, the connector's page."""
    chosen, subject = _asked(request)
    named = chosen.organization.name, chosen.direction, chosen.connector.name
    if request.headers.get("hx-request") == "true":
        query: dict[str, Any] = {"recipients": ",".join(subject.trial.recipients), "session": subject.trial.session}
        return render(request, "connectors/live.html", connect=link(validate_path(*named, "live"), **query))
    record = waited(request, subject)
    level = {"validated": "pass", "not-validated": "fail"}.get(record["outcome"], "warn")
    return see_other(request, f"{connector_path(*named)}#validation", record["verdict"], level)


async def _live(request: Request) -> Response:
    meant(request)
    _, subject = await run_in_threadpool(_asked, request)
    return followed(request, subject)


ROUTES = [
    Route(f"/connectors/{step}/{{organization}}/{direction}/{{name:path}}", handler, methods=[method], name=direction)
    for direction in DIRECTIONS
    for step, method, handler in (("validate", "POST", _begin), ("live", "GET", _live))
]
