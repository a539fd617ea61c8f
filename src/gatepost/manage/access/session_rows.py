"""The rows of sessions. Called by `manage.access.accounts`, with a connection that is inside a transaction.

A session is over 12 hours after the log-in, after 30 minutes without a request, when its user changes, and when the
clock stands before what it has seen: rather log in anew than live for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.decoding import from_json
from gatepost.manage.access import secret
from gatepost.manage.access.fields import cleaned
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import Preferences, User, UserSession
from gatepost.manage.access.user_rows import decoded

if TYPE_CHECKING:
    from gatepost.store.interface import DatabaseConnection


LIFETIME: Final = 12 * 3600.0
"""Seconds after the log-in, whatever is done."""
_IDLE: Final = 30 * 60.0
_TOUCHED: Final = 60.0  # seconds between two writes of "last seen"
_SLACK: Final = 60.0  # seconds that a clock may be put back
_LAST: Final = 2**63 - 1  # the largest number that a column has
_OF_ONE_USER: Final = 20
_ADDRESS: Final = 64
_AGENT: Final = 256

_SELECT = (
    "SELECT session.id, session.created, session.last_seen, session.address, session.agent, owner.name, owner.role,"
    " owner.organizations, owner.enabled, owner.created, owner.last_login, owner.generation, owner.issuer,"
    ' owner.preferences, session.confirmed FROM session JOIN "user" AS owner ON owner.name = session."user"'
    " AND owner.generation = session.generation AND owner.enabled = 1"
)


def start(connection: DatabaseConnection, user: User, now: float, address: str, agent: str, confirmed: float) -> str:
    """A new session; its secret. Of too many of one user the oldest ends."""
    fresh = secret.fresh()
    connection.execute(
        'INSERT INTO session (hash, "user", generation, created, last_seen, confirmed, address, agent)'
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            secret.hash_of(fresh),
            user.name,
            user.generation,
            now,
            now,
            confirmed,
            cleaned(address, _ADDRESS),
            cleaned(agent, _AGENT),
        ),
    )
    connection.execute(
        'DELETE FROM session WHERE id IN (SELECT id FROM session WHERE "user" = ? ORDER BY id DESC LIMIT ? OFFSET ?)',
        (user.name, _LAST, _OF_ONE_USER),
    )
    return fresh


def find(connection: DatabaseConnection, given: str) -> UserSession | None:
    """The session of a secret, be it over or not."""
    if (hashed := secret.hash_of(given)) is None:
        return None
    rows = connection.rows(f"{_SELECT} WHERE session.hash = ?", (hashed,))
    return _session(rows[0], secret.csrf_of(given)) if rows else None


def is_over(session: UserSession, now: float) -> bool:
    """Whether it is too old, too long unused, or of a time that has not come."""
    if session.last_seen > now + _SLACK:
        return True
    return now >= ends_at(session)


def ends_at(session: UserSession) -> float:
    """When it is over if no request comes, a minute too early at most, as not every request is written."""
    return min(session.created + LIFETIME, session.last_seen + _IDLE)


def is_due(session: UserSession, now: float) -> bool:
    """Whether it is to be written that it was seen."""
    return now - session.last_seen >= _TOUCHED


def touch(connection: DatabaseConnection, session: UserSession, now: float) -> None:
    """It was seen."""
    connection.execute("UPDATE session SET last_seen = ? WHERE id = ?", (now, session.id))


def confirm(connection: DatabaseConnection, name: str, number: int, now: float) -> None:
    """The person of a session of that user proved again who they are."""
    connection.execute('UPDATE session SET confirmed = ? WHERE id = ? AND "user" = ?', (now, number, name))


def of_user(connection: DatabaseConnection, name: str, now: float) -> list[UserSession]:
    """Those that go on, the newest first."""
    rows = connection.rows(f'{_SELECT} WHERE session."user" = ? ORDER BY session.id DESC', (name,))
    return [session for session in map(_session, rows) if not is_over(session, now)]


def end(connection: DatabaseConnection, given: str) -> str:
    """End the session of a secret; whose it was, "" if there was none."""
    rows = connection.rows('DELETE FROM session WHERE hash = ? RETURNING "user"', (secret.hash_of(given),))
    return str(rows[0][0]) if rows else ""


def end_one(connection: DatabaseConnection, name: str, number: int) -> bool:
    """End a session of a user by its id; whether there was one."""
    if abs(number) > _LAST:
        return False
    return bool(connection.execute('DELETE FROM session WHERE "user" = ? AND id = ?', (name, number)))


def end_all(connection: DatabaseConnection, name: str) -> int:
    """End a user's sessions; how many."""
    return connection.execute('DELETE FROM session WHERE "user" = ?', (name,))


def prune(connection: DatabaseConnection, now: float) -> int:
    """Remove those that are over; how many."""
    return connection.execute(
        "DELETE FROM session WHERE created <= ? OR last_seen <= ? OR last_seen > ?",
        (now - LIFETIME, now - _IDLE, now + _SLACK),
    )


def _session(row: tuple[Any, ...], csrf: str = "") -> UserSession:
    number, began, last_seen, address, agent, name, role, organizations, enabled, *rest = row
    made, last, generation, issuer, preferences, confirmed = rest
    chosen = from_json(preferences, Preferences)
    user = User(name, Role(role), decoded(organizations), bool(enabled), made, last, generation, issuer, chosen)
    return UserSession(number, user, began, last_seen, address, agent, csrf, confirmed)
