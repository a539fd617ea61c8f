"""The rows of API tokens. Called by `manage.access.accounts`, with a connection that is inside a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.access import secret
from gatepost.manage.access.fields import account_name, chosen_organizations, cleaned, normalize_username, refuse
from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.manage.access.records import AccountError, AccountErrorKind, Actor, Token
from gatepost.manage.access.user_rows import decoded, encoded
from gatepost.manage.access.user_rows import find as find_user
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.store.interface import DatabaseConnection


_PREFIX: Final = "gp_"
_TOUCHED: Final = 60.0  # seconds between two writes of "last used"
_SLACK: Final = 60.0  # seconds that a clock may be put back
_AUTHOR: Final = 128
_NAMED: Final = "token "  # what a principal's name begins with if it is no person's

_SELECT = "SELECT name, scopes, organizations, created, expires, made_by, maker, last_used FROM token"


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that could be."""

    name: str
    scopes: frozenset[Scope]
    organizations: frozenset[str] | None
    expires: float | None


@dataclass(frozen=True, slots=True)
class Bearer:
    """The holder of a token."""

    token: Token
    principal: Principal


def checked_token(
    name: str, scopes: Iterable[Scope], organizations: Iterable[str] | None, expires: float | None, now: float
) -> NewToken:
    """The token of a form. Raises AccountError with everything that is wrong."""
    errors = []
    chosen = frozenset(scopes)
    allowed: frozenset[str] | None = None
    try:
        name = account_name(name)
    except ValueError as error:
        errors.append(FieldError("name", str(error)))
    if not chosen:
        errors.append(FieldError("scopes", f"choose at least one of {', '.join(Scope)}"))
    try:
        allowed = chosen_organizations(organizations, owner=Scope.OWNER in chosen)
    except ValueError as error:
        errors.append(FieldError("organizations", str(error)))
    if expires is not None and not expires > now:
        errors.append(FieldError("expires", "is in the past; choose a later time"))
    refuse(errors)
    return NewToken(name, chosen, allowed, expires)


def insert(connection: DatabaseConnection, draft: NewToken, actor: Actor, now: float) -> tuple[str, Token]:
    """A new token and its secret. Raises AccountError (CONFLICT) if the name is taken or the maker gone."""
    if _rows(connection, "WHERE name = ?", draft.name):
        raise AccountError(
            AccountErrorKind.CONFLICT,
            f"a token {draft.name!r} already exists",
            [FieldError("name", "is already in use; choose another name")],
        )
    maker = _maker(connection, actor)
    _demand_no_more(connection, draft, actor)
    made_by = cleaned(actor.name, _AUTHOR)
    token = Token(draft.name, draft.scopes, draft.organizations, now, draft.expires, made_by, maker, 0.0)
    fresh = secret.fresh(_PREFIX)
    connection.execute(
        "INSERT INTO token (name, hash, scopes, organizations, created, expires, made_by, maker, last_used)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            token.name,
            secret.hash_of(fresh, _PREFIX),
            " ".join(sorted(token.scopes)),
            encoded(token.organizations),
            now,
            token.expires,
            made_by,
            maker,
        ),
    )
    return fresh, token


def all_tokens(connection: DatabaseConnection) -> list[Token]:
    """All, by name."""
    return [_token(row) for row in _rows(connection, "ORDER BY name")]


def find(connection: DatabaseConnection, given: str, now: float) -> Bearer | None:
    """Find the token of a secret; None if there is none, it expired, or its maker has none of its permissions."""
    if (hashed := secret.hash_of(given, _PREFIX)) is None:
        return None
    rows = _rows(connection, "WHERE hash = ?", hashed)
    if not rows:
        return None
    token = _token(rows[0])
    if token.created > now + _SLACK or (token.expires is not None and now >= token.expires):
        return None
    principal = _principal(connection, token)
    return Bearer(token, principal) if principal is not None else None


def is_due(token: Token, now: float) -> bool:
    """Whether it is to be written that it was used."""
    return abs(now - token.last_used) >= _TOUCHED


