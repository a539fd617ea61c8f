"""Users, API tokens and deeds as every door shows and changes them: over `access.accounts`, its errors as refusals.

What an account may see is checked against the organizations there are, so that a slip of the pen gives nobody less
than was meant, or more later. Whether somebody may change accounts is for the door: `Principal.may(Scope.OWNER)`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack

from gatepost.manage.access import token_rows, user_rows
from gatepost.manage.access.accounts import ACCESS_FILE, Accounts
from gatepost.manage.access.records import AccountError, Keep, Outcome, Why
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.errors import FieldError
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.principal import Role, Scope
    from gatepost.manage.access.records import Actor, Deed, Session, Token, User
    from gatepost.manage.use_cases.gateway import Gateway


_KINDS = {Why.INPUT: Kind.INPUT, Why.MISSING: Kind.MISSING, Why.CONFLICT: Kind.CONFLICT}


@contextlib.contextmanager
def open_accounts(gateway: Gateway) -> Iterator[Accounts]:
    """The accounts of a gateway, closed afterwards; within, and on opening, their errors are refusals."""
    with refusing(), contextlib.closing(Accounts(gateway.data / ACCESS_FILE)) as accounts:
        yield accounts


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Make a Refusal of what `manage.access.accounts` raises."""
    try:
        yield
    except AccountError as error:
        text = "nothing was changed" if error.errors and error.why is Why.INPUT else error.text
        raise Refusal(_KINDS[error.why], text, error.errors) from error
    except StoreFailure as failure:
        raise Refusal(Kind.UNREADABLE, str(failure)) from failure


@contextlib.contextmanager
def recording(accounts: Accounts, by: Actor, action: Action, subject: str = "") -> Iterator[None]:
    """Keep it as a deed if what is done within is refused, and raise the Refusal. Its text holds no secret."""
    try:
        yield
    except Refusal as refusal:
        why = "; ".join(map(str, refusal.errors)) or refusal.text
        with contextlib.suppress(StoreFailure):
            accounts.record(by, action, outcome=Outcome.REFUSED, subject=subject, detail={"why": why})
        raise


class NewUser(TypedDict):
    """What `Accounts.add_user` takes beside the name."""

    role: Role
    password: str
    organizations: NotRequired[Collection[str] | None]
    by: Actor


class UserChange(TypedDict):
    """What `Accounts.set_user` takes beside the name."""

    role: NotRequired[Role | None]
    organizations: NotRequired[Collection[str] | Keep | None]
    enabled: NotRequired[bool | None]
    password: NotRequired[str | None]
    by: Actor


class NewToken(TypedDict):
    """What `Accounts.add_token` takes beside the name."""

    scopes: Collection[Scope]
    organizations: NotRequired[Collection[str] | None]
    expires: NotRequired[float | None]
    by: Actor


def new_user_errors(name: str, role: Role, password: str) -> tuple[FieldError, ...]:
    """What is wrong with the fields of a new user, for a form that has other errors, too."""
    try:
        user_rows.drafted(name, role, password, None)
    except AccountError as error:
        return error.errors
    return ()


def new_token_errors(name: str, scopes: Collection[Scope]) -> tuple[FieldError, ...]:
    """The same of a new token."""
    try:
        token_rows.drafted(name, scopes, None, None, 0.0)
    except AccountError as error:
        return error.errors
    return ()


def known_user(accounts: Accounts, name: str) -> User:
    """The user of that name. Raises Refusal (MISSING)."""
    with refusing():
        found = accounts.user(name)
    if found is None:
        raise Refusal(Kind.MISSING, f"there is no user {name[:100]!r}; `gatepost user list` has them")
    return found


def add_user(gateway: Gateway, accounts: Accounts, name: str, **account: Unpack[NewUser]) -> User:
    """A new user of organizations that exist. Raises Refusal."""
    _demand_organizations(gateway, account.get("organizations"))
    with refusing():
        return accounts.add_user(name, **account)


def set_user(gateway: Gateway, accounts: Accounts, name: str, **change: Unpack[UserChange]) -> User:
    """Change a user; what is not given stays. Raises Refusal."""
    _demand_organizations(gateway, change.get("organizations"))
    with refusing():
        return accounts.set_user(name, **change)


def add_token(gateway: Gateway, accounts: Accounts, name: str, **token: Unpack[NewToken]) -> str:
    """A new token for organizations that exist: its secret. Raises Refusal."""
    _demand_organizations(gateway, token.get("organizations"))
    with refusing():
        return accounts.add_token(name, **token)


def user_record(user: User) -> dict[str, Any]:
    """For JSON. Times are seconds since 1970, null is never; organizations null is all; issuer null: has a password."""
    return {
        "name": user.name,
        "role": user.role.value,
        "organizations": _names(user.organizations),
        "enabled": user.enabled,
        "created": user.created,
        "last_login": user.last_login or None,
        "issuer": user.issuer or None,
    }


def session_record(session: Session) -> dict[str, Any]:
    """For JSON; no secret is in it."""
    return {
        "id": session.id,
        "user": session.user.name,
        "created": session.created,
        "last_seen": session.last_seen,
        "address": session.address,
        "agent": session.agent,
    }


def token_record(token: Token) -> dict[str, Any]:
    """For JSON; no secret is in it. made_by_user: with whom it ends, null if it was made on the command line."""
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "organizations": _names(token.organizations),
        "created": token.created,
        "expires": token.expires,
        "made_by": token.made_by,
        "made_by_user": token.maker or None,
        "last_used": token.last_used or None,
    }


def deed_record(deed: Deed) -> dict[str, Any]:
    """For JSON."""
    return {
        "id": deed.id,
        "at": deed.at,
        "who": deed.who,
        "address": deed.address,
        "action": deed.action,
        "organization": deed.organization,
        "subject": deed.subject,
        "outcome": deed.outcome.value,
        "detail": dict(deed.detail),
    }


def _names(organizations: frozenset[str] | None) -> list[str] | None:
    return None if organizations is None else sorted(organizations)


def _demand_organizations(gateway: Gateway, names: Collection[str] | Keep | None) -> None:
    """Raise Refusal (INPUT) for each that there is not."""
    if names is None or isinstance(names, Keep):
        return
    known = {one.name for one in gateway.directory().resources.organizations}
    unknown = sorted(set(names) - known)
    if unknown:
        there = ", ".join(sorted(known)) or "none yet; gatepost organization add NAME makes one"
        errors = [
            FieldError("organizations", f"there is no organization {one!r}; there are: {there}") for one in unknown
        ]
        raise Refusal(Kind.INPUT, "nothing was changed", errors)
