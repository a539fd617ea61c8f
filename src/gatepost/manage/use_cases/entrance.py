"""Log in and out, prove again who one is, make the first owner: by password or one-time code. Only pages have it.

Whoever asks is not known yet: `NOBODY`. Every way to log in goes through `denying` and, unless it has a name to count
by, through `attempt`: here log-ins are rate-limited, and told no more than that they failed. The audit has each that
was tried and refused, with the reason; what comes too early is not tried, and is on record once a minute
(`manage.web.problem`). A log-in that succeeds is recorded with its session, in one transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from gatepost.manage.access.records import AccountError, LogInRefused
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.manage.access.login_rate_limiter import LoginAttempt
    from gatepost.manage.use_cases.context import Context


use_case = use_cases(scope=None, visibility=Visibility.SEEN, tag="users")


class LogInDenied(Refusal):
    """Nobody is let in, nor told more. known: why, for the audit. wait: seconds until an attempt is heard, or 0."""

    def __init__(self, known: str = "", wait: float = 0.0) -> None:
        text = f"too many failed attempts; wait {wait:.0f} s" if wait else "incorrect user name or password"
        super().__init__(RefusalKind.FORBIDDEN if wait else RefusalKind.INPUT, text, known=known)
        self.wait = wait


@contextmanager
def denying(context: Context) -> Iterator[None]:
    """Make LogInDenied of a log-in that is refused."""
    try:
        yield
    except LogInRefused as refused:
        context.audit.describe(who=refused.name)
        raise LogInDenied(refused.why, refused.wait) from None


@contextmanager
def attempt(context: Context) -> Iterator[LoginAttempt]:
    """A log-in without a name to count by: counted as a failure of the address unless it ends well, or is forgiven."""
    with denying(context):
        counted = context.accounts.admit(context.address)
        yield counted
        context.accounts.forgive(counted)


class SessionStarted(msgspec.Struct):
    """secret: of the session, for a cookie."""

    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return "SessionStarted()"


class LogIn(msgspec.Struct, kw_only=True):
    """agent: what the browser is. Texts of any length: what is too long is wrong, and counts as an attempt."""

    name: str
    password: str
    agent: str = ""


@use_case(action="log-in", self_audited=True)
def log_in(context: Context, request: LogIn) -> SessionStarted:
    """Log in with a name and a password."""
    with denying(context):
        secret = context.accounts.log_in(request.name, request.password, context.address, request.agent)
    return SessionStarted(secret)


class LogOut(msgspec.Struct, kw_only=True):
    """secret: of the session; of one that is over, nothing is done."""

    secret: str


class LoggedOut(msgspec.Struct):
    """Nothing to say."""


@use_case(action="log-out", self_audited=True)
def log_out(context: Context, request: LogOut) -> LoggedOut:
    """End the session of a browser."""
    context.accounts.end_session(request.secret, address=context.address)
    return LoggedOut()


class ConfirmPassword(msgspec.Struct, kw_only=True):
    """session: the id of one's own."""

    password: str
    session: int


class Confirmed(msgspec.Struct):
    """Nothing to say."""


@use_case(action="confirm", self_audited=True)
def confirm_password(context: Context, request: ConfirmPassword) -> Confirmed:
    """Prove again by one's password who one is, before something grave."""
    name = context.principal.name
    with denying(context):
        context.accounts.check_password(name, request.password, context.address)
        context.accounts.confirm(name, request.session, address=context.address)
    return Confirmed()


class GetSetupState(msgspec.Struct, kw_only=True):
    """code: that makes the first owner, "" for none."""

    code: str = ""


class SetupState(msgspec.Struct):
    """usable: whether the code makes an owner now. owned: whether there is one."""

    usable: bool
    owned: bool


@use_case()
def get_setup_state(context: Context, request: GetSetupState) -> SetupState:
    """Whether there is an owner, and whether a code makes one, so that a page asks for nothing in vain."""
    return SetupState(context.accounts.is_setup_code(request.code), context.accounts.has_owner())


class SetUpOwner(msgspec.Struct, kw_only=True):
    """code: the one-time code. agent: what the browser is."""

    code: str
    name: str
    password: str
    agent: str = ""


@use_case(action="setup", self_audited=True)
def set_up_owner(context: Context, request: SetUpOwner) -> SessionStarted:
    """Make the first owner with a one-time code, and log in."""
    accounts = context.accounts
    with attempt(context) as counted:
        try:
            user = accounts.use_setup_code(request.code, request.name, request.password, address=context.address)
        except AccountError as error:
            if error.errors:  # the code was right
                accounts.forgive(counted)
            raise
        return SessionStarted(accounts.start_session(user, context.address, request.agent))
