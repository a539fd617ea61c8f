"""Users, sessions, API tokens and audit events as values, and the errors that refuse them. Pure.

No secret is in any of them but the CSRF token of a session, which no text of it shows.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gatepost.manage.access.principal import ROLES, Principal, Role, Scope
from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatepost.policy.connectors.errors import FieldError


class Keep(StrEnum):
    """Where None means something: leave it as it is."""

    KEEP = "keep"


KEEP = Keep.KEEP


class AccountErrorKind(StrEnum):
    """Kind of an `AccountError`: fields (INPUT), a name that nobody has (MISSING), a state that forbids it."""

    INPUT = "input"
    MISSING = "missing"
    CONFLICT = "conflict"


class AccountError(Exception):
    """Nothing was changed. text: what, why, what to do; no secret. errors: by field, where a field is to blame."""

    def __init__(self, why: AccountErrorKind, text: str, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(text)
        self.why = why
        self.text = text
        self.errors = tuple(errors)


class LogInRefused(Exception):  # noqa: N818 - it names what happened
    """Wrong name, wrong password, or not allowed to: nobody learns which. wait: seconds until one is heard, or 0.

    name: of the user whose log-in it would have been, "" if there is none; why: both for the audit alone.
    """

    def __init__(self, wait: float = 0.0, *, name: str = "", why: str = "") -> None:
        super().__init__(
            "incorrect user name or password" if not wait else f"too many failed attempts; wait {wait:.0f} s"
        )
        self.wait = wait
        self.name = name
        self.why = why


class Actor(NamedTuple):
    """Actor of an audit event: the `Principal`'s name, and the address it comes from.

    address: "" is the command line, where name is an account of this machine and not a user.
    """

    name: str
    address: str = ""


class Preferences(msgspec.Struct, frozen=True, omit_defaults=True):
    """Choices of a person for themselves. language: of pages, "" is what the browser prefers.

    time_zone: that pages show times in, of IANA; "" for the browser's.
    """

    language: str = ""
    time_zone: str = ""


_NONE_CHOSEN: Final = Preferences()


class User(msgspec.Struct, frozen=True):
    """A person. organizations: those it sees, None is all. last_login: seconds since 1970, 0 if never.

    generation: another one after each change of password, role, organizations or state; a session of an older one is
    worth nothing. issuer: of OpenID Connect, where the person logs in and which says the role; "" for who has a
    password here.
    """

    name: str
    role: Role
    organizations: frozenset[str] | None
    enabled: bool
    created: float
    last_login: float
    generation: int
    issuer: str = ""
    preferences: Preferences = _NONE_CHOSEN

    @property
    def principal(self) -> Principal:
        """As whom it asks."""
        return Principal(self.name, ROLES[self.role], self.organizations)


class ChangedUser(NamedTuple):
    """A user as it is after a change. passkeys, tokens: the names of those that ended with it."""

    user: User
    passkeys: Sequence[str] = ()
    tokens: Sequence[str] = ()


class UserSession(RedactedStruct, frozen=True):
    """A log-in that goes on. id: names it in a list, and is no secret. csrf: what its forms carry.

    confirmed: when the person proved last who they are, at the log-in or later; seconds since 1970.
    """

    REDACTED = ("csrf",)

    id: int
    user: User
    created: float
    last_seen: float
    address: str
    agent: str
    csrf: str = ""
    confirmed: float = 0.0

    @property
    def principal(self) -> Principal:
        """As whom it asks."""
        return self.user.principal


class Passkey(RedactedStruct, frozen=True):
    """A WebAuthn credential of a user. id: the authenticator's. public_key: as COSE has it (RFC 9052).

    sign_count: of its last use; 0 for authenticators that do not count. last_used: seconds since 1970, 0 if never.
    """

    REDACTED = ("public_key",)

    id: bytes
    user: str
    name: str
    public_key: bytes
    sign_count: int
    created: float
    last_used: float


class Token(msgspec.Struct, frozen=True):
    """An API token, without its secret.

    made_by: for people. maker: the user with whom it ends and beyond whose role it never goes; "" for one that was made
    on the command line. expires: seconds since 1970, None is never. last_used: to the minute, 0 if never.
    """

    name: str
    scopes: frozenset[Scope]
    organizations: frozenset[str] | None
    created: float
    expires: float | None
    made_by: str
    maker: str
    last_used: float


class AuditOutcome(StrEnum):
    """Outcome of an audit event: done, refused (by a rule, or for want of a right), failed (it could not be done).

    begun: it is under way, or the process was killed before it knew the outcome, which nobody knows then.
    """

    BEGUN = "begun"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class AuditEvent(msgspec.Struct, frozen=True):
    """An action, done or refused. organization: "" is the gateway itself. who: "" is a log-in with a name nobody has.

    id: 0 until it is kept. detail: for JSON.
    """

    id: int
    at: float
    who: str
    address: str
    action: str
    organization: str = ""
    subject: str = ""
    outcome: AuditOutcome = AuditOutcome.DONE
    detail: Mapping[str, Any] = MappingProxyType({})


class AuditFilter(msgspec.Struct, frozen=True):
    """Filter of audit events; "", 0 and None match all. since, until: seconds since 1970."""

    who: str = ""
    action: str = ""
    organization: str | None = None
    subject: str = ""
    outcome: AuditOutcome | None = None
    since: float = 0.0
    until: float = 0.0


FRESH: Final = 15 * 60.0
"""Seconds for which a log-in, or a password that was asked for again, is enough."""
_SLACK: Final = 60.0  # seconds that a clock may be put back


def is_confirmed(session: UserSession | None, now: float) -> bool:
    """Whether the session was confirmed recently enough for something sensitive.

    session: None is a program with an API token, which proves itself with every request. now: seconds since 1970.
    """
    return session is None or -_SLACK <= now - session.confirmed < FRESH
