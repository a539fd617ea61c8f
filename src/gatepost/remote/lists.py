"""Lists of another gateway: its connectors, and who changed its resources when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.administration.connectors import ConnectorRow

if TYPE_CHECKING:
    from gatepost.administration.connectors import ConnectorSelection
    from gatepost.administration.pages import Page
    from gatepost.remote.connection import Connection

__all__ = ["connectors", "history_records", "version_records"]


def connectors(connection: Connection, selection: ConnectorSelection) -> Page[ConnectorRow]:
    """As `administration.connectors.connectors`."""
    query = {"organization": selection.organization, "direction": selection.direction, "q": selection.q}
    query["status"] = selection.status
    found = list(connection.items("/connectors", **query))
    rows = [ConnectorRow(**{_ATTRIBUTES.get(key, key): value for key, value in one.items()}) for one in found]
    return selection.page(0, rows)


_ATTRIBUTES = {"from": "sender", "to": "receiver"}


def history_records(connection: Connection, *, organization: str = "", limit: int = 20) -> list[dict[str, Any]]:
    """As `administration.history.history_records`."""
    return list(connection.items("/history", limit, organization=organization))


def version_records(connection: Connection, version: int) -> dict[str, Any]:
    """As `administration.history.version_records`."""
    found: dict[str, Any] = connection.get(f"/history/{version}").value
    return found
