"""Validating a connector, from its page or the wizard: the form, the stream that follows it, the way without a script.

What is tried, and how many at a time, is `manage.use_cases.validation_runs`'s.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.account_forms import by_field
from gatepost.manage.pages.connector import DIRECTIONS, chosen_of, connector_page
from gatepost.manage.pages.event_stream import followed
from gatepost.manage.pages.guard import needs, perform
from gatepost.manage.pages.rendering import fragment, render, see_other
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.pages.validation_tasks import live_items, task_items, verdict_item
from gatepost.manage.use_cases import validation_runs
from gatepost.manage.use_cases.jobs import Job, follow
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response


_LIMITS: Final = limits(validation_runs.ValidateConnector)
_PATIENCE: Final = 20.0  # seconds that a look at a job waits for its end
_MOST: Final = 10  # recipients of a test message
_MARGIN: Final = 15.0  # seconds for a run that is late to end


def request_of(
    organization: str, direction: str, connector: str, given: Mapping[str, str]
) -> validation_runs.ValidateConnector:
    """Read a validation from a form. An empty field is not given; "<>" is the null reverse-path."""

    def text(name: str) -> str:
        return given.get(name, "").strip()[: _LIMITS[name]]

    recipients = [part[: _LIMITS["sender"]] for part in re.split(r"[\s,;]+", given.get("recipients", "")) if part]
    return validation_runs.ValidateConnector(
        organization=organization,
        connector=connector,
        direction="inbound" if direction == "inbound" else "outbound",
        recipients=recipients[:_MOST],
        session=text("session"),
        certificate=given.get("certificate", "").strip(),
        ip=text("ip"),
        reverse_path=text("reverse_path") or None,
        forward_path=text("forward_path"),
        wait=0.0,
    )


def ended(request: Request, organization: str, state: validation_runs.ValidationState) -> validation_runs.Record:
    """The result, once it has ended. Raises Refusal."""

    def show(identity: str) -> validation_runs.ValidationState:
        wanted = validation_runs.ShowValidation(organization=organization, id=identity, wait=_PATIENCE)
        return perform(request, validation_runs.show_validation, wanted)

    return follow(state, show, seconds=validation_runs.SECONDS + _MARGIN).record


def live(request: Request, state: validation_runs.ValidationState) -> Response:
    """Part of a page with the tasks, which update by themselves."""
    return render(request, "connectors/live.html", connect=f"/connectors/run/{state.id}/events", tasks=_items(state))


def _items(state: validation_runs.ValidationState) -> list[dict[str, Any]]:
    if not state.done:
        return live_items(state.result)
    if state.trouble or state.result is None:
        return [verdict_item({"verdict": state.trouble})]
    return task_items(state.result)


def _begin(request: Request) -> Response:
    """With htmx the tasks that follow it; without, when it has ended, the connector's page."""
    chosen = chosen_of(request)
    owner, is_live = chosen.organization.name, request.headers.get("hx-request") == "true"
    wanted = request_of(owner, chosen.direction, chosen.connector.name, request.state.form)
    try:
        state = perform(request, validation_runs.start_validation, wanted).value
        if is_live:
            return live(request, state)
        record = ended(request, owner, state)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.FORBIDDEN:
            raise
        errors = by_field(refusal)
        if is_live:
            return render(request, "connectors/refused.html", 200, errors=errors)
        return connector_page(request, chosen, errors.get("", ""), status=422, trial=wanted, trial_errors=errors)
    level = {"validated": "pass", "not-validated": "fail"}.get(record["outcome"], "warn")
    path = connector_path(owner, chosen.direction, chosen.connector.name)
    return see_other(request, f"{path}#validation", record["verdict"], level)


async def _events(request: Request) -> Response:
    job = await run_in_threadpool(_job, request)
    return followed(
        request, job, lambda: fragment(request, "progress.html", "tasks", tasks=_items(validation_runs.state_of(job)))
    )


def _job(request: Request) -> Job[validation_runs.Validated, validation_runs.Record]:
    job = perform(
        request, validation_runs.follow_validation, validation_runs.FollowValidation(id=request.path_params["run"])
    )
    needs(request, Scope.CONNECTORS, job.subject.organization)
    return job


ROUTES = [
    *(
        Route(
            f"/connectors/validate/{{organization}}/{direction}/{{name:path}}", _begin, methods=["POST"], name=direction
        )
        for direction in DIRECTIONS
    ),
    Route("/connectors/run/{run}/events", _events),
]
