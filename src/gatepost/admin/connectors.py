"""The list of connectors: whom they stand between, what they demand, how they were validated and how mail fared.

A page costs what its rows cost; what the trace says of them is counted afterwards, when htmx asks for the rows again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gatepost.access.principal import Scope
from gatepost.admin.exports import MOST, exported
from gatepost.admin.guard import gateway_of, who
from gatepost.admin.pages import render
from gatepost.admin.paging import SIZE, foot, offset_of
from gatepost.admin.places import connector_path
from gatepost.administration.connectors import SORTS, ConnectorSelection, connector_record, connectors
from gatepost.administration.verdicts import recent_verdicts
from gatepost.reports.verdicts import ConnectorKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from gatepost.administration.connectors import ConnectorRow
    from gatepost.administration.gateway import Gateway
    from gatepost.reports.verdicts import Verdicts

__all__ = ["FAILED", "ROUTES", "counted"]

_COLUMNS = (
    "status", "name", "direction", "organization", "from", "to", "mode", "domains", "demands", "validated",
    "validated_at", "passed_7d", "failed_7d",
)  # fmt: skip
FAILED = {"inbound": "refused", "outbound": "held"}
"""What becomes of mail that does not meet a connector."""
_DIRECTIONS = ("", "inbound", "outbound")
_STATUSES = ("", "enabled", "rehearsal", "disabled")


def _list(request: Request) -> Response:
    gateway, principal, query = gateway_of(request), who(request), request.query_params
    direction, status = query.get("direction", ""), query.get("status", "")
    sort, with_verdicts = query.get("sort", ""), bool(query.get("verdicts"))
    selection = ConnectorSelection(
        query.get("organization", ""),
        query.get("q", "").strip(),
        SIZE,
        offset_of(request),
        direction=direction if direction in _DIRECTIONS else "",
        status=status if status in _STATUSES else "",
        sort=sort if sort.removeprefix("-") in SORTS else "",
    )

    def records() -> Iterator[dict[str, Any]]:
        rows = connectors(gateway, principal, replace(selection, limit=MOST, offset=0)).rows
        return _records(rows, counted(gateway, rows))

    if file := exported(request, "connectors", _COLUMNS, records):
        return file
    waits = selection.sort.endswith("verdicts") and not with_verdicts  # for counting: in that order when it is done
    page = connectors(gateway, principal, replace(selection, sort="") if waits else selection)
    return render(
        request,
        "connectors/list.html",
        block="rows",
        rows=page.rows,
        foot=foot(page, "connectors"),
        verdicts=counted(gateway, page.rows) if with_verdicts else None,
        selection=selection,
        filtered=bool(selection.q or selection.direction or selection.status),
        may_change=principal.may(Scope.CONNECTORS, selection.organization or None)
        or (not principal.is_of_gateway and Scope.CONNECTORS in principal.scopes),
        path=connector_path,
        failed_word=FAILED,
    )


def counted(gateway: Gateway, rows: Sequence[ConnectorRow]) -> dict[ConnectorKey, Verdicts]:
    """What the trace of the last seven days says of these connectors."""
    return recent_verdicts(gateway, [ConnectorKey(row.organization, row.direction, row.name) for row in rows])


def _records(rows: Sequence[ConnectorRow], verdicts: dict[ConnectorKey, Verdicts]) -> Iterator[dict[str, Any]]:
    for row in rows:
        found = verdicts[ConnectorKey(row.organization, row.direction, row.name)]
        record = connector_record(row) | {"mode": row.mode}
        validated = row.validated or {}
        yield record | {
            "validated": validated.get("outcome"),
            "validated_at": validated.get("at"),
            "passed_7d": found.passed,
            "failed_7d": found.failed,
        }


ROUTES = [Route("/connectors", _list)]
