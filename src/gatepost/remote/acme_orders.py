"""Where the certificates of another gateway stand that come from an ACME authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatepost.remote.connection import Connection

__all__ = ["acme_status"]


def acme_status(connection: Connection) -> dict[str, Any]:
    """As `administration.acme_orders.acme_status`."""
    found: dict[str, Any] = connection.get("/acme").value
    return found
