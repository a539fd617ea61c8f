"""Validating a connector, from its page or the wizard: the form, the stream that follows it, the way without a script.

What is tried, and how many at a time, is `manage.use_cases.validation_runs`'s.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.connector import DIRECTIONS, chosen_of, connector_page
from gatepost.manage.pages.following import followed
from gatepost.manage.pages.guard import accounts_of, actor_of, gateway_of, needs, who
from gatepost.manage.pages.pages import fragment, render, see_other
from gatepost.manage.pages.places import connector_path
from gatepost.manage.pages.tasks import live_items, task_items, verdict_item
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.validation import MOST_PEM, Trial
from gatepost.manage.use_cases.validation_runs import SECONDS, Tried, begin_validation, stored_candidate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.jobs import Job
    from gatepost.manage.use_cases.validation_runs import Candidate

    type Run = Job[Tried, dict[str, Any]]


_MONTH: Final = 30 * 86_400.0
_MOST: Final = 10  # recipients of a test message
_MARGIN: Final = 15.0  # seconds for a run that is late to end


def validate_path(organization: str, direction: str, name: str) -> str:
    """Where a validation begins."""
    return f"/connectors/validate/{quote(organization, safe='')}/{direction}/{quote(name, safe='')}"


def trial_of(given: Mapping[str, str]) -> Trial:
    """What a form says is to be tried. An empty field is not given; "<>" is the null reverse-path."""

    def text(name: str) -> str:
        return given.get(name, "").strip()[:1000]

    recipients = [one for one in re.split(r"[\s,;]+", given.get("recipients", "")) if one]
    return Trial(
        tuple(recipients[:_MOST]),
        session=text("session"),
        certificate=given.get("certificate", "").strip()[: MOST_PEM + 1].encode("utf-8", "replace"),
        ip=text("ip"),
        reverse_path=text("reverse_path") or None,
        forward_path=text("forward_path"),
        since=time.time() - _MONTH,
    )


def refused_fields(refusal: Refusal) -> dict[str, str]:
    """What is wrong, by the form's field; "" for what is about none."""
    return {one.path: one.message for one in refusal.errors} or {"": refusal.text}


def begun(request: Request, candidate: Candidate, *, live: bool) -> Run:
    """Begin to try it. live: once the page follows it. Raises Refusal."""
    gateway, accounts = gateway_of(request), accounts_of(request)
    return begin_validation(gateway, who(request), candidate, accounts, actor_of(request), live=live)


def waited(run: Run) -> dict[str, Any]:
    """What came of it, once it has ended. Raises Refusal."""
    run.wait(SECONDS + _MARGIN)
    if run.refusal is not None:
        raise run.refusal
    if run.result is None or run.trouble or not run.done:
        raise Refusal(Kind.UNREADABLE, run.trouble or "The validation does not end; the gateway's log may say why.")
    return run.result


def follow(request: Request, run: Run) -> Response:
    """What is put into the page: the tasks, which go on by themselves."""
    return render(request, "connectors/live.html", connect=f"/connectors/run/{run.id}/events", tasks=_items(run))


def _items(run: Run) -> list[dict[str, Any]]:
    if not run.done:
        return live_items(run.result)
    if run.trouble or run.result is None:
        return [verdict_item({"verdict": run.trouble})]
    return task_items(run.result)


def _begin(request: Request) -> Response:
    """With htmx the tasks that follow it; without, when it has ended, the connector's page."""
    chosen = chosen_of(request)
    needs(request, Scope.CONNECTORS, chosen.organization.name)
    trial, live = trial_of(request.state.form), request.headers.get("hx-request") == "true"
    try:
        run = begun(request, stored_candidate(gateway_of(request), chosen, trial), live=live)
        if live:
            return follow(request, run)
        record = waited(run)
    except Refusal as refusal:
        if live:
            return render(request, "connectors/refused.html", errors=refused_fields(refusal))
        errors = refused_fields(refusal)
        return connector_page(request, chosen, 422, errors.get("", ""), trial=trial, trial_errors=errors)
    level = {"validated": "pass", "not-validated": "fail"}.get(record["outcome"], "warn")
    path = connector_path(chosen.organization.name, chosen.direction, chosen.connector.name)
    return see_other(request, f"{path}#validation", record["verdict"], level)


async def _events(request: Request) -> Response:
    run = await run_in_threadpool(_run, request)
    return followed(request, run, lambda: fragment(request, "progress.html", "tasks", tasks=_items(run)))


def _run(request: Request) -> Run:
    run = gateway_of(request).kept(Jobs).find(request.path_params["run"], who(request), Tried)
    needs(request, Scope.CONNECTORS, run.subject.organization)
    return run


ROUTES = [
    *(
        Route(
            f"/connectors/validate/{{organization}}/{direction}/{{name:path}}", _begin, methods=["POST"], name=direction
        )
        for direction in DIRECTIONS
    ),
    Route("/connectors/run/{run}/events", _events),
]
