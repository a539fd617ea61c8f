"""The page of a validation of many connectors: how far it came, and the result of each, while it runs and afterwards.

`manage.pages.connector_switches` begins one from the list. Who comes back within the hour finds it here again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.event_stream import followed
from gatepost.manage.pages.guard import perform, principal_of
from gatepost.manage.pages.paging import foot, order_of, page_of, paged
from gatepost.manage.pages.rendering import fragment, link, render, see_other
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.use_cases import bulk_validation
from gatepost.manage.use_cases.paging import sorted_by
from gatepost.texts import NN_

if TYPE_CHECKING:
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.manage.use_cases.connector_switches import ConnectorName
    from gatepost.manage.use_cases.jobs import Job
    from gatepost.manage.use_cases.paging import Columns


_FIRST: Final = {"not-validated": 0, "unknown": 1, "": 2, "validated": 3}
_DEFAULT: Final = "result"
_SORTS: Final[Columns[bulk_validation.ConnectorResult]] = {
    "result": lambda result: (_FIRST[result.outcome], result.state == "waiting"),
    "name": lambda result: result.name,
    "direction": lambda result: result.direction,
    "organization": lambda result: result.organization,
    "verdict": lambda result: result.verdict or None,
}


def begin_validations(request: Request, names: list[ConnectorName]) -> Response:
    """Begin to validate them, and show how far it came. Raises Refusal."""
    state = perform(
        request, bulk_validation.validate_connectors, bulk_validation.ValidateConnectors(connectors=names)
    ).value
    return see_other(request, f"/connectors/validations/{state.id}")


def under_way(request: Request) -> list[bulk_validation.ValidationCounts]:
    """Validations of many that go on; none for whom may start none."""
    if not principal_of(request).scopes & {Scope.CONNECTORS, Scope.OWNER}:
        return []
    items = perform(request, bulk_validation.list_validations, bulk_validation.ListValidations()).items
    return [counts for counts in items if not counts.done]


def _show(request: Request) -> Response:
    state = perform(
        request, bulk_validation.show_validations, bulk_validation.ShowValidations(id=request.path_params["run"])
    )
    return render(request, "connectors/validations.html", **_shown(request, state))


def _shown(request: Request, state: bulk_validation.BulkValidation) -> dict[str, Any]:
    """What the template takes; what failed stands first, unless another order is asked for."""
    sort = order_of(request, _SORTS)
    page = paged(request, sorted_by(state.connectors, sort or _DEFAULT, _SORTS))
    return {
        "counts": state.counts,
        "trouble": state.trouble,
        "rows": page.rows,
        "foot": foot(page, NN_("%(num)s connector", "%(num)s connectors")),
        "path": connector_path,
        "sort": sort or _DEFAULT,
        "connect": link(f"/connectors/validations/{state.id}/events", page=page_of(request), sort=sort),
    }


async def _events(request: Request) -> Response:
    job = await run_in_threadpool(_job, request)

    def shown() -> str:
        address, state = request.url.path.removesuffix("/events"), bulk_validation.bulk_state(job)
        return fragment(request, "connectors/validations.html", "progress", address=address, **_shown(request, state))

    return followed(request, job, shown)


def _job(request: Request) -> Job[bulk_validation.ManyConnectors, bulk_validation.Batch]:
    return perform(
        request, bulk_validation.follow_validations, bulk_validation.ShowValidations(id=request.path_params["run"])
    )


def _stop(request: Request) -> Response:
    identity = request.path_params["run"]
    perform(request, bulk_validation.stop_validations, bulk_validation.StopValidations(id=identity))
    return see_other(request, f"/connectors/validations/{identity}", _("The validation was stopped."), "info")


ROUTES = [
    Route("/connectors/validations/{run}", _show),
    Route("/connectors/validations/{run}/events", _events),
    Route("/connectors/validations/{run}/stop", _stop, methods=["POST"]),
]
