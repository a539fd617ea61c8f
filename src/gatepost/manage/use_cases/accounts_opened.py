"""Users, tokens and deeds for who holds no accounts open: each function opens them, does one thing, and closes them.

What the commands do; REST and the pages do the same on the accounts that their process holds (`accounts`). Every
function may raise Refusal, as `open_accounts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.access.records import KEEP, Actor
from gatepost.manage.use_cases.accounts import add_token, add_user, known_user, open_accounts, set_user

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatepost.manage.access.principal import Principal, Role, Scope
    from gatepost.manage.access.records import Deed, DeedFilter, Keep, Session, Token, User
    from gatepost.manage.use_cases.gateway import Gateway


def every_user(gateway: Gateway, _: Principal) -> list[User]:
    """All of them, by name."""
    with open_accounts(gateway) as accounts:
        return accounts.users()


def new_user(
    gateway: Gateway,
    who: Principal,
    name: str,
    *,
    role: Role,
    password: str,
    organizations: Collection[str] | None = None,
) -> User:
    """As `accounts.add_user`."""
    with open_accounts(gateway) as accounts:
        by = Actor(who.name)
        return add_user(gateway, accounts, name, role=role, password=password, organizations=organizations, by=by)


def user_set(  # noqa: PLR0913 - what can be changed
    gateway: Gateway,
    who: Principal,
    name: str,
    *,
    role: Role | None = None,
    organizations: Collection[str] | Keep | None = KEEP,
    enabled: bool | None = None,
    password: str | None = None,
) -> User:
    """As `accounts.set_user`."""
    with open_accounts(gateway) as accounts:
        return set_user(
            gateway,
            accounts,
            name,
            role=role,
            organizations=organizations,
            enabled=enabled,
            password=password,
            by=Actor(who.name),
        )


def remove_user(gateway: Gateway, who: Principal, name: str) -> list[str]:
    """The tokens that ended with it."""
    with open_accounts(gateway) as accounts:
        return accounts.remove_user(name, by=Actor(who.name))


def sessions(gateway: Gateway, _: Principal, name: str) -> list[Session]:
    """Where a user is logged in."""
    with open_accounts(gateway) as accounts:
        return accounts.sessions_of(known_user(accounts, name).name)


def end_sessions(gateway: Gateway, who: Principal, name: str) -> int:
    """Log a user out everywhere; how many sessions ended."""
    with open_accounts(gateway) as accounts:
        return accounts.end_sessions_of(known_user(accounts, name).name, by=Actor(who.name))


def every_token(gateway: Gateway, _: Principal) -> list[Token]:
    """All of them, by name, without their secrets."""
    with open_accounts(gateway) as accounts:
        return accounts.tokens()


def new_token(
    gateway: Gateway,
    who: Principal,
    name: str,
    *,
    scopes: Collection[Scope],
    organizations: Collection[str] | None = None,
    expires: float | None = None,
) -> str:
    """As `accounts.add_token`: its secret."""
    with open_accounts(gateway) as accounts:
        by = Actor(who.name)
        return add_token(gateway, accounts, name, scopes=scopes, organizations=organizations, expires=expires, by=by)


def remove_token(gateway: Gateway, who: Principal, name: str) -> None:
    """It is refused from the next request on."""
    with open_accounts(gateway) as accounts:
        accounts.remove_token(name, by=Actor(who.name))


def deeds(gateway: Gateway, who: Principal, wanted: DeedFilter, *, limit: int, older: int = 0) -> list[Deed]:
    """The newest first, as far as who asks sees their organizations. older: than the deed of this id, 0 for all."""
    with open_accounts(gateway) as accounts:
        return accounts.deeds(who, wanted, limit=limit, before=older)
