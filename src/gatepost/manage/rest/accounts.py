"""Users, API tokens and the audit. A token's secret is in the answer that made it, and in no other.

Changes are for owners, who proved lately who they are if they have a session; what is refused of them is a deed, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gatepost.manage.access.principal import Role, Scope
from gatepost.manage.access.records import KEEP, DeedFilter, Outcome
from gatepost.manage.rest.endpoint import Answer, Endpoint, ListOf, Reach
from gatepost.manage.rest.paging import After, Limit, Page, Paging, page_of, position
from gatepost.manage.rest.problem import Problem
from gatepost.manage.use_cases import accounts as accounts_of
from gatepost.manage.use_cases.accounts import known_user, refusing, session_record, token_record, user_record
from gatepost.manage.use_cases.audit import AuditPlace, audit, audit_entry_record
from gatepost.manage.use_cases.cursors import cursor
from gatepost.manage.use_cases.times import ahead, moment
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.rest.endpoint import Asked


type _Name = Annotated[str, Meta(max_length=100)]
type _Text = Annotated[str, Meta(max_length=500)]
type _Organizations = Annotated[list[_Text], Meta(max_length=1000)]
type _Password = Annotated[str, Meta(max_length=2000)]


class Account(msgspec.Struct):
    """A user. Times: seconds since 1970, null is never. organizations: null is the whole gateway.

    issuer: of OpenID Connect, where the user logs in; null has a password here.
    """

    name: str
    role: Role
    organizations: list[str] | None
    enabled: bool
    created: float
    last_login: float | None
    issuer: str | None


class NewAccount(msgspec.Struct, forbid_unknown_fields=True):
    """A user to be made. password: 12 to 1000 characters. organizations: null is the whole gateway."""

    name: _Name
    role: Role
    password: _Password
    organizations: _Organizations | None = None


class AccountChange(msgspec.Struct, forbid_unknown_fields=True):
    """What becomes different; what is left out stays. organizations: null is the whole gateway."""

    role: Role | UnsetType = UNSET
    organizations: _Organizations | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    password: _Password | UnsetType = UNSET


class AccountRemoved(msgspec.Struct):
    """A user that was removed, and the tokens that ended with it."""

    name: str
    tokens: list[str]


class AccountSession(msgspec.Struct):
    """Where a user is logged in. Times: seconds since 1970."""

    id: int
    user: str
    created: float
    last_seen: float
    address: str
    agent: str


class SessionsEnded(msgspec.Struct):
    """How many."""

    ended: int


class ApiToken(msgspec.Struct):
    """A token without its secret. made_by_user: with whom it ends; null was made on the command line."""

    name: str
    scopes: list[Scope]
    organizations: list[str] | None
    created: float
    expires: float | None
    made_by: str
    made_by_user: str | None
    last_used: float | None


class NewApiToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to be made. organizations: null is the whole gateway. expires: "90d" or a date; null is never.

    One that is made with a token has no more than that one, and ends no later.
    """

    name: _Name
    scopes: Annotated[list[Scope], Meta(max_length=20)]
    organizations: _Organizations | None = None
    expires: _Text | None = None


class ApiTokenMade(msgspec.Struct):
    """The secret of a token, which cannot be had again."""

    name: str
    token: str


class ApiTokenRemoved(msgspec.Struct):
    """A token that is refused from now on."""

    name: str


class AuditEntry(msgspec.Struct):
    """What somebody did or tried, or a change of resources. at: seconds since 1970.

    deed, version: which of the two it is, the other is null. who: "" is a log-in with a name that nobody has. address:
    "" is the command line. organizations: of a change, how many.
    """

    at: float
    who: str
    address: str
    action: str
    organization: str
    subject: str
    outcome: Outcome
    deed: int | None
    version: int | None
    organizations: int | None
    detail: dict[str, Any]


class AuditQuery(msgspec.Struct, kw_only=True):
    """Which of them; what is empty does not matter."""

    who: _Text = ""
    action: _Text = ""
    subject: _Text = ""
    organization: Annotated[_Text | None, Meta(description="Empty: the gateway itself.")] = None
    outcome: Outcome | None = None
    since: Annotated[str, Meta(max_length=100, description="2h, 7d, or a date.")] = ""
    until: Annotated[str, Meta(max_length=100, description="Before then.")] = ""
    deeds: Annotated[bool, Meta(description="Only what is no change of resources.")] = False
    before: Annotated[int, Meta(ge=0, lt=2**62, description="Only deeds of smaller numbers, with deeds.")] = 0
    limit: Limit = 100
    after: After = ""


def _users(asked: Asked) -> Page:
    with refusing():
        found = asked.accounts.users()
    return page_of(found, lambda one: one.name, asked.query, user_record)


def _user(asked: Asked) -> dict[str, Any]:
    return user_record(known_user(asked.accounts, asked.path["name"]))


def _add_user(asked: Asked) -> Answer:
    body: NewAccount = asked.body
    asked.told[0].subject = body.name
    user = accounts_of.add_user(
        asked.gateway,
        asked.accounts,
        body.name,
        role=body.role,
        password=body.password,
        organizations=body.organizations,
        by=asked.by,
    )
    return Answer(user_record(user), location=f"/users/{user.name}")


def _set_user(asked: Asked) -> dict[str, Any]:
    body: AccountChange = asked.body
    user = accounts_of.set_user(
        asked.gateway,
        asked.accounts,
        asked.path["name"],
        role=_given(body.role),
        organizations=KEEP if body.organizations is UNSET else body.organizations,
        enabled=_given(body.enabled),
        password=_given(body.password),
        by=asked.by,
    )
    return user_record(user)


