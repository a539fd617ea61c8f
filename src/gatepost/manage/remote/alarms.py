"""What is wrong with another gateway, or soon will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases.alarms import alarms_of

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.alarms import Found


def alarms(connection: Connection, now: float) -> Found:  # noqa: ARG001 - as there; the other gateway has its own clock
    """As `manage.use_cases.alarms.alarms`."""
    return alarms_of(connection.get("/alarms").value)
