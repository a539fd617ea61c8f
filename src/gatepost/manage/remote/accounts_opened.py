"""Users, tokens and deeds of another gateway. A token's secret is in the answer that made it, and in no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatepost.manage.access.principal import Role, Scope
from gatepost.manage.access.records import KEEP, Deed, Outcome, Session, Token, User
from gatepost.manage.remote.connection import BLANK
from gatepost.manage.remote.times import time_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatepost.manage.access.records import DeedFilter, Keep
    from gatepost.manage.remote.connection import Connection


def every_user(connection: Connection) -> list[User]:
    """As `manage.use_cases.accounts_opened.every_user`."""
    return list(map(_user, connection.items("/users")))


def new_user(
    connection: Connection, name: str, *, role: Role, password: str, organizations: Collection[str] | None = None
) -> User:
    """As `manage.use_cases.accounts_opened.new_user`."""
    body = {"name": name, "role": str(role), "password": password, "organizations": _listed(organizations)}
    return _user(connection.call("POST", "/users", body=body).value)


def user_set(
    connection: Connection,
    name: str,
    *,
    role: Role | None = None,
    organizations: Collection[str] | Keep | None = KEEP,
    enabled: bool | None = None,
    password: str | None = None,
) -> User:
    """As `manage.use_cases.accounts_opened.user_set`."""
    given = {"role": role and str(role), "enabled": enabled, "password": password}
    body: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if organizations is not KEEP:
        body["organizations"] = _listed(organizations)
    return _user(connection.call("PATCH", _path(name), body=body).value)


def remove_user(connection: Connection, name: str) -> list[str]:
    """As `manage.use_cases.accounts_opened.remove_user`."""
    found: list[str] = connection.call("DELETE", _path(name)).value["tokens"]
    return found


def sessions(connection: Connection, name: str) -> list[Session]:
    """As `manage.use_cases.accounts_opened.sessions`."""
    user = _user(connection.get(_path(name)).value)
    kept = ("id", "created", "last_seen", "address", "agent")
    found = connection.items(f"{_path(name)}/sessions")
    return [Session(user=user, **{key: one[key] for key in kept}) for one in found]


def end_sessions(connection: Connection, name: str) -> int:
    """As `manage.use_cases.accounts_opened.end_sessions`."""
    ended: int = connection.call("DELETE", f"{_path(name)}/sessions").value["ended"]
    return ended


def every_token(connection: Connection) -> list[Token]:
    """As `manage.use_cases.accounts_opened.every_token`."""
    return list(map(_token, connection.items("/tokens")))


def new_token(
    connection: Connection,
    name: str,
    *,
    scopes: Collection[Scope],
    organizations: Collection[str] | None = None,
    expires: float | None = None,
) -> str:
    """As `manage.use_cases.accounts_opened.new_token`."""
    body = {"name": name, "scopes": [str(one) for one in scopes], "organizations": _listed(organizations)}
    body["expires"] = time_text(expires) or None
    secret: str = connection.call("POST", "/tokens", body=body).value["token"]
    return secret


def remove_token(connection: Connection, name: str) -> None:
    """As `manage.use_cases.accounts_opened.remove_token`."""
    connection.call("DELETE", f"/tokens/{quote(name, safe='')}")


def deeds(connection: Connection, wanted: DeedFilter, *, limit: int, older: int = 0) -> list[Deed]:
    """As `manage.use_cases.accounts_opened.deeds`; of a token for some organizations those alone."""
    query = {
        "who": wanted.who,
        "action": wanted.action,
        "subject": wanted.subject,
        "organization": BLANK if wanted.organization == "" else wanted.organization,
        "outcome": wanted.outcome and str(wanted.outcome),
        "since": time_text(wanted.since),
        "until": time_text(wanted.until),
    }
    found = connection.items("/audit", limit, deeds=True, before=older or None, **query)
    return [_deed(one) for one in found]


def _path(name: str) -> str:
    return f"/users/{quote(name, safe='')}"


def _listed(names: Collection[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _seen(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _user(record: Mapping[str, Any]) -> User:
    """As `manage.use_cases.accounts.user_record` made it; its generation is not said."""
    last = record["last_login"] or 0.0
    seen, issuer = _seen(record["organizations"]), record["issuer"] or ""
    return User(record["name"], Role(record["role"]), seen, record["enabled"], record["created"], last, 0, issuer)


def _token(record: Mapping[str, Any]) -> Token:
    return Token(
        record["name"],
        frozenset(map(Scope, record["scopes"])),
        _seen(record["organizations"]),
        record["created"],
        record["expires"],
        record["made_by"],
        record["made_by_user"] or "",
        record["last_used"] or 0.0,
    )


def _deed(record: Mapping[str, Any]) -> Deed:
    kept = ("at", "who", "address", "action", "organization", "subject", "detail")
    return Deed(id=record["deed"], outcome=Outcome(record["outcome"]), **{key: record[key] for key in kept})
