"""The rows of users. Called by `manage.access.accounts`, with a connection that is inside a transaction.

The last owner who can log in stays one: else nobody could mend anything but from the command line. Those of an issuer
of OpenID Connect do not count, for it may be down, or put them out of their group. Such a user is the issuer's `sub`,
whatever its name; it has no password, and its role and organizations are those that the issuer said at the last log-in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gatepost.decoding import from_json
from gatepost.manage.access.fields import account_name, chosen_organizations, cleaned, normalize_username, refuse
from gatepost.manage.access.principal import Role
from gatepost.manage.access.records import AccountError, AccountErrorKind, Keep, Preferences, User
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.logins.passwords import PasswordError, user_password
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.store.interface import DatabaseConnection


_SELECT = (
    "SELECT name, role, organizations, enabled, created, last_login, generation, issuer, preferences, argon2,"
    " last_address"
    ' FROM "user"'
)
_ADDRESS = 64


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who could be. password: prepared."""

    name: str
    role: Role
    organizations: frozenset[str] | None
    password: str = field(repr=False)


class UserChange(NamedTuple):
    """Fields to change; None (for organizations: KEEP) stays."""

    role: Role | None
    organizations: Iterable[str] | Keep | None
    enabled: bool | None
    argon2: str | None


class LoginCredential(NamedTuple):
    """Stored credential of a user. last_address: of the last log-in, "" if there was none."""

    user: User
    argon2: str
    last_address: str


def checked_user(name: str, role: Role, password: str, organizations: Iterable[str] | None) -> NewUser:
    """The user of a form. Raises AccountError with everything that is wrong."""
    errors = []
    allowed: frozenset[str] | None = None
    prepared = ""
    try:
        name = account_name(name)
    except ValueError as error:
        errors.append(FieldError("name", str(error)))
    try:
        prepared = user_password(password, name)
    except PasswordError as error:
        errors.append(FieldError("password", str(error)))
    try:
        allowed = chosen_organizations(organizations, owner=role is Role.OWNER)
    except ValueError as error:
        errors.append(FieldError("organizations", str(error)))
    refuse(errors)
    return NewUser(name, role, allowed, prepared)


def checked_password(password: str, name: str) -> str:
    """A new password of a user, prepared. Raises AccountError."""
    try:
        return user_password(password, normalize_username(name))
    except PasswordError as error:
        raise AccountError(AccountErrorKind.INPUT, str(error), [FieldError("password", str(error))]) from None


def all_users(connection: DatabaseConnection) -> list[User]:
    """All, by name."""
    return [_user(row) for row in connection.rows(f"{_SELECT} ORDER BY name")]


def find(connection: DatabaseConnection, name: str) -> User | None:
    """The user of a name as it is kept."""
    rows = connection.rows(f"{_SELECT} WHERE name = ?", (name,))
    return _user(rows[0]) if rows else None


def of_issuer(connection: DatabaseConnection, issuer: str, subject: str) -> User | None:
    """The user of an issuer."""
    condition = "WHERE issuer = ? AND issuer <> '' AND subject = ?"
    rows = connection.rows(f"{_SELECT} {condition}", (issuer, subject))
    return _user(rows[0]) if rows else None


def get(connection: DatabaseConnection, name: str) -> User:
    """The user of a name as people write it. Raises AccountError (MISSING)."""
    user = find(connection, normalize_username(name))
    if user is None:
        raise AccountError(
            AccountErrorKind.MISSING, f"there is no user {cleaned(name, 100)!r}; `gatepost user list` lists them"
        )
    return user


def credential(connection: DatabaseConnection, name: str) -> LoginCredential | None:
    """The stored credential of a user."""
    rows = connection.rows(f"{_SELECT} WHERE name = ?", (name,))
    return LoginCredential(_user(rows[0]), *rows[0][-2:]) if rows else None


def has_owner(connection: DatabaseConnection) -> bool:
    """Whether there is one who can log in."""
    return bool(_owners(connection))


def insert(connection: DatabaseConnection, draft: NewUser, argon2: str, now: float) -> User:
    """A new user. Raises AccountError (CONFLICT) if the name is taken."""
    if find(connection, draft.name) is not None:
        raise AccountError(
            AccountErrorKind.CONFLICT,
            f"a user {draft.name!r} already exists",
            [FieldError("name", "is already in use; choose another name")],
        )
    # A random start: what was found out about a removed user never fits a later one of the same name.
    user = User(draft.name, draft.role, draft.organizations, True, now, 0.0, secrets.randbits(48))
    connection.execute(
        'INSERT INTO "user" (name, role, organizations, enabled, created, last_login, last_address, generation, argon2,'
        " issuer, subject) VALUES (?, ?, ?, 1, ?, 0, '', ?, ?, '', '')",
        (user.name, user.role.value, encoded(user.organizations), now, user.generation, argon2),
    )
    return user


