"""The row of a set-up: the code that makes the first owner. For `manage.access.accounts`, in a transaction."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from gatepost.manage.access import secret
from gatepost.manage.access.records import AccountError, AccountErrorKind
from gatepost.manage.access.user_rows import has_owner

if TYPE_CHECKING:
    from gatepost.store.database import DatabaseConnection


LIFETIME: Final = 30 * 60.0
"""Seconds for which a code may be used."""
_SLACK: Final = 60.0  # seconds that a clock may be put back


def renew(connection: DatabaseConnection, now: float) -> str:
    """A fresh code in place of any before it. Raises AccountError (CONFLICT) if there is an owner."""
    if has_owner(connection):
        raise AccountError(
            AccountErrorKind.CONFLICT, "there is an owner already, who adds other users (or `gatepost user add`)"
        )
    code = secret.fresh()
    connection.execute(
        "INSERT INTO setup (id, hash, made) VALUES (1, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, made = excluded.made",
        (secret.hash_of(code), now),
    )
    return code


def fits(connection: DatabaseConnection, code: str, now: float) -> bool:
    """Whether a code makes an owner now."""
    code_hash = secret.hash_of(code)
    rows = connection.rows("SELECT hash, made FROM setup")
    if code_hash is None or not rows or has_owner(connection):
        return False
    hashed, made = rows[0]
    in_time: bool = made - _SLACK <= now < made + LIFETIME
    return hmac.compare_digest(hashed, code_hash) and in_time


def demand(connection: DatabaseConnection, code: str, now: float) -> None:
    """Raise AccountError (CONFLICT) unless it fits."""
    if not fits(connection, code, now):
        raise AccountError(
            AccountErrorKind.CONFLICT,
            "this set-up code is not valid, or no longer: a code creates one owner within 30 minutes, and a newer code "
            "replaces it; `gatepost user setup` on the gateway prints a new one",
        )


def forget(connection: DatabaseConnection) -> None:
    """There is an owner."""
    connection.execute("DELETE FROM setup")
