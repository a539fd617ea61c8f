"""The connectors of another gateway in Exchange's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases.connectors import ConnectorRow

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.connectors import ConnectorSelection
    from gatepost.manage.use_cases.pages import Page


_ATTRIBUTES = {"from": "sender", "to": "receiver"}


def connectors(connection: Connection, selection: ConnectorSelection) -> Page[ConnectorRow]:
    """As `manage.use_cases.connectors.connectors`."""
    query = {"organization": selection.organization, "direction": selection.direction, "q": selection.q}
    query["status"] = selection.status
    found = list(connection.items("/connectors", **query))
    rows = [ConnectorRow(**{_ATTRIBUTES.get(key, key): value for key, value in one.items()}) for one in found]
    return selection.page(0, rows)
