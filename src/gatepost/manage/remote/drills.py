"""Drills of outbound connectors of another gateway, held by that gateway, and the last one that it keeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gatepost.manage.remote.resources import FetchedGateway
from gatepost.manage.use_cases.drills import Drilled, choose_drilled
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.choice import Chosen


_WAIT: Final = 20.0  # seconds that a call waits for the end
_MOST: Final = 120.0  # a drill ends within 15


def drilled(connection: Connection, name: str, organization: str = "", direction: str | None = None) -> Drilled:
    """As `manage.use_cases.drills.drilled`."""
    chosen = _chosen(connection, name, organization, direction)
    path = f"{_path(chosen)}/drills"
    state = connection.call("POST", path, query={"wait": _WAIT}, body={"connector": chosen.connector.name}).value
    end = time.monotonic() + _MOST
    while not state["done"]:
        if time.monotonic() > end:
            raise Refusal(Kind.UNREADABLE, f"{connection.url}: the drill does not end")
        state = connection.get(f"{path}/{quote(state['id'], safe='')}", wait=_WAIT).value
    if state["result"] is None:
        raise Refusal(Kind.UNREADABLE, f"{connection.url}: {state['trouble']}")
    return _drilled(state["result"])


def last_drill(
    connection: Connection, name: str, organization: str = "", direction: str | None = None
) -> Drilled | None:
    """As `manage.use_cases.drills.last_drill`."""
    chosen = _chosen(connection, name, organization, direction)
    found = connection.get(f"{_path(chosen)}/last_drill/{quote(chosen.connector.name, safe='')}").value["drill"]
    return None if found is None else _drilled(found)


def _chosen(connection: Connection, name: str, organization: str, direction: str | None) -> Chosen:
    return choose_drilled(FetchedGateway(connection).directory().resources, name, organization, direction)


def _path(chosen: Chosen) -> str:
    return f"/organizations/{quote(chosen.organization.name, safe='')}"


def _drilled(given: Mapping[str, Any]) -> Drilled:
    return Drilled(
        **{name: given[name] for name in Drilled._fields if name != "troubles"}, troubles=tuple(given["troubles"])
    )
