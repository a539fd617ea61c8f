"""Users, sessions, API tokens and the audit, shared by the processes of a gateway and the nodes of a site.

Opened by whoever serves the admin centre and REST, and by `gatepost user` and `gatepost token`. Every change of an
account and its audit event are one transaction. Passwords lie in it as Argon2id, all other secrets as SHA-256 of 32
random octets; none is ever given out again. May be used by several threads at a time; methods block, those that
take a password for some 30 ms and more. It decides nothing about what a principal may: that is
`manage.access.principal`.

Methods raise StoreFailure if the tables cannot be read or written.
"""

from __future__ import annotations

import contextlib
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict

from gatepost.manage.access import (
    audit_rows,
    passkey_rows,
    session_rows,
    setup_rows,
    token_rows,
    user_rows,
)
from gatepost.manage.access.fields import normalize_username
from gatepost.manage.access.login_rate_limiter import LoginAttempt, LoginRateLimiter
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import (
    KEEP,
    AccountError,
    Actor,
    AuditEvent,
    AuditFilter,
    AuditOutcome,
    ChangedUser,
    LogInRefused,
)
from gatepost.manage.access.schema import ACCESS
from gatepost.manage.access.setup_rows import ValidSetupCode
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatepost.manage.access.actions import Action
    from gatepost.manage.access.records import Keep, Passkey, Preferences, Token, User, UserSession
    from gatepost.manage.access.user_rows import IssuerIdentity
    from gatepost.pki.certificates.vault import Vault
    from gatepost.store.interface import DatabaseConnection
    from gatepost.store.storage import Storage


_ALL: Final = AuditFilter()
_UNNOTED: Final = 60.0  # seconds after a use that could not be noted in which none is


