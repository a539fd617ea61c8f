"""Who changed the resources of another gateway, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


def history_records(connection: Connection, *, organization: str = "", limit: int = 20) -> list[dict[str, Any]]:
    """As `manage.use_cases.history.history_records`."""
    return list(connection.items("/history", limit, organization=organization))


def version_records(connection: Connection, version: int) -> dict[str, Any]:
    """As `manage.use_cases.history.version_records`."""
    found: dict[str, Any] = connection.get(f"/history/{version}").value
    return found
