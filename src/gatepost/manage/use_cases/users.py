"""Users of the admin centre and their sessions, for owners, and the fields that tokens share with them.

A change that was made is recorded with it, in one transaction (`manage.access.accounts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gatepost.manage.access import user_rows
from gatepost.manage.access.principal import Role, Scope
from gatepost.manage.access.records import KEEP, AccountError, Passkey, User, UserSession
from gatepost.manage.use_cases.declaration import Cli, Items, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.paging import Paging, page_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.site_key import site_vault
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.policy.connectors.errors import FieldError
from gatepost.store.interface import StoreFailure
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatepost.manage.use_cases.context import Context, Gateway


type KnownName = Annotated[str, Meta(description="Its name, in any case."), Cli(argument=True, metavar="NAME")]
type NewName = Annotated[str, Meta(max_length=100), Cli(argument=True, metavar="NAME")]
type ShortText = Annotated[str, Meta(max_length=500)]
type Organizations = Annotated[list[ShortText], Meta(max_length=1000)]
"""Names; None in its place is the whole gateway."""


def organizations_option(otherwise: str) -> Cli:
    """`--organization NAME`, several times. otherwise: what holds without it."""
    text = f"Only this organization. May be repeated. Default: {otherwise}."
    return Cli(option="organization", metavar="NAME", help=text)


def names_of(organizations: frozenset[str] | None) -> list[str] | None:
    """For a result: sorted."""
    return None if organizations is None else sorted(organizations)


def demand_organizations(context: Context, names: Collection[str] | None) -> None:
    """Raise Refusal (INPUT) for each that there is not."""
    if not names:
        return
    known = {organization.name for organization in context.directory().resources.organizations}
    unknown = sorted(set(names) - known)
    if unknown:
        there = ", ".join(sorted(known)) or "none yet; gatepost organization add NAME makes one"
        errors = [
            FieldError("organizations", f"there is no organization {name!r}; there are: {there}") for name in unknown
        ]
        raise Refusal(RefusalKind.INPUT, "nothing was changed", errors)


use_case = use_cases(scope=Scope.OWNER, visibility=Visibility.GATEWAY, tag="users")
type Password = Annotated[str, Meta(max_length=2000)]


class UserAccount(msgspec.Struct):
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


class AccountSession(msgspec.Struct):
    """Where a user is logged in. Times: seconds since 1970."""

    id: int
    user: str
    created: float
    last_seen: float
    address: str
    agent: str


class ListUsers(Paging, kw_only=True):
    """All of them, by name."""


@use_case("GET /users")
def list_users(context: Context, request: ListUsers) -> Items[UserAccount]:
    """The users."""
    users = context.accounts.users()
    return page_of(users, lambda user: user.name, request, _account)


class NewAccount(msgspec.Struct, kw_only=True):
    """A user to be made. password: 12 to 1000 characters. organizations: null is the whole gateway."""

    name: NewName
    role: Annotated[Role, Meta(description="What the user may do.")]
    password: Password
    organizations: Annotated[Organizations | None, organizations_option("the whole gateway")] = None


@use_case("POST /users", status=201, requires_reauth=True, action="user-add", self_audited=True)
def add_user(context: Context, request: NewAccount) -> UseCaseReply[UserAccount]:
    """Add a user."""
    context.audit.describe(subject=request.name)
    demand_organizations(context, request.organizations)
    user = context.accounts.add_user(
        request.name,
        request.role,
        request.password,
        organizations=request.organizations,
        actor=context.actor,
    )
    return UseCaseReply(_account(user), location=f"/users/{user.name}")


def new_user_errors(request: NewAccount) -> tuple[FieldError, ...]:
    """Errors of the fields of a new user, for a form that may have others, too."""
    try:
        user_rows.checked_user(request.name, request.role, request.password, None)
    except AccountError as error:
        return error.errors
    return ()


class ShowUser(msgspec.Struct, kw_only=True):
    """One of them."""

    name: KnownName


@use_case("GET /users/{name}")
def get_user(context: Context, request: ShowUser) -> UserAccount:
    """A user."""
    return _account(_known(context, request.name))


class ChangedAccount(UserAccount):
    """A user after a change. passkeys_removed: the names of those that ended with its password.

    tokens_removed: API tokens that the user made and the change ended. tokens: those that still do what they may.
    """

    passkeys_removed: list[str]
    tokens: list[str]
    tokens_removed: list[str] = msgspec.field(default_factory=list)


class AccountChange(msgspec.Struct, kw_only=True):
    """Fields to change; those left out stay. organizations: null is the whole gateway.

    remove_tokens: end the API tokens that the user made, as whoever took the account over may have made one.
    """

    name: KnownName
    role: Annotated[Role, Meta(description="What the user may do.")] | UnsetType = UNSET
    organizations: Annotated[Organizations | UnsetType | None, organizations_option("unchanged")] = UNSET
    enabled: bool | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    remove_tokens: Annotated[bool, Meta(description="Also remove the API tokens that the user made.")] = False


@use_case("PATCH /users/{name}", requires_reauth=True, action="user-set", self_audited=True)
def set_user(context: Context, request: AccountChange) -> ChangedAccount:
    """Change a user, whose sessions end, and with a new password its passkeys.

    Tokens that it made stay, as programs use them, and are named, unless the change removes them.
    """
    organizations = request.organizations
    if isinstance(organizations, list):
        demand_organizations(context, organizations)
    changed = context.accounts.set_user(
        request.name,
        role=_is_set(request.role),
        organizations=KEEP if isinstance(organizations, UnsetType) else organizations,
        enabled=_is_set(request.enabled),
        password=_is_set(request.password),
        actor=context.actor,
        end_tokens=request.remove_tokens,
    )
    tokens = [token.name for token in context.accounts.tokens() if token.maker == changed.user.name]
    account = msgspec.structs.asdict(_account(changed.user))
    passkeys, removed = list(changed.passkeys), list(changed.tokens)
    return ChangedAccount(**account, passkeys_removed=passkeys, tokens=tokens, tokens_removed=removed)


class RemoveUser(msgspec.Struct, kw_only=True):
    """The user to remove."""

    name: KnownName


class AccountRemoved(msgspec.Struct):
    """A user that was removed, and the tokens that ended with it."""

    name: str
    tokens: list[str]


@use_case("DELETE /users/{name}", requires_reauth=True, action="user-remove", self_audited=True)
def remove_user(context: Context, request: RemoveUser) -> AccountRemoved:
    """Remove a user, its sessions and its tokens."""
    return AccountRemoved(request.name.lower(), context.accounts.remove_user(request.name, actor=context.actor))


class ListSessions(Paging, kw_only=True):
    """Those of one user."""

    name: KnownName


@use_case("GET /users/{name}/sessions")
def list_sessions(context: Context, request: ListSessions) -> Items[AccountSession]:
    """Where a user is logged in."""
    user = _known(context, request.name)
    sessions = context.accounts.sessions_of(user.name)
    return page_of(sessions, lambda session: str(session.id), request, session_shown)


class EndSessions(msgspec.Struct, kw_only=True):
    """Of whom."""

    name: KnownName


class SessionsEnded(msgspec.Struct):
    """Number of sessions that were ended."""

    ended: int


@use_case("DELETE /users/{name}/sessions", requires_reauth=True, action="session-end", self_audited=True)
def end_sessions(context: Context, request: EndSessions) -> SessionsEnded:
    """Log a user out everywhere."""
    user = _known(context, request.name)
    return SessionsEnded(context.accounts.end_sessions_of(user.name, actor=context.actor))


class EndUserSession(msgspec.Struct, kw_only=True):
    """session: its id."""

    name: KnownName
    session: int


@use_case(requires_reauth=True, action="session-end", self_audited=True)
def end_user_session(context: Context, request: EndUserSession) -> SessionsEnded:
    """End one session of a user."""
    context.audit.describe(subject=request.name)
    ended = context.accounts.end_session_of(request.name, request.session, actor=context.actor)
    return SessionsEnded(int(ended))


class ListPasskeys(msgspec.Struct, kw_only=True):
    """Those of one user."""

    name: KnownName


@use_case()
def list_passkeys(context: Context, request: ListPasskeys) -> Items[Passkey]:
    """With which passkeys a user logs in."""
    return Items(context.accounts.passkeys_of(request.name))


class RemovePasskey(msgspec.Struct, kw_only=True):
    """passkey: the authenticator's id."""

    name: KnownName
    passkey: bytes


