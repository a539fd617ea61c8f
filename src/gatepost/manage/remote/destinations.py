"""What destinations of another gateway were seen to do, and what is accepted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.destinations import Accepted

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.destinations import Which


def remembered(
    connection: Connection, which: Which, *, only_below: bool = False, limit: int = 0
) -> list[dict[str, Any]]:
    """As `manage.use_cases.destinations.remembered`."""
    return list(connection.items("/destinations", limit, **which._asdict(), below=only_below))


def accepted(connection: Connection, which: Which, *, everything: bool = False, dry_run: bool = False) -> Accepted:
    """As `manage.use_cases.destinations.accepted`."""
    answer = _done(connection, "accept", which, everything=everything, dry_run=dry_run)
    return Accepted(answer["items"], answer["retried"])


def forgotten(
    connection: Connection, which: Which, *, everything: bool = False, dry_run: bool = False
) -> list[dict[str, Any]]:
    """As `manage.use_cases.destinations.forgotten`."""
    found: list[dict[str, Any]] = _done(connection, "forget", which, everything=everything, dry_run=dry_run)["items"]
    return found


def _done(connection: Connection, action: str, which: Which, *, everything: bool, dry_run: bool) -> Any:
    body = {"action": action, "all": everything, **which._asdict()}
    return connection.call("POST", "/destinations/actions", query={"dry_run": dry_run}, body=body).value
