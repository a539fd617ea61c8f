"""One's own account: the password, sessions and passkeys of whoever is logged in. Only pages have it.

The person proved lately who they are (`requires_reauth`), or says the present password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec.structs import asdict

from gatepost.manage.access.records import Passkey, Preferences  # noqa: TC001 - the declaration reads them
from gatepost.manage.use_cases.declaration import Items, Visibility, use_cases
from gatepost.manage.use_cases.entrance import SessionStarted, denying
from gatepost.manage.use_cases.record_budget import AUDIT_EVENT, RecordBudget
from gatepost.manage.use_cases.refusal import wrong_field
from gatepost.manage.use_cases.users import AccountSession, PasskeyNamed, Password, SessionsEnded, session_shown
from gatepost.texts import N_
from gatepost.times import named_zone

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(scope=None, visibility=Visibility.SEEN, tag="users")


class SetOwnPassword(msgspec.Struct, kw_only=True):
    """old: the present password. password: 12 to 1000 characters. agent: what the browser is."""

    old: str
    password: Password
    agent: str = ""


@use_case(action="user-set", self_audited=True)
def set_own_password(context: Context, request: SetOwnPassword) -> SessionStarted:
    """Change one's own password, which ends all of one's sessions but the one that begins."""
    name = context.principal.name
    context.audit.describe(subject=name)
    with denying(context):
        context.accounts.check_password(name, request.old, context.address)
        changed = context.accounts.set_user(name, password=request.password, actor=context.actor, keep_passkeys=True)
        return SessionStarted(context.accounts.start_session(changed.user, context.address, request.agent))


class SetOwnPreferences(msgspec.Struct, kw_only=True):
    """language: of pages, "sv"; "" is what the browser prefers. time_zone: of IANA; "" is the browser's.

    What is left out stays as it is.
    """

    language: Annotated[str, msgspec.Meta(pattern="^([a-z]{2})?$")] | None = None
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None


@use_case(action="user-set", self_audited=True)
def set_own_preferences(context: Context, request: SetOwnPreferences) -> Preferences:
    """Choose the language of one's own pages, and the time zone of their times."""
    name = context.principal.name
    context.audit.describe(subject=name)
    if request.time_zone and named_zone(request.time_zone) is None:
        text = N_("is no time zone that this machine knows, such as Europe/Stockholm")
        raise wrong_field("time_zone", text, "1 error; nothing was changed.")
    context.kept(RecordBudget).charge(context.principal, AUDIT_EVENT)
    chosen = {field: value for field, value in asdict(request).items() if value is not None}
    return context.accounts.set_preferences(name, chosen, actor=context.actor)


class ListOwnSessions(msgspec.Struct, kw_only=True):
    """All of them."""


@use_case()
def list_own_sessions(context: Context, request: ListOwnSessions) -> Items[AccountSession]:  # noqa: ARG001 - all
    """Where one is logged in."""
    return Items([session_shown(session) for session in context.accounts.sessions_of(context.principal.name)])


class EndOwnSessions(msgspec.Struct, kw_only=True):
    """sessions: their ids."""

    sessions: list[int]


@use_case(action="session-end", self_audited=True)
def end_own_sessions(context: Context, request: EndOwnSessions) -> SessionsEnded:
    """End sessions of one's own."""
    name = context.principal.name
    context.audit.describe(subject=name)
    ended = [context.accounts.end_session_of(name, session, actor=context.actor) for session in request.sessions]
    return SessionsEnded(sum(ended))


class ListOwnPasskeys(msgspec.Struct, kw_only=True):
    """All of them."""


@use_case()
def list_own_passkeys(context: Context, request: ListOwnPasskeys) -> Items[Passkey]:  # noqa: ARG001 - all
    """With which passkeys one logs in."""
    return Items(context.accounts.passkeys_of(context.principal.name))


class RemoveOwnPasskey(msgspec.Struct, kw_only=True):
    """passkey: the authenticator's id."""

    passkey: bytes


@use_case(requires_reauth=True, action="passkey-remove", self_audited=True)
def remove_own_passkey(context: Context, request: RemoveOwnPasskey) -> PasskeyNamed:
    """Remove a passkey of one's own."""
    name = context.principal.name
    context.audit.describe(subject=name)
    return PasskeyNamed(context.accounts.remove_passkey(name, request.passkey, actor=context.actor).name)