def update(connection: DatabaseConnection, before: User, change: UserChange) -> User:
    """The user as it is then, the same if nothing is different. Raises AccountError."""
    if before.issuer and not (change.role is None and isinstance(change.organizations, Keep) and change.argon2 is None):
        text = f"role and organizations of {before.name!r} come from {before.issuer}; change the user's groups there"
        raise AccountError(AccountErrorKind.CONFLICT, text)
    role = before.role if change.role is None else change.role
    wanted = before.organizations if isinstance(change.organizations, Keep) else change.organizations
    try:
        organizations = chosen_organizations(wanted, owner=role is Role.OWNER)
    except ValueError as error:
        raise AccountError(AccountErrorKind.INPUT, str(error), [FieldError("organizations", str(error))]) from None
    enabled = before.enabled if change.enabled is None else change.enabled
    after = replace(before, role=role, organizations=organizations, enabled=enabled)
    if after == before and change.argon2 is None:
        return before
    if not (role is Role.OWNER and enabled):
        _demand_another_owner(connection, before)
    connection.execute(
        'UPDATE "user" SET role = ?, organizations = ?, enabled = ?, generation = generation + 1,'
        " argon2 = coalesce(?, argon2) WHERE name = ?",
        (role.value, encoded(organizations), int(enabled), change.argon2, before.name),
    )
    return get(connection, before.name)


def delete(connection: DatabaseConnection, user: User) -> None:
    """Raises AccountError (CONFLICT) if it is the last owner."""
    _demand_another_owner(connection, user)
    connection.execute('DELETE FROM "user" WHERE name = ?', (user.name,))


def why_not(known: LoginCredential | None, *, fits: bool) -> str:
    """Why a log-in with a password is refused, for the audit."""
    if known is None:
        return "there is no such user"
    if not known.argon2:
        return "the user logs in at an issuer, and has no password here"
    return "the user is disabled" if fits else "the password does not fit"


def logged_in(connection: DatabaseConnection, user: User, now: float, address: str) -> None:
    """It logs in. Raises AccountError (CONFLICT) if it is not the same any more, or disabled."""
    is_same = connection.execute(
        'UPDATE "user" SET last_login = ?, last_address = ? WHERE name = ? AND generation = ? AND enabled = 1',
        (now, cleaned(address, _ADDRESS), user.name, user.generation),
    )
    if not is_same:
        raise AccountError(
            AccountErrorKind.CONFLICT, f"the user {user.name!r} was changed, disabled or removed meanwhile"
        )


def set_preferences(connection: DatabaseConnection, user: User, chosen: Mapping[str, str]) -> Preferences:
    """Keep what a user chose for themselves, which ends no session. chosen: by field of `Preferences`."""
    preferences = msgspec.structs.replace(user.preferences, **chosen)
    text = msgspec.json.encode(preferences).decode()
    connection.execute('UPDATE "user" SET preferences = ? WHERE name = ?', (text, user.name))
    return preferences


def facts(user: User) -> dict[str, Any]:
    """Audit details of a user."""
    organizations = None if user.organizations is None else sorted(user.organizations)
    return {"role": user.role.value, "organizations": organizations, "enabled": user.enabled}


def encoded(organizations: frozenset[str] | None) -> str | None:
    """As a column has them."""
    return None if organizations is None else msgspec.json.encode(sorted(organizations)).decode()


def decoded(text: str | None) -> frozenset[str] | None:
    """As a column has them."""
    return None if text is None else frozenset(from_json(text, list[str]))


def _owners(connection: DatabaseConnection) -> list[str]:
    owners = "SELECT name FROM \"user\" WHERE role = 'owner' AND enabled = 1 AND issuer = ''"
    return [str(name) for (name,) in connection.rows(owners)]


def _demand_another_owner(connection: DatabaseConnection, user: User) -> None:
    if _owners(connection) == [user.name]:
        raise AccountError(
            AccountErrorKind.CONFLICT,
            f"{user.name!r} is the last owner who can log in; make another user an owner first",
        )


def _user(row: tuple[Any, ...]) -> User:
    name, role, organizations, enabled, made, last, generation, issuer, preferences, *_ = row
    chosen = from_json(preferences, Preferences)
    return User(name, Role(role), decoded(organizations), bool(enabled), made, last, generation, issuer, chosen)


class IssuerIdentity(NamedTuple):
    """Verified claims of an issuer about a person. organizations: None is the whole gateway."""

    issuer: str
    subject: str
    name: str
    role: Role
    organizations: frozenset[str] | None


def keep_of_issuer(connection: DatabaseConnection, identity: IssuerIdentity, now: float) -> tuple[User | None, User]:
    """The user before, None if there was none, and as it is now. Raises AccountError (CONFLICT, INPUT).

    A name that somebody else has is refused: whoever may choose names at an issuer must not become a user of ours.
    """
    before = of_issuer(connection, identity.issuer, identity.subject)
    if before is None:
        return None, _insert_of_issuer(connection, identity, now)
    if not before.enabled:
        raise AccountError(AccountErrorKind.CONFLICT, f"the user {before.name!r} is disabled")
    after = replace(before, role=identity.role, organizations=identity.organizations)
    if after != before:
        connection.execute(
            'UPDATE "user" SET role = ?, organizations = ?, generation = generation + 1 WHERE name = ?',
            (after.role.value, encoded(after.organizations), before.name),
        )
    return before, get(connection, before.name)


def _insert_of_issuer(connection: DatabaseConnection, identity: IssuerIdentity, now: float) -> User:
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
