"""What is wrong with another gateway, or soon will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.administration.alarms import alarms_of

if TYPE_CHECKING:
    from gatepost.administration.alarms import Found
    from gatepost.remote.connection import Connection

__all__ = ["alarms"]


def alarms(connection: Connection, now: float) -> Found:  # noqa: ARG001 - as there; the other gateway has its own clock
    """As `administration.alarms.alarms`."""
    return alarms_of(connection.get("/alarms").value)
