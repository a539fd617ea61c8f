"""Where the certificates of another gateway stand that come from an ACME authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection


def acme_status(connection: Connection) -> dict[str, Any]:
    """As `manage.use_cases.acme_orders.acme_status`."""
    found: dict[str, Any] = connection.get("/acme").value
    return found
