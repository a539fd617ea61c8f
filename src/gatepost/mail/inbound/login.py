"""One login exchange (RFC 4954), from the first response to the user or the refusal: PLAIN, SCRAM, or with a token.

`mail.inbound.session` has one made for each AUTH and gives it what the client says. Mechanisms are pure
(`protocols.smtp.sasl`, `protocols.smtp.scram`, `protocols.smtp.oauth`); here they meet the stored credentials, the
throttle and the threads on which Argon2 runs, and access tokens `mail.inbound.tokens`, which judges them. Nobody learns
whether a name exists: the words are the same, and so is the work. A token is in no reply, reason, log or trace.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gatepost.mail.inbound.credentials import Credential, content_name
from gatepost.net.listener import source_of
from gatepost.policy.decisions.oauth import TokenVerdict, hint_for
from gatepost.policy.decisions.submission import refused_login
from gatepost.policy.logins.passwords import NOBODYS_HASH, verify
from gatepost.protocols.smtp.oauth import BearerMessage, parse_oauthbearer, parse_xoauth2, token_error
from gatepost.protocols.smtp.replies import LOG_IN_AGAIN, Reply
from gatepost.protocols.smtp.sasl import PlainMessage, SaslError, parse_plain
from gatepost.protocols.smtp.scram import ScramServer, unknown_verifier
from gatepost.protocols.smtp.server.auth import AUTHENTICATED
from gatepost.store.failures import login_throttles
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gatepost.net.lookups.issuer_keys import IssuerKeys
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.oauth import OauthIssuer
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.store.failures import FailureCounts, FailureLists


MECHANISMS: Final = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN")
"""With a password, the best first."""
TOKEN_MECHANISMS: Final = ("OAUTHBEARER", "XOAUTH2")
"""With an access token."""

INVALID: Final = Reply(535, "5.7.8", ("Authentication credentials invalid",))
THROTTLED: Final = Reply(454, "4.7.0", ("Too many failed log-ins, try again later",))
BUSY: Final = Reply(454, "4.7.0", ("Temporary authentication failure, try again later",))
MALFORMED: Final = Reply(501, "5.5.2", ("Authentication message is malformed",))
_BINDING: Final = Reply(535, "5.7.8", ("Channel binding does not match; a proxy that ends TLS may stand between",))

_ENDED: Final = "the log-in of the session holds no more: the password, the mailbox or whom it trusts was changed"
_EXPIRED: Final = "the log-in of the session holds no more: its token has expired"

_THREADS = 2
_WAITING = 64  # log-ins with PLAIN at a time, some 2 s of work; more are told to come back
_AT_ONCE = 25  # log-ins under way from where a name logs in, or with tokens: programs open many connections at a time
_NAME = 128  # characters of a name that the throttle keeps


class LoginOutcome(msgspec.Struct, frozen=True):
    """How a exchange ended. user: the mailbox's address, "" if nobody is. reason: for us, without secrets.

    error: a challenge that tells the client what is wrong; the reply follows when it has answered that.
    """

    user: str
    reply: Reply
    reason: str
    error: bytes = b""


def mechanisms(directory: Directory) -> tuple[str, ...]:
    """What is offered over TLS, the best first: what some organization lets its users log in with.

    Never nothing, since a listener that offers nothing would take mail from anybody.
    """
    tokens = TOKEN_MECHANISMS if directory.takes_tokens else ()
    passwords = MECHANISMS if directory.takes_passwords or not tokens else ()
    return passwords + tokens


class Logins:
    """What the log-ins of one worker share.

    content: what lies in the configuration store under a name. secret: the server's own, which fake salts are made of;
    the same for all workers, and kept. failures: of all workers. keys: of the issuers of tokens.
    """

    def __init__(
        self,
        content: Callable[[str], bytes | None],
        secret: Callable[[], bytes],
        failures: FailureCounts,
        keys: IssuerKeys,
    ) -> None:
        self._content = content
        self._keys = keys
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="password")
        self._waiting = 0
        self.secret = secret
        self.failures = failures

    def begin(
        self, mechanism: str, directory: Directory, peer_ip: str, bindings: Mapping[str, bytes]
    ) -> Login | TokenLogin:
        """A exchange. bindings: see `Stream.channel_bindings`."""
        if mechanism in TOKEN_MECHANISMS:
            return TokenLogin(mechanism, directory, self._keys, self.failures, peer_ip)
        return Login(self, mechanism, directory, peer_ip, bindings)

    def credential(self, directory: Directory, name: str) -> tuple[str, Credential | None]:
        """The mailbox that a name means, "" if none, and what is kept of its password, if one may be used."""
        mailbox = directory.mailbox(name)
        if mailbox is None:
            return "", None
        owner = directory.organization_of(mailbox.address.rpartition("@")[2].lower())
        credential = Credential.decode(self._content(content_name(mailbox.address)))
        if credential is None or owner is None or credential.organization != owner.name:
            return mailbox.address, None
        if not owner.allow_basic_auth_smtp:
            return mailbox.address, None
        return mailbox.address, credential

    async def verify(self, password: str, argon2: str) -> bool | None:
        """Whether the password fits, found out on a thread; None if too many wait."""
        if self._waiting >= _WAITING:
            return None
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, verify, password, argon2)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the threads; whoever still waits is not answered."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Login:
    """One exchange: `step` for each response of the client, until there is an outcome.

    expires: as of `TokenLogin`; a password has no end.
    """

    __slots__ = (
        "_address",
        "_bindings",
        "_credential",
        "_directory",
        "_is_usual",
        "_logins",
        "_name",
        "_proved",
        "_scram",
        "mechanism",
    )

    expires: Final = math.inf

    def __init__(
        self, logins: Logins, mechanism: str, directory: Directory, peer_ip: str, bindings: Mapping[str, bytes]
    ) -> None:
        self._logins = logins
        self._directory = directory
        self._address = source_of(peer_ip)
        self._bindings = bindings
        self._name = ""
        self._is_usual = False
        self._scram: ScramServer | None = None
        self._credential: tuple[str, Credential | None] = ("", None)
        self._proved = False
        self.mechanism = mechanism

    def step(self, response: bytes | None) -> bytes | LoginOutcome | Awaitable[LoginOutcome]:
        """Take a response, None if AUTH had no initial one: a challenge, the outcome, or the wait for it."""
        if response is None:
            return b""  # both mechanisms begin with the client (RFC 4954 section 4)
        try:
            if self.mechanism == "PLAIN":
                return self._plain(response)
            return self._scram_step(response)
        except SaslError as error:
            reply = _BINDING if "channel binding does not match" in str(error) else MALFORMED
            return LoginOutcome("", reply, f"{self._who}: {error}")

    # PLAIN

    def _plain(self, response: bytes) -> LoginOutcome | Awaitable[LoginOutcome]:
        message = parse_plain(response)
        if (refusal := self._claim(message.name, message.authzid)) is not None:
            return refusal
        return self._plain_verified(message)

    async def _plain_verified(self, message: PlainMessage) -> LoginOutcome:
        credential = self._credential[1]
        fits = await self._logins.verify(message.password, credential.argon2 if credential else NOBODYS_HASH)
        if fits is None:  # nothing was tried, so nothing was learnt
            self._forgive(everything=False)
            return LoginOutcome("", BUSY, f"{self._who}: too many log-ins wait for their password to be tried")
        return self._decided(fits=fits)

    # SCRAM

    def _scram_step(self, response: bytes) -> bytes | LoginOutcome:
        if self._proved:
            return self._decided(fits=True)  # the client has seen that we know the password too (RFC 5802 section 7)
        if self._scram is None:
            return self._scram_first(response)
        signature = self._scram.final(response)
        if signature is None or self._credential[1] is None:
            return self._decided(fits=False)
        self._proved = True
        return signature

    def _scram_first(self, response: bytes) -> bytes | LoginOutcome:
        plus = self.mechanism.endswith("-PLUS")
        scram = ScramServer(secrets.token_urlsafe(24), self._bindings, plus=plus)
        scram.first(response)
        if (refusal := self._claim(scram.name, scram.authzid)) is not None:
            return refusal
        self._scram = scram
        credential = self._credential[1]
        name = self._credential[0].lower() or self._directory.without_detail(scram.name)
        return scram.challenge(credential.verifier if credential else unknown_verifier(name, self._logins.secret()))

    # both

    def _claim(self, name: str, authzid: str) -> LoginOutcome | None:
        """Find who that would be, and charge the attempt; the refusal of who has to wait first."""
        logins = self._logins
        self._name = self._directory.without_detail(name)[:_NAME]
        try:
            address, credential = logins.credential(self._directory, name)
            other = authzid and logins.credential(self._directory, authzid)[0] != address
        except StoreFailure:
            return LoginOutcome("", BUSY, f"{self._who}: what is kept of the password cannot be read now")
        self._credential = address, None if other else credential
        try:
            wait = self._charge()
        except StoreFailure as failure:
            return LoginOutcome("", BUSY, f"{self._who}: {failure}")
        return LoginOutcome("", THROTTLED, _unheard(self._who, wait)) if wait else None

    def _charge(self) -> float:
        """Count the attempt, or return the seconds until one is heard. Raises StoreFailure."""
        with self._logins.failures.counting() as lists:
            self._is_usual = _is_usual(lists, self._name, self._address)
            addresses, names = login_throttles(lists, free=_AT_ONCE) if self._is_usual else login_throttles(lists)
            wait = max(addresses.wait(self._address), 0.0 if self._is_usual else names.wait(self._name))
            if not wait:
                addresses.charge(self._address)
                if not self._is_usual:
                    names.charge(self._name)
        return wait

    def _decided(self, *, fits: bool) -> LoginOutcome:
        address, credential = self._credential
        if not fits or credential is None:
            why = "wrong password" if credential else "no password is set or may be used, or it may not act as another"
            return LoginOutcome("", INVALID, f"{self._who}: {why if address else 'no mailbox has that name'}")
        self._forgive(everything=True)
        return LoginOutcome(address, AUTHENTICATED, f"{self._who}: logged in")

    def holds(self, directory: Directory) -> bool:
        """Whether who logged in could do so again with the same password. directory: the one in force now."""
        address, credential = self._logins.credential(directory, self._credential[0])
        return (address.lower(), credential) == (self._credential[0].lower(), self._credential[1])

    def _forgive(self, *, everything: bool) -> None:
        """Count the attempt no more. everything: nor those of this name before it, but strangers' where it is usual."""
        with suppress(StoreFailure), self._logins.failures.counting() as lists:
            addresses, names = login_throttles(lists)
            addresses.forgive(self._address, everything=False)
            if not self._is_usual:
                names.forgive(self._name, everything=everything)
            if everything:
                lists.of("usual")[self._name] = _number(self._address), lists.clock()

    @property
    def _who(self) -> str:
        """For a sentence. A name that is no mailbox is not told: people type passwords there too."""
        return f"AUTH {self.mechanism} as {self._credential[0] or 'somebody'}"


