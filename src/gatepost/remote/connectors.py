"""The connectors of another gateway in Exchange's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.administration.connectors import ConnectorRow

if TYPE_CHECKING:
    from gatepost.administration.connectors import ConnectorSelection
    from gatepost.administration.pages import Page
    from gatepost.remote.connection import Connection

__all__ = ["connectors"]


_ATTRIBUTES = {"from": "sender", "to": "receiver"}


def connectors(connection: Connection, selection: ConnectorSelection) -> Page[ConnectorRow]:
    """As `administration.connectors.connectors`."""
    query = {"organization": selection.organization, "direction": selection.direction, "q": selection.q}
    query["status"] = selection.status
    found = list(connection.items("/connectors", **query))
    rows = [ConnectorRow(**{_ATTRIBUTES.get(key, key): value for key, value in one.items()}) for one in found]
    return selection.page(0, rows)
