"""Whether another gateway runs: it asks its own listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.administration.status import status_of

if TYPE_CHECKING:
    from gatepost.administration.status import Status
    from gatepost.remote.connection import Connection

__all__ = ["status"]


def status(connection: Connection) -> Status:
    """As `administration.status.status`."""
    return status_of(connection.get("/status").value)