class Accounts:
    """The accounts of one gateway, or of all nodes of a site.

    clock: seconds since 1970. ticks: seconds that never go back.
    """

    def __init__(
        self, storage: Storage, *, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the tables, made if they are not there; in the process that uses them, for a fork shares no database."""
        self._database = storage.database(ACCESS)
        self._clock = clock
        self._ticks, self._noted_from = ticks, 0.0
        self._rate_limiter = LoginRateLimiter(storage.login_failures(ticks))

    def close(self) -> None:
        """Close the tables."""
        self._database.close()

    # users

    def users(self) -> list[User]:
        """All of them, by name."""
        with self._database.reading() as connection:
            return user_rows.all_users(connection)

    def user(self, name: str) -> User | None:
        """The user of that name, in whatever case it is written."""
        with self._database.reading() as connection:
            return user_rows.find(connection, normalize_username(name))

    def has_owner(self) -> bool:
        """Whether there is an owner; until then only `setup_code` opens the admin centre."""
        with self._database.reading() as connection:
            return user_rows.has_owner(connection)

    def add_user(
        self, name: str, role: Role, password: str, *, actor: Actor, organizations: Iterable[str] | None = None
    ) -> User:
        """A new user, enabled. organizations: None is all of them; whether there are such is the caller's to know.

        Raises AccountError: INPUT with an error for each field, CONFLICT if the name is taken.
        """
        draft = user_rows.checked_user(name, role, password, organizations)
        argon2 = self._rate_limiter.hashed(draft.password)
        now = self._clock()
        with self._database.changing() as connection:
            user = user_rows.insert(connection, draft, argon2, now)
            if user.role is Role.OWNER:
                setup_rows.forget(connection)
            self._note(connection, actor, "user-add", user.name, after=user_rows.facts(user))
        return user

    def set_user(  # noqa: PLR0913 - the fields of a user, each by name
        self,
        name: str,
        *,
        actor: Actor,
        role: Role | None = None,
        organizations: Iterable[str] | Keep | None = KEEP,
        enabled: bool | None = None,
        password: str | None = None,
        keep_passkeys: bool = False,
        end_tokens: bool = False,
    ) -> ChangedUser:
        """Change a user; what is not given stays. Any change ends all of its sessions: `start_session` begins another.

        A new password ends its passkeys too, which whoever took the account over may have made; keep_passkeys: unless
        it is its user's own choice. end_tokens: the API tokens that it made end, too. Raises AccountError: INPUT,
        MISSING, CONFLICT if no owner could log in any more.
        """
        argon2 = None if password is None else self._rate_limiter.hashed(user_rows.checked_password(password, name))
        with self._database.changing() as connection:
            before = user_rows.get(connection, name)
            after = user_rows.update(connection, before, user_rows.UserChange(role, organizations, enabled, argon2))
            tokens = token_rows.end_all(connection, after.name) if end_tokens else []
            if after == before and not tokens:
                return ChangedUser(before)
            session_rows.end_all(connection, after.name)
            passkeys = passkey_rows.end_all(connection, after.name) if argon2 and not keep_passkeys else []
            if after.role is Role.OWNER:
                setup_rows.forget(connection)
            detail = {"before": user_rows.facts(before), "after": user_rows.facts(after), "password": bool(argon2)}
            detail |= {name: ended for name, ended in (("passkeys", passkeys), ("tokens", tokens)) if ended}
            self._note(connection, actor, "user-set", after.name, **detail)
        self._database.forget()
        return ChangedUser(after, passkeys, tokens)

    def set_preferences(self, name: str, chosen: Mapping[str, str], *, actor: Actor) -> Preferences:
        """Change what a user chose, by field, which the caller has checked; all else stays, and so do sessions."""
        with self._database.changing() as connection:
            user = user_rows.get(connection, name)
            after = user_rows.set_preferences(connection, user, chosen)
            self._note(connection, actor, "user-set", user.name, before=asdict(user.preferences), after=asdict(after))
        return after

    def remove_user(self, name: str, *, actor: Actor) -> list[str]:
        """Remove a user, its sessions and the tokens that it made, whose names are returned.

        Raises AccountError: MISSING, CONFLICT if it is the last owner.
        """
        with self._database.changing() as connection:
            before = user_rows.get(connection, name)
            user_rows.delete(connection, before)
            session_rows.end_all(connection, before.name)
            passkey_rows.end_all(connection, before.name)
            ended = token_rows.end_all(connection, before.name)
            self._note(connection, actor, "user-remove", before.name, before=user_rows.facts(before), tokens=ended)
        self._database.forget()
        return ended

    # logging in

    def log_in(self, name: str, password: str, address: str, agent: str) -> str:
        """The secret of a fresh session, for a cookie. address: where from, without port. agent: what the browser is.

        Raises LogInRefused, the same for names that nobody has; in time, too.
        """
        user = self.check_password(name, password, address)
        try:
            return self.start_session(user, address, agent)
        except AccountError as error:  # changed or removed since its password was tried
            raise LogInRefused(name=user.name, why=error.text) from None

    def check_password(self, name: str, password: str, address: str) -> User:
        """The user whose password that is, also to ask again before something grave. Raises LogInRefused.

        Failures are counted by address and by name.
        """
        text = normalize_username(name)
        with self._database.reading() as connection:
            known = user_rows.credential(connection, text)
        attempt = self._rate_limiter.admit(text or name, address, usual=known.last_address if known else "")
        fits = self._rate_limiter.fits(password, known.argon2 if known else None, attempt)
        if fits and known and known.argon2 and known.user.enabled:
            self._rate_limiter.forgive(attempt)
            return known.user
        raise LogInRefused(name=known.user.name if known else "", why=user_rows.why_not(known, fits=fits))

    def admit(self, address: str) -> LoginAttempt:
        """Somebody without a name tries to come in: a failure until it is forgiven. Raises LogInRefused."""
        return self._rate_limiter.admit("", address, usual="")

    def forgive(self, attempt: LoginAttempt) -> None:
        """It was right."""
        self._rate_limiter.forgive(attempt)

    def start_session(
        self, user: User, address: str, agent: str, *, proved: float | None = None, by: Mapping[str, str] | None = None
    ) -> str:
        """The secret of a fresh session of a user as it is now. Raises AccountError (CONFLICT) if it changed since.

        It is random and never one that a browser brought; whoever held an older one of this browser has it no more
        if the caller ends that (`end_session`). proved: when the person proved who they are, None is now. by: what they
        logged in with instead of a password, for the audit.
        """
        now = self._clock()
        with self._database.changing() as connection:
            user_rows.logged_in(connection, user, now, address)
            secret = session_rows.start(connection, user, now, address, agent, now if proved is None else proved)
            session_rows.prune(connection, now)
            audit_rows.prune(connection, now)
            self._note(connection, Actor(user.name, address), "log-in", **(by or {}))
        return secret

    def log_in_by_issuer(self, identity: IssuerIdentity, address: str, agent: str, *, proved: float) -> str:
        """The secret of a fresh session of the person of an issuer, who is made or changed as the issuer says.

        proved: when the person proved to the issuer who they are, 0 if it does not say. Raises LogInRefused.
        """
        now = self._clock()
        try:
            with self._database.changing() as connection:
                before, after = user_rows.keep_of_issuer(connection, identity, now)
                if before != after:
                    was = None if before is None else user_rows.facts(before)
                    detail = {"before": was, "after": user_rows.facts(after), "issuer": identity.issuer}
                    action: Action = "user-add" if before is None else "user-set"
                    self._note(connection, Actor(after.name, address), action, after.name, **detail)
            return self.start_session(after, address, agent, proved=proved, by={"issuer": identity.issuer})
        except AccountError as error:
            raise LogInRefused(name=normalize_username(identity.name), why=error.text) from None

    def confirm(self, name: str, number: int, *, address: str) -> None:
        """The user of the session with that id proved again who they are; how is for the caller."""
        now = self._clock()
        with self._database.changing() as connection:
            session_rows.confirm(connection, name, number, now)
            audit_rows.write(connection, AuditEvent(0, now, name, address, "confirm"))

    def session(self, secret: str, *, used: bool = True) -> UserSession | None:
        """The session of a secret, None if there is none, or it is over: after 12 hours, after 30 minutes unused.

        used: whether somebody asks something now; else it is only looked up.
        """
        now = self._clock()
        with self._database.reading() as connection:
            session = session_rows.find(connection, secret)
        if session is None:
            return None
        if session_rows.is_over(session, now):
            self._end_quietly(secret)  # at once, for a clock that is put back must not revive it
            return None
        if used and session_rows.is_due(session, now):
            self._note_use(lambda connection: session_rows.touch(connection, session, now))
        return session

    def end_session(self, secret: str, *, address: str = "") -> None:
        """Log out; nothing if there is no such session."""
        with self._database.changing() as connection:
            if name := session_rows.end(connection, secret):
                self._note(connection, Actor(name, address), "log-out")

    def sessions_of(self, name: str) -> list[UserSession]:
        """Those of a user that go on, the newest first, without their CSRF tokens."""
        now = self._clock()
        with self._database.reading() as connection:
            return session_rows.of_user(connection, normalize_username(name), now)

    def end_session_of(self, name: str, number: int, *, actor: Actor) -> bool:
        """End one session of a user by its id; whether there was one."""
        with self._database.changing() as connection:
            if ended := session_rows.end_one(connection, normalize_username(name), number):
                self._note(connection, actor, "session-end", normalize_username(name), sessions=1)
        return ended

    def end_sessions_of(self, name: str, *, actor: Actor) -> int:
        """End all sessions of a user; how many."""
        with self._database.changing() as connection:
            if ended := session_rows.end_all(connection, normalize_username(name)):
                self._note(connection, actor, "session-end", normalize_username(name), sessions=ended)
        return ended

    # passkeys

    def passkeys_of(self, name: str) -> list[Passkey]:
        """Those of a user, the oldest first."""
        with self._database.reading() as connection:
            return passkey_rows.of_user(connection, normalize_username(name))

    def passkey(self, credential: bytes) -> Passkey | None:
        """The one of that id."""
        with self._database.reading() as connection:
            return passkey_rows.find(connection, credential)

    def add_passkey(self, passkey: Passkey, *, actor: Actor, generation: int | None = None) -> Passkey:
        """Keep a passkey, which the caller has verified. generation: of its user in the session, None if there is none.

        Raises AccountError (INPUT, MISSING, CONFLICT, also where the session has ended).
        """
        now = self._clock()
        with self._database.changing() as connection:
            is_current = generation in {None, user_rows.get(connection, passkey.user).generation}
            kept = passkey_rows.insert(connection, replace(passkey, created=now), is_current=is_current)
            self._note(connection, actor, "passkey-add", kept.user, passkey=kept.name)
        return kept

    def remove_passkey(self, name: str, credential: bytes, *, actor: Actor) -> Passkey:
        """Nobody logs in with it any more. Raises AccountError (MISSING)."""
        with self._database.changing() as connection:
            gone = passkey_rows.delete(connection, normalize_username(name), credential)
            self._note(connection, actor, "passkey-remove", gone.user, passkey=gone.name)
        return gone

    def log_in_by_passkey(self, passkey: Passkey, sign_count: int, address: str, agent: str) -> str:
        """The secret of a fresh session for a passkey whose signature the caller has verified. Raises LogInRefused."""
        now = self._clock()
        with self._database.changing() as connection:
            signed = passkey_rows.used(connection, passkey.id, sign_count, now)
            user = user_rows.find(connection, passkey.user)
        why = "its counter did not grow: it may be a copy" if signed is None else "the user is disabled or gone"
        with contextlib.suppress(AccountError):
            if signed and user and user.enabled:
                return self.start_session(user, address, agent, by={"passkey": passkey.name})
        raise LogInRefused(name=passkey.user, why=why)

    # API tokens

    def tokens(self) -> list[Token]:
        """All of them, by name, those that ran out among them."""
        with self._database.reading() as connection:
            return token_rows.all_tokens(connection)

    def add_token(
        self,
        name: str,
        scopes: Iterable[Scope],
        *,
        actor: Actor,
        organizations: Iterable[str] | None = None,
        expires: float | None = None,
    ) -> str:
        """A new token: its secret, "gp_…", which cannot be had again. expires: seconds since 1970, None is never.

        It ends with the user who makes it, and never does more than that user may. Raises AccountError: INPUT with an
        error for each field, CONFLICT if the name is taken.
        """
        now = self._clock()
        draft = token_rows.checked_token(name, scopes, organizations, expires, now)
        with self._database.changing() as connection:
            secret, token = token_rows.insert(connection, draft, actor, now)
            self._note(connection, actor, "token-add", token.name, after=token_rows.facts(token))
        return secret

    def token(self, secret: str) -> Principal | None:
        """As whom the bearer of a token asks, None if it is none, ran out, or its maker is gone or disabled."""
        now = self._clock()
        with self._database.reading() as connection:
            bearer = token_rows.find(connection, secret, now)
        if bearer is None:
            return None
        if token_rows.is_due(bearer.token, now):
            self._note_use(lambda connection: token_rows.touch(connection, bearer.token, now))
        return bearer.principal

    def remove_token(self, name: str, *, actor: Actor) -> None:
        """It is refused from now on. Raises AccountError (MISSING)."""
        now = self._clock()
        with self._database.changing() as connection:
            before = token_rows.delete(connection, name)
            detail = {"before": token_rows.facts(before)}
            audit_rows.write(connection, AuditEvent(0, now, *actor, "token-remove", subject=before.name, detail=detail))

    # the first owner

    def setup_code(self, *, by: Actor, vault: Vault | None = None) -> str:
        """A fresh code that makes the first owner, once, within 30 minutes; one that was given out before ends.

        vault: seals it, so that `valid_setup_code` can say it again. Raises AccountError (CONFLICT) if there is an
        owner.
        """
        now = self._clock()
        with self._database.changing() as connection:
            code = setup_rows.renew(connection, now, vault)
            self._note(connection, by, "setup-code")
        return code

    def valid_setup_code(
        self, *, by: Actor, known: str = "", vault: Vault | None = None, alone: bool = True
    ) -> ValidSetupCode:
        """The code of the site: the one that is valid, if it can be said again, else a fresh one in its place.

        known: a code that was given out here; it is the same one if no other came after it. vault: opens the code that
        any node sealed. alone: there are no other nodes; if there are, a code that is valid and cannot be said here is
        theirs, and stays. Raises AccountError (CONFLICT) if there is an owner.
        """
        now = self._clock()
        with self._database.changing() as connection:
            if (valid := setup_rows.valid(connection, now, vault, known)) is not None:
                return valid
            until = setup_rows.open_until(connection, now)
            if until and not alone and not user_rows.has_owner(connection):
                return ValidSetupCode("", until)
            code = setup_rows.renew(connection, now, vault)
            self._note(connection, by, "setup-code")
        return ValidSetupCode(code, now + setup_rows.LIFETIME, bool(until))

    def is_setup_code(self, code: str) -> bool:
        """Whether `use_setup_code` would take that code now, so that a page asks for nothing in vain."""
        with self._database.reading() as connection:
            return setup_rows.fits(connection, code, self._clock())

    def use_setup_code(self, code: str, name: str, password: str, *, address: str = "") -> User:
        """Make the first owner. Raises AccountError: CONFLICT if the code does not hold, INPUT for name or password.

        Of several who try at once one wins; a wrong name or password does not use the code up.
        """
        now = self._clock()
        with self._database.reading() as connection:
            setup_rows.demand(connection, code, now)  # nothing is worked at for who has no code
        draft = user_rows.checked_user(name, Role.OWNER, password, None)
        argon2 = self._rate_limiter.hashed(draft.password)
        with self._database.changing() as connection:
            setup_rows.demand(connection, code, now)
            user = user_rows.insert(connection, draft, argon2, now)
            setup_rows.forget(connection)
            self._note(connection, Actor(user.name, address), "setup", user.name)
        return user

    # audit events

    def record(  # noqa: PLR0913 - the fields of an event
        self,
        actor: Actor,
        action: Action,
        *,
        outcome: AuditOutcome = AuditOutcome.DONE,
        organization: str = "",
        subject: str = "",
        detail: Mapping[str, Any] = MappingProxyType({}),
        begun: int = 0,
    ) -> int:
        """Keep what somebody did or tried, such as "queue-drop"; returns its id.

        organization: "" for the gateway itself. detail: for JSON; bounded, and what stands under a name like "password"
        is left out. Texts are cut. begun: the id of the event that was kept when it began, which gets this outcome.
        """
        now = self._clock()
        with self._database.changing() as connection:
            event = AuditEvent(begun, now, *actor, action, organization, subject, outcome, detail)
            return audit_rows.write(connection, event)

    def audit_events(
        self, principal: Principal, audit_filter: AuditFilter = _ALL, *, limit: int = 100, before: int = 0
    ) -> list[AuditEvent]:
        """The newest first, as far as `principal` sees their organizations. limit: 1 to 1000.

        before: the id of the last one of the page before, 0 for the first page.
        """
        with self._database.reading() as connection:
            return audit_rows.find(connection, principal, audit_filter, limit, before)

    def prune(self) -> int:
        """Forget audit events after 400 days, and sessions that are over; how many rows. Each log-in does it too."""
        now = self._clock()
        with self._database.changing() as connection:
            return audit_rows.prune(connection, now) + session_rows.prune(connection, now)

    def _note(
        self, connection: DatabaseConnection, actor: Actor, action: Action, subject: str = "", **detail: Any
    ) -> None:
        """Have the audit log say it of this moment, in the transaction of the change. detail: for JSON."""
        event = AuditEvent(0, self._clock(), *actor, action, subject=subject, detail=detail)
        audit_rows.write(connection, event)

    def _note_use(self, touch: Callable[[DatabaseConnection], None]) -> None:
        """Write that somebody asks, unless it could not be written lately: one can still look, and does not wait."""
        try:
            if self._ticks() >= self._noted_from:
                with self._database.changing() as connection:
                    touch(connection)
        except StoreFailure:
            self._noted_from = self._ticks() + _UNNOTED

    def _end_quietly(self, secret: str) -> None:
        with contextlib.suppress(StoreFailure), self._database.changing() as connection:
            session_rows.end(connection, secret)
