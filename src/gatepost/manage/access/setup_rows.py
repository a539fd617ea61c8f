"""The row of a set-up: the code that makes the first owner. For `manage.access.accounts`, in a transaction.

There is one code for the whole site. Its hash is kept, and beside it the code itself, sealed, where there is a master
key: whoever starts an admin centre can then print the code that is valid, instead of a new one.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.manage.access import secret
from gatepost.manage.access.records import AccountError, AccountErrorKind
from gatepost.manage.access.user_rows import has_owner
from gatepost.pki.certificates.vault import Vault, VaultError

if TYPE_CHECKING:
    from gatepost.store.interface import DatabaseConnection


LIFETIME: Final = 30 * 60.0
"""Seconds for which a code may be used."""
_SLACK: Final = 60.0  # seconds that a clock may be put back
_PLACE: Final = "setup/code"


class ValidSetupCode(NamedTuple):
    """A code that is valid. until: seconds since 1970. replaced: an earlier one, still valid, ended for it.

    code: "" if another node gave it out, and nothing here can say it.
    """

    code: str
    until: float
    replaced: bool = False


def renew(connection: DatabaseConnection, now: float, vault: Vault | None = None) -> str:
    """A fresh code in place of any before it. Raises AccountError (CONFLICT) if there is an owner."""
    if has_owner(connection):
        raise AccountError(
            AccountErrorKind.CONFLICT, "there is an owner already, who adds other users (or `gatepost user add`)"
        )
    code = secret.fresh()
    sealed = vault.seal(code.encode("ascii"), _PLACE) if vault is not None else None
    connection.execute(
        "INSERT INTO setup (id, hash, made, sealed) VALUES (1, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, made = excluded.made, sealed = excluded.sealed",
        (secret.hash_of(code), now, sealed),
    )
    return code


def valid(connection: DatabaseConnection, now: float, vault: Vault | None, known: str) -> ValidSetupCode | None:
    """The code that is valid, if it can be said: `known` if that is it, or else what the vault opens."""
    rows = connection.rows("SELECT made, sealed FROM setup")
    if not rows:
        return None
    made, sealed = rows[0]
    for code in (known, _opened(sealed, vault)):
        if fits(connection, code, now):
            return ValidSetupCode(code, made + LIFETIME)
    return None


def open_until(connection: DatabaseConnection, now: float) -> float:
    """The time at which a code that is valid ends, in seconds since 1970; 0.0 if none is valid."""
    made: float | None = connection.value("SELECT made FROM setup")
    return made + LIFETIME if made is not None and made - _SLACK <= now < made + LIFETIME else 0.0


def _opened(sealed: bytes | None, vault: Vault | None) -> str:
    """The code, "" if it was not sealed, or with another key. A node of the version before renews without sealing."""
    if sealed is None or vault is None:
        return ""
    try:
        return vault.open(sealed, _PLACE).decode("ascii")
    except VaultError:
        return ""


def fits(connection: DatabaseConnection, code: str, now: float) -> bool:
    """Whether a code makes an owner now."""
    code_hash = secret.hash_of(code)
    hashed: bytes | None = connection.value("SELECT hash FROM setup")
    if code_hash is None or hashed is None or has_owner(connection):
        return False
    return hmac.compare_digest(hashed, code_hash) and bool(open_until(connection, now))


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
