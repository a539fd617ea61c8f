"""Check that a session was confirmed lately, before something sensitive is done. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gatepost.manage.access.records import UserSession


FRESH: Final = 15 * 60.0
"""Seconds for which a log-in, or a password that was asked for again, is enough."""
_SLACK: Final = 60.0  # seconds that a clock may be put back


def is_confirmed(session: UserSession | None, now: float) -> bool:
    """session: None is a program with an API token, which proves itself with every request."""
    return session is None or -_SLACK <= now - session.confirmed < FRESH