def touch(connection: DatabaseConnection, token: Token, now: float) -> None:
    """It was used."""
    connection.execute("UPDATE token SET last_used = ? WHERE name = ?", (now, token.name))


def delete(connection: DatabaseConnection, name: str) -> Token:
    """Remove a token and return it. Raises AccountError (MISSING)."""
    rows = _rows(connection, "WHERE name = ?", normalize_username(name))
    if not rows:
        raise AccountError(
            AccountErrorKind.MISSING, f"there is no token {cleaned(name, 100)!r}; `gatepost token list` lists them"
        )
    token = _token(rows[0])
    connection.execute("DELETE FROM token WHERE name = ?", (token.name,))
    return token


def end_all(connection: DatabaseConnection, maker: str) -> list[str]:
    """Remove the tokens that a user made; their names."""
    return sorted(name for (name,) in connection.rows("DELETE FROM token WHERE maker = ? RETURNING name", (maker,)))


def facts(token: Token) -> dict[str, Any]:
    """Audit details of a token."""
    organizations = None if token.organizations is None else sorted(token.organizations)
    return {
        "scopes": sorted(token.scopes),
        "organizations": organizations,
        "expires": token.expires,
        "made_by": token.made_by,
    }


def _maker(connection: DatabaseConnection, actor: Actor) -> str:
    """The user with whom a token ends: who makes it, or made the token with which it is made."""
    if not actor.address:
        return ""
    if actor.name.startswith(_NAMED):
        rows = _rows(connection, "WHERE name = ?", actor.name.removeprefix(_NAMED))
        if rows:
            return _token(rows[0]).maker
    elif find_user(connection, actor.name) is not None:
        return actor.name
    raise AccountError(
        AccountErrorKind.CONFLICT, f"{cleaned(actor.name, _AUTHOR)!r} is not there any more, and cannot make a token"
    )


def _demand_no_more(connection: DatabaseConnection, draft: NewToken, actor: Actor) -> None:
    """A token that is made with a token has nothing that this one has not, and does not live longer."""
    if not (actor.address and actor.name.startswith(_NAMED)):
        return
    with_it = _token(_rows(connection, "WHERE name = ?", actor.name.removeprefix(_NAMED))[0])
    errors = []
    if Scope.OWNER not in with_it.scopes and (more := draft.scopes - with_it.scopes):
        errors.append(FieldError("scopes", f"the token that you use does not have {', '.join(sorted(more))}"))
    if with_it.organizations is not None and not (draft.organizations or frozenset([""])) <= with_it.organizations:
        errors.append(
            FieldError("organizations", "the token that you use is limited to organizations; choose from those")
        )
    if with_it.expires is not None and (draft.expires is None or draft.expires > with_it.expires):
        errors.append(FieldError("expires", "must not be later than the expiry of the token that you use"))
    refuse(errors)


def _principal(connection: DatabaseConnection, token: Token) -> Principal | None:
    """As whom a token asks: with its scopes and organizations, as far as its maker has them today."""
    scopes = frozenset(Scope) if Scope.OWNER in token.scopes else token.scopes
    organizations = token.organizations
    if token.maker:
        maker = find_user(connection, token.maker)
        if maker is None or not maker.enabled:
            return None
        scopes &= ROLES[Role(maker.role)]
        if maker.organizations is not None:
            organizations = maker.organizations & (maker.organizations if organizations is None else organizations)
    if not scopes or organizations == frozenset():
        return None
    return Principal(_NAMED + token.name, scopes, organizations)


def _rows(connection: DatabaseConnection, condition: str, *values: str | bytes) -> list[tuple[Any, ...]]:
    return connection.rows(f"{_SELECT} {condition}", values)


def _token(row: tuple[Any, ...]) -> Token:
    name, scopes, organizations, *rest = row
    return Token(name, frozenset(map(Scope, scopes.split())), decoded(organizations), *rest)
