"""The list of connectors: direction, domains, requirements, last validation and results of the last 7 days.

A page costs what its rows cost; results are counted afterwards, when htmx asks for the rows again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from starlette.routing import Route

from gatepost.analysis.rehearsal.verdicts import ConnectorKey
from gatepost.language import _, translated
from gatepost.manage.access.principal import Scope
from gatepost.manage.pages.bulk_validation import under_way
from gatepost.manage.pages.connector_switches import ACTIONS, VALIDATE, may_switch
from gatepost.manage.pages.exports import MOST, exported
from gatepost.manage.pages.guard import perform, principal_of
from gatepost.manage.pages.paging import SIZE, foot, offset_of
from gatepost.manage.pages.rendering import render
from gatepost.manage.pages.resource_paths import connector_path
from gatepost.manage.use_cases.connector_views import CountVerdicts, FindConnectors, count_verdicts, find_connectors
from gatepost.manage.use_cases.connectors import SORTS, connector_record
from gatepost.texts import N_, NN_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.analysis.rehearsal.verdicts import Verdicts
    from gatepost.manage.use_cases.connectors import ConnectorEntry


_COLUMNS = (
    "status", "name", "direction", "organization", "from", "to", "mode", "domains", "requires", "validated",
    "validated_at", "passed_7d", "failed_7d",
)  # fmt: skip
FAILED = {"inbound": N_("refused"), "outbound": N_("held back")}
"""What becomes of mail that does not meet a connector."""
_DIRECTIONS = ("", "inbound", "outbound")
_STATUSES = ("", "enabled", "rehearsal", "disabled")


def _list(request: Request) -> Response:
    principal, query = principal_of(request), request.query_params
    direction, status = query.get("direction", ""), query.get("status", "")
    sort, with_verdicts = query.get("sort", ""), bool(query.get("verdicts"))
    selection = FindConnectors(
        organization=query.get("organization", ""),
        q=query.get("q", "").strip(),
        limit=SIZE,
        offset=offset_of(request),
        direction=direction if direction in _DIRECTIONS else "",
        status=status if status in _STATUSES else "",
        sort=sort if sort.removeprefix("-") in SORTS else "",
    )

    def records() -> Iterator[dict[str, Any]]:
        rows = perform(request, find_connectors, replace(selection, limit=MOST, offset=0)).rows
        return _records(rows, counted(request, rows))

    if file := exported(request, "connectors", _COLUMNS, records):
        return file
    waits = selection.sort.endswith("verdicts") and not with_verdicts  # for counting: in that order when it is done
    page = perform(request, find_connectors, replace(selection, sort="") if waits else selection)
    return render(
        request,
        "connectors/list.html",
        block="rows",
        rows=page.rows,
        foot=foot(page, NN_("%(num)s connector", "%(num)s connectors")),
        verdicts=counted(request, page.rows) if with_verdicts else None,
        selection=selection,
        filtered=bool(selection.q or selection.direction or selection.status),
        may_change=principal.may(Scope.CONNECTORS, selection.organization or None)
        or (not principal.is_of_gateway and Scope.CONNECTORS in principal.scopes),
        may_switch=may_switch(principal),
        switch_actions=((VALIDATE, _("Validate")), *translated(ACTIONS).items()),
        under_way=under_way(request),
        path=connector_path,
        failed_word=translated(FAILED),
    )


def counted(request: Request, rows: Sequence[ConnectorEntry]) -> dict[ConnectorKey, Verdicts]:
    """Counts of these connectors in the trace of the last seven days."""
    keys = [ConnectorKey(row.organization, row.direction, row.name) for row in rows]
    return perform(request, count_verdicts, CountVerdicts(connectors=keys))


def _records(rows: Sequence[ConnectorEntry], verdicts: dict[ConnectorKey, Verdicts]) -> Iterator[dict[str, Any]]:
    for row in rows:
        verdict = verdicts[ConnectorKey(row.organization, row.direction, row.name)]
        record = connector_record(row) | {"mode": row.mode}
        yield record | {
            "validated": row.validated.outcome if row.validated else None,
            "validated_at": row.validated.at if row.validated else None,
            "passed_7d": verdict.passed,
            "failed_7d": verdict.failed,
        }


ROUTES = [Route("/connectors", _list)]
