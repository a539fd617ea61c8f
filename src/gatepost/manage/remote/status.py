"""Whether another gateway runs: it asks its own listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases.status import status_of

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.status import Status


def status(connection: Connection) -> Status:
    """As `manage.use_cases.status.status`."""
    return status_of(connection.get("/status").value)
