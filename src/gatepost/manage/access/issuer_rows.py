"""The rows of users who log in at an issuer of OpenID Connect. For `manage.access.accounts`, in a transaction.

Such a user is the issuer's `sub`, whatever its name; it has no password, and its role and organizations are those that
the issuer said at the last log-in.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from gatepost.manage.access.fields import normalize_username
from gatepost.manage.access.records import AccountError, AccountErrorKind, User
from gatepost.manage.access.user_rows import encoded, find, get, of_issuer
from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.manage.access.principal import Role
    from gatepost.store.interface import DatabaseConnection


class IssuerIdentity(NamedTuple):
    """Verified claims of an issuer about a person. organizations: None is the whole gateway."""

    issuer: str
    subject: str
    name: str
    role: Role
    organizations: frozenset[str] | None


def keep(connection: DatabaseConnection, identity: IssuerIdentity, now: float) -> tuple[User | None, User]:
    """The user before, None if there was none, and as it is now. Raises AccountError (CONFLICT, INPUT).

    A name that somebody else has is refused: whoever may choose names at an issuer must not become a user of ours.
    """
    before = of_issuer(connection, identity.issuer, identity.subject)
    if before is None:
        return None, _insert(connection, identity, now)
    after = replace(before, role=identity.role, organizations=identity.organizations)
    if after != before:
        connection.execute(
            'UPDATE "user" SET role = ?, organizations = ?, generation = generation + 1 WHERE name = ?',
            (after.role.value, encoded(after.organizations), before.name),
        )
    return before, get(connection, before.name)


def _insert(connection: DatabaseConnection, identity: IssuerIdentity, now: float) -> User:
    name = normalize_username(identity.name)
    if not name:
        raise AccountError(AccountErrorKind.INPUT, "the issuer names the user by what can be no name here")
    if find(connection, name) is not None:
        raise AccountError(AccountErrorKind.CONFLICT, f"there is another user {name!r} here")
    user = User(name, identity.role, identity.organizations, True, now, 0.0, secrets.randbits(48), identity.issuer)
    connection.execute(
        'INSERT INTO "user" (name, role, organizations, enabled, created, last_login, last_address, generation, argon2,'
        " issuer, subject) VALUES (?, ?, ?, 1, ?, 0, '', ?, '', ?, ?)",
        (
            user.name,
            user.role.value,
            encoded(user.organizations),
            now,
            user.generation,
            identity.issuer,
            identity.subject,
        ),
    )
    return user
