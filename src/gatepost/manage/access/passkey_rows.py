"""The rows of passkeys: WebAuthn credentials of users. Called by `manage.access.accounts` inside a transaction.

Whether a signature is right is for `manage.pages.passkeys`; here is what of it must hold from one use to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.manage.access.fields import cleaned
from gatepost.manage.access.records import AccountError, AccountErrorKind, Passkey
from gatepost.policy.connectors.errors import FieldError
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.store.interface import DatabaseConnection


_OF_ONE_USER: Final = 20
_NAME: Final = 64
_SELECT: Final = 'SELECT id, "user", name, public_key, sign_count, created, last_used FROM passkey'


def of_user(connection: DatabaseConnection, name: str) -> list[Passkey]:
    """Those of a user, the oldest first."""
    return [Passkey(*row) for row in connection.rows(f'{_SELECT} WHERE "user" = ? ORDER BY created, id', (name,))]


def find(connection: DatabaseConnection, credential: bytes) -> Passkey | None:
    """The one of that id."""
    rows = connection.rows(f"{_SELECT} WHERE id = ?", (credential,))
    return Passkey(*rows[0]) if rows else None


def insert(connection: DatabaseConnection, passkey: Passkey, *, is_current: bool) -> Passkey:
    """One more of a user. is_current: the session that makes it has not ended meanwhile.

    Raises AccountError: INPUT for its name, CONFLICT if the session has, there are too many or it is known.
    """
    if not is_current:
        raise AccountError(AccountErrorKind.CONFLICT, "the passkey was not accepted; try again")
    name = cleaned(passkey.name.strip(), _NAME)
    if not name:
        text = "enter a name for the passkey, for example the name of the device"
        raise AccountError(AccountErrorKind.INPUT, text, [FieldError("passkey_name", text)])
    if len(of_user(connection, passkey.user)) >= _OF_ONE_USER:
        raise AccountError(
            AccountErrorKind.CONFLICT,
            f"you already have {_OF_ONE_USER} passkeys, the most that are allowed; remove one first",
        )
    if find(connection, passkey.id) is not None:
        raise AccountError(AccountErrorKind.CONFLICT, "this passkey is known already")
    new = replace(passkey, name=name)
    connection.execute(
        'INSERT INTO passkey (id, "user", name, public_key, sign_count, created, last_used)'
        " VALUES (?, ?, ?, ?, ?, ?, 0)",
        (new.id, new.user, new.name, new.public_key, new.sign_count, new.created),
    )
    return new


def used(connection: DatabaseConnection, credential: bytes, sign_count: int, now: float) -> Passkey | None:
    """The passkey, which signed just now; None if it is gone, or its counter stands where it stood before.

    A counter that does not grow is a copy of the authenticator (WebAuthn section 6.1.1); 0 is one that does not count.
    """
    signed = connection.execute(
        "UPDATE passkey SET sign_count = ?1, last_used = ?2"
        " WHERE id = ?3 AND (sign_count < ?1 OR (sign_count = 0 AND ?1 = 0))",
        (sign_count, now, credential),
    )
    return find(connection, credential) if signed else None


def delete(connection: DatabaseConnection, name: str, credential: bytes) -> Passkey:
    """Remove a passkey and return it. Raises AccountError (MISSING) if that user has no such passkey."""
    passkey = find(connection, credential)
    if passkey is None or passkey.user != name:
        raise AccountError(AccountErrorKind.MISSING, "there is no such passkey")
    connection.execute("DELETE FROM passkey WHERE id = ?", (credential,))
    return passkey


def end_all(connection: DatabaseConnection, name: str) -> list[str]:
    """Remove those of a user; their names, sorted."""
    return sorted(
        str(row[0]) for row in connection.rows('DELETE FROM passkey WHERE "user" = ? RETURNING name', (name,))
    )
