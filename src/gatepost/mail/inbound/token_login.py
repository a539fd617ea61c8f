"""One login exchange with an access token: OAUTHBEARER (RFC 7628) or XOAUTH2.

Made by `mail.inbound.login` for `mail.inbound.session`, which gives it what the client says. The message is read by
`protocols.smtp.oauth`, the token judged by `mail.inbound.tokens`. A token is in no reply, reason, log or trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.mail.inbound.login_outcome import BUSY, INVALID, MALFORMED, THROTTLED, LoginOutcome
from gatepost.mail.inbound.tokens import judge_token
from gatepost.net.listener import source_of
from gatepost.policy.decisions.oauth import TokenVerdict, hint_for
from gatepost.protocols.smtp.oauth import parse_oauthbearer, parse_xoauth2, token_error
from gatepost.protocols.smtp.sasl import SaslError
from gatepost.protocols.smtp.server.auth import AUTHENTICATED

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gatepost.net.lookups.issuer_keys import IssuerKeys
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.logins.throttle import Throttle
    from gatepost.protocols.smtp.oauth import BearerMessage


class TokenLogin:
    """One exchange: `step` for the response of the client.

    addresses: counts failures by the client's address. Nothing is counted by the name: a token cannot be guessed by
    trying, so nobody gains by many, and nobody shall be able to lock its owner out.
    """

    __slots__ = ("_address", "_addresses", "_authzid", "_directory", "_keys", "mechanism")

    def __init__(
        self, mechanism: str, directory: Directory, keys: IssuerKeys, addresses: Throttle, peer_ip: str
    ) -> None:
        self._directory = directory
        self._keys = keys
        self._addresses = addresses
        self._address = source_of(peer_ip)
        self._authzid = ""
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
        if wait := self._addresses.wait(self._address):
            return LoginOutcome("", THROTTLED, f"{self._who}: after many failures, none is heard for {wait:.0f} s")
        if not message.token:
            return self._refused(TokenVerdict("", "the client brings no token, and asks where to get one"))
        self._addresses.charge(self._address)
        return self._judged(message)

    async def _judged(self, message: BearerMessage) -> LoginOutcome:
        verdict = await judge_token(self._directory, self._keys, message.token, message.authzid)
        if verdict.genuine or verdict.temporary:
            self._addresses.forgive(self._address, everything=False)
        if verdict.user:
            return LoginOutcome(verdict.user, AUTHENTICATED, f"{self._who}: {verdict.reason}")
        if verdict.temporary:
            return LoginOutcome("", BUSY, f"{self._who}: {verdict.reason}")
        return self._refused(verdict)

    def _refused(self, verdict: TokenVerdict) -> LoginOutcome:
        hint = hint_for(self._directory, self._authzid)
        error = token_error(self.mechanism, verdict.status, scope=hint.scope, configuration=hint.configuration)
        return LoginOutcome("", INVALID, f"{self._who}: {verdict.reason}", error)

    @property
    def _who(self) -> str:
        """For a sentence. A name that is no mailbox is not told, as with passwords."""
        mailbox = self._directory.mailbox(self._authzid) if self._authzid else None
        return f"AUTH {self.mechanism} as {mailbox.address if mailbox else 'somebody'}"