def _is_usual(lists: FailureLists, name: str, source: str) -> bool:
    """Whether a name logged in from there last: strangers' failures do not keep its owner out there."""
    return lists.of("usual").get(name, (0, 0.0))[0] == _number(source)


def _number(source: str) -> int:
    """What stands for an address."""
    return int.from_bytes(blake2b(source.encode(), digest_size=8).digest()) or 1


def _unheard(who: str, wait: float) -> str:
    return f"{who}: after many failures, none is heard for {wait:.0f} s"


class _Trust(NamedTuple):
    """On what a log-in with a token rests: the mailbox (in small letters), its owner, and whom that trusts."""

    address: str
    organization: str
    issuers: tuple[OauthIssuer, ...]


def _trust_in(directory: Directory, user: str) -> _Trust | None:
    mailbox = directory.mailbox(user)
    owner = directory.organization_of(mailbox.address.rpartition("@")[2].lower()) if mailbox is not None else None
    return _Trust(mailbox.address.lower(), owner.name, owner.oauth_issuers) if mailbox is not None and owner else None


class TokenLogin:
    """One exchange: `step` for the response of the client.

    failures: counted by the client's address. Nothing is counted by the name: a token cannot be guessed by
    trying, so nobody gains by many, and nobody shall be able to lock its owner out. expires: when its token would be
    refused as too old, in seconds since 1970; 0 before one was accepted.
    """

    __slots__ = ("_address", "_authzid", "_directory", "_failures", "_keys", "_trust", "expires", "mechanism")

    def __init__(
        self, mechanism: str, directory: Directory, keys: IssuerKeys, failures: FailureCounts, peer_ip: str
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._failures = failures
        self._address = source_of(peer_ip)
        self._authzid = ""
        self._trust: _Trust | None = None
        self.expires: float = 0
        self.mechanism = mechanism

    def step(self, response: bytes | None) -> bytes | LoginOutcome | Awaitable[LoginOutcome]:
        """Take a response, None if AUTH had no initial one: a challenge, the outcome, or the wait for it."""
        if response is None:
            return b""
        try:
            message = parse_xoauth2(response) if self.mechanism == "XOAUTH2" else parse_oauthbearer(response)
        except SaslError as error:
            return LoginOutcome("", MALFORMED, f"{self._who}: {error}")
        self._authzid = message.authzid
        try:
            with self._failures.counting() as lists:
                addresses, _ = login_throttles(lists, free=_AT_ONCE)
                wait = addresses.wait(self._address)
                if message.token and not wait:
                    addresses.charge(self._address)
        except StoreFailure as failure:
            return LoginOutcome("", BUSY, f"{self._who}: {failure}")
        if wait:
            return LoginOutcome("", THROTTLED, _unheard(self._who, wait))
        if not message.token:
            return self._refused(TokenVerdict("", "the client brings no token, and asks where to get one"))
        return self._judged(message)

    async def _judged(self, message: BearerMessage) -> LoginOutcome:
        from gatepost.mail.inbound.tokens import judge_token  # noqa: PLC0415 - PyJWT is for the few whose users bring tokens

        verdict = await judge_token(self._directory, self._keys, message.token, message.authzid)
        if verdict.genuine or verdict.temporary:
            with suppress(StoreFailure), self._failures.counting() as lists:
                login_throttles(lists)[0].forgive(self._address, everything=False)
        if verdict.user:
            self._trust, self.expires = _trust_in(self._directory, verdict.user), verdict.expires
            return LoginOutcome(verdict.user, AUTHENTICATED, f"{self._who}: {verdict.reason}")
        if verdict.temporary:
            return LoginOutcome("", BUSY, f"{self._who}: {verdict.reason}")
        return self._refused(verdict)

    def holds(self, directory: Directory) -> bool:
        """Whether its user is there, and all who were trusted are as they were. directory: the one in force now."""
        before = self._trust
        now = _trust_in(directory, before.address) if before is not None else None
        return before is not None and now is not None and before[:2] == now[:2] and {*before.issuers} <= {*now.issuers}

    def _refused(self, verdict: TokenVerdict) -> LoginOutcome:
        hint = hint_for(self._directory, self._authzid)
        error = token_error(self.mechanism, verdict.status, scope=hint.scope, configuration=hint.configuration)
        return LoginOutcome("", INVALID, f"{self._who}: {verdict.reason}", error)

    @property
    def _who(self) -> str:
        """For a sentence. A name that is no mailbox is not told, as with passwords."""
        mailbox = self._directory.mailbox(self._authzid) if self._authzid else None
        return f"AUTH {self.mechanism} as {mailbox.address if mailbox else 'somebody'}"


def refused_as_ended(login: Login | TokenLogin, directory: Directory, now: float) -> InboundVerdict | None:
    """The refusal of a message in a session whose log-in holds no more, or may not; None while it does.

    directory: the one in force now. now: seconds since 1970.
    """
    if now >= login.expires:
        return refused_login(directory, LOG_IN_AGAIN, _EXPIRED)
    try:
        if login.holds(directory):
            return None
    except StoreFailure as failure:
        return refused_login(directory, failure.reply, "what the log-in of the session rests on cannot be read now")
    return refused_login(directory, LOG_IN_AGAIN, _ENDED)