class PasskeyNamed(msgspec.Struct):
    """A passkey that was made or removed."""

    name: str


@use_case(requires_reauth=True, action="passkey-remove", self_audited=True)
def remove_passkey(context: Context, request: RemovePasskey) -> PasskeyNamed:
    """Remove a passkey of a user."""
    context.audit.describe(subject=request.name)
    return PasskeyNamed(context.accounts.remove_passkey(request.name, request.passkey, actor=context.actor).name)


class MakeSetupCode(msgspec.Struct, kw_only=True):
    """Nothing to choose."""


class SetupCode(msgspec.Struct):
    """code: makes the first owner, once, within 30 minutes."""

    code: str


@use_case(action="setup-code", self_audited=True)
def make_setup_code(context: Context, request: MakeSetupCode) -> SetupCode:  # noqa: ARG001 - there is nothing to choose
    """Make a new one-time code for the first owner.

    One that was given out before ends.
    """
    return SetupCode(context.accounts.setup_code(by=context.actor, vault=setup_vault(context.gateway)))


def setup_vault(gateway: Gateway) -> Vault | None:
    """The vault that seals a set-up code, so that every node can show it; None without a usable master key."""
    try:
        with gateway.config() as store:
            return site_vault(gateway.settings.store.master_key, store)
    except (VaultError, Refusal, StoreFailure):  # then a code is shown by who made it alone
        return None


def session_shown(session: UserSession) -> AccountSession:
    """No secret is in it."""
    return copy_fields(AccountSession, session, user=session.user.name)


def _account(user: User) -> UserAccount:
    return copy_fields(
        UserAccount,
        user,
        organizations=names_of(user.organizations),
        last_login=user.last_login or None,
        issuer=user.issuer or None,
    )


def _known(context: Context, name: str) -> User:
    """Raises Refusal (MISSING)."""
    user = context.accounts.user(name)
    if user is None:
        raise Refusal(RefusalKind.MISSING, f"there is no user {name[:100]!r}; `gatepost user list` lists them")
    return user


def _is_set[T](value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value
