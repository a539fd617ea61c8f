"""One's own account: the password, sessions and passkeys of whoever is logged in. Only pages have it.

The person proved lately who they are (`requires_reauth`), or says the present password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gatepost.manage.access.records import Passkey, Preferences
from gatepost.manage.use_cases.accounts import refusing
from gatepost.manage.use_cases.declaration import Items, Visibility, use_case
from gatepost.manage.use_cases.entrance import SessionStarted, denying
from gatepost.manage.use_cases.users import (
    AccountSession,
    PasskeyNamed,
    Password,
    SessionsEnded,
    session_shown,
)

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context


class SetOwnPassword(msgspec.Struct, kw_only=True):
    """old: the present password. password: 12 to 1000 characters. agent: what the browser is."""

    old: str
    password: Password
    agent: str = ""


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="users",
    action="user-set",
    self_audited=True,
    pages=("/account/password",),
)
def set_own_password(context: Context, request: SetOwnPassword) -> SessionStarted:
    """Change one's own password, which ends all of one's sessions but the one that begins."""
    name = context.principal.name
    context.audit.describe(subject=name)
    with denying(context):
        context.accounts.check_password(name, request.old, context.address)
        user = context.accounts.set_user(name, password=request.password, actor=context.actor)
        return SessionStarted(context.accounts.start_session(user, context.address, request.agent))


class SetOwnPreferences(msgspec.Struct, kw_only=True):
    """language: of pages, "sv"; "" is what the browser prefers."""

    language: Annotated[str, msgspec.Meta(pattern="^([a-z]{2})?$")] = ""


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="users",
    action="user-set",
    pages=("/account/preferences",),
)
def set_own_preferences(context: Context, request: SetOwnPreferences) -> Preferences:
    """Choose the language of one's own pages."""
    name = context.principal.name
    preferences = Preferences(language=request.language)
    context.audit.describe(subject=name, language=request.language)
    with refusing():
        context.accounts.set_preferences(name, preferences)
    return preferences


class ListOwnSessions(msgspec.Struct, kw_only=True):
    """All of them."""


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="users",
    pages=("/account", "/account/password", "/account/sessions"),
)
def list_own_sessions(context: Context, request: ListOwnSessions) -> Items[AccountSession]:  # noqa: ARG001 - all
    """Where one is logged in."""
    with refusing():
        return Items([session_shown(session) for session in context.accounts.sessions_of(context.principal.name)])


class EndOwnSessions(msgspec.Struct, kw_only=True):
    """sessions: their ids."""

    sessions: list[int]


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="users",
    action="session-end",
    self_audited=True,
    pages=("/account/sessions",),
)
def end_own_sessions(context: Context, request: EndOwnSessions) -> SessionsEnded:
    """End sessions of one's own."""
    name = context.principal.name
    context.audit.describe(subject=name)
    with refusing():
        ended = [context.accounts.end_session_of(name, session, actor=context.actor) for session in request.sessions]
    return SessionsEnded(sum(ended))


class ListOwnPasskeys(msgspec.Struct, kw_only=True):
    """All of them."""


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="users",
    pages=(
        "/account",
        "/account/passkeys/options",
        "/account/password",
    ),
)
def list_own_passkeys(context: Context, request: ListOwnPasskeys) -> Items[Passkey]:  # noqa: ARG001 - all
    """With which passkeys one logs in."""
    with refusing():
        return Items(context.accounts.passkeys_of(context.principal.name))


class RemoveOwnPasskey(msgspec.Struct, kw_only=True):
    """passkey: the authenticator's id."""

    passkey: bytes


@use_case(
    scope=None,
    visibility=Visibility.SEEN,
    tag="users",
    requires_reauth=True,
    action="passkey-remove",
    self_audited=True,
    pages=("/account/passkeys/remove",),
)
def remove_own_passkey(context: Context, request: RemoveOwnPasskey) -> PasskeyNamed:
    """Remove a passkey of one's own."""
    name = context.principal.name
    context.audit.describe(subject=name)
    with refusing():
        return PasskeyNamed(context.accounts.remove_passkey(name, request.passkey, actor=context.actor).name)


USE_CASES = (
    set_own_password,
    set_own_preferences,
    list_own_sessions,
    end_own_sessions,
    list_own_passkeys,
    remove_own_passkey,
)