def _given[T](value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def _remove_user(asked: Asked) -> AccountRemoved:
    name = asked.path["name"]
    with refusing():
        return AccountRemoved(name.lower(), asked.accounts.remove_user(name, by=asked.by))


def _sessions(asked: Asked) -> Page:
    _user(asked)
    with refusing():
        found = asked.accounts.sessions_of(asked.path["name"])
    return page_of(found, lambda one: str(one.id), asked.query, session_record)


def _end_sessions(asked: Asked) -> SessionsEnded:
    _user(asked)
    with refusing():
        return SessionsEnded(asked.accounts.end_sessions_of(asked.path["name"], by=asked.by))


def _tokens(asked: Asked) -> Page:
    with refusing():
        found = asked.accounts.tokens()
    return page_of(found, lambda one: one.name, asked.query, token_record)


def _add_token(asked: Asked) -> Answer:
    body: NewApiToken = asked.body
    asked.told[0].subject = body.name
    expires = None if body.expires is None else _time(ahead, "expires", body.expires)
    secret = accounts_of.add_token(
        asked.gateway,
        asked.accounts,
        body.name,
        scopes=body.scopes,
        organizations=body.organizations,
        expires=expires,
        by=asked.by,
    )
    return Answer(ApiTokenMade(body.name.strip().lower(), secret))


def _remove_token(asked: Asked) -> ApiTokenRemoved:
    name = asked.path["name"]
    with refusing():
        asked.accounts.remove_token(name, by=asked.by)
    return ApiTokenRemoved(name.lower())


def _audit(asked: Asked) -> Page:
    query: AuditQuery = asked.query
    wanted = DeedFilter(
        who=query.who,
        action=query.action,
        subject=query.subject,
        organization=query.organization,
        outcome=query.outcome,
        since=_time(moment, "query.since", query.since) if query.since else 0.0,
        until=_time(moment, "query.until", query.until) if query.until else 0.0,
    )
    place = AuditPlace(*position(query.after, tuple[_Number, _Number])) if query.after else AuditPlace(query.before)
    found, after = audit(
        asked.gateway,
        asked.accounts,
        asked.principal,
        wanted,
        limit=min(query.limit, 999),
        before=place,
        changes=not query.deeds,
    )
    return Page([audit_entry_record(one) for one in found], None if after is None else cursor(after))


type _Number = Annotated[int, Meta(ge=0, lt=2**62)]


def _time(read: Callable[[str], float], field: str, text: str) -> float:
    try:
        return read(text)
    except ValueError as error:
        raise Problem(ProblemType.INVALID, "Nothing was done.", [FieldError(field, str(error))]) from None


_OWNERS = (Scope.OWNER, Reach.GATEWAY)


_NAMED: dict[str, Any] = {"parameters": {"name": "Its name, in any case."}}

ENDPOINTS = (
    Endpoint("GET", "/users", "The users", _users, ListOf(Account), *_OWNERS, "users", query=Paging),
    Endpoint(
        "POST",
        "/users",
        "Add a user",
        _add_user,
        Account,
        *_OWNERS,
        "users",
        body=NewAccount,
        status=201,
        grave=True,
        action="user-add",
        recorded=True,
    ),
    Endpoint("GET", "/users/{name}", "A user", _user, Account, *_OWNERS, "users", **_NAMED),
    Endpoint(
        "PATCH",
        "/users/{name}",
        "Change a user, whose sessions end",
        _set_user,
        Account,
        *_OWNERS,
        "users",
        body=AccountChange,
        grave=True,
        action="user-set",
        recorded=True,
        **_NAMED,
    ),
    Endpoint(
        "DELETE",
        "/users/{name}",
        "Remove a user, its sessions and its tokens",
        _remove_user,
        AccountRemoved,
        *_OWNERS,
        "users",
        grave=True,
        action="user-remove",
        recorded=True,
        **_NAMED,
    ),
    Endpoint(
        "GET",
        "/users/{name}/sessions",
        "Where a user is logged in",
        _sessions,
        ListOf(AccountSession),
        *_OWNERS,
        "users",
        query=Paging,
        **_NAMED,
    ),
    Endpoint(
        "DELETE",
        "/users/{name}/sessions",
        "Log a user out everywhere",
        _end_sessions,
        SessionsEnded,
        *_OWNERS,
        "users",
        grave=True,
        action="session-end",
        recorded=True,
        **_NAMED,
    ),
    Endpoint("GET", "/tokens", "The API tokens", _tokens, ListOf(ApiToken), *_OWNERS, "tokens", query=Paging),
    Endpoint(
        "POST",
        "/tokens",
        "Add an API token",
        _add_token,
        ApiTokenMade,
        *_OWNERS,
        "tokens",
        body=NewApiToken,
        status=201,
        grave=True,
        action="token-add",
        recorded=True,
    ),
    Endpoint(
        "DELETE",
        "/tokens/{name}",
        "Remove an API token",
        _remove_token,
        ApiTokenRemoved,
        *_OWNERS,
        "tokens",
        grave=True,
        action="token-remove",
        recorded=True,
        **_NAMED,
    ),
    Endpoint(
        "GET",
        "/audit",
        "Who did what, and every change of resources, the newest first",
        _audit,
        ListOf(AuditEntry),
        Scope.READ,
        Reach.SEEN,
        "audit",
        query=AuditQuery,
    ),
)
