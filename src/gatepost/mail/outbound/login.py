"""Log in to a smart host (RFC 4954), over a connection whose TLS proved that it is the host that the secret is for.

Called by `mail.outbound.hop` before a connection is given to anybody. Mechanisms are pure
(`protocols.smtp.client.sasl_client`); here they meet the secrets (`pki.certificates.connector_secrets`) and the access
tokens (`net.lookups.access_tokens`). No secret is in a reply, reason, transcript, log or trace.

Whatever goes wrong, mail waits: that a password was changed is no fault of the message, and none is returned for it
before it expires.
"""

from __future__ import annotations

import asyncio
import binascii
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.mail.outbound.failure import HopFailed, login_failed
from gatepost.net.lookups.access_tokens import AccessTokens, TokenRequest, TokenUnavailable
from gatepost.pki.certificates.connector_secrets import SealedSecrets, SecretError, secret_place
from gatepost.policy.connectors.values import AuthenticationMechanism
from gatepost.policy.decisions.requirement import Authenticated, TlsLevel, Verdict
from gatepost.protocols.smtp.client.sasl_client import BY_PASSWORD, BY_TOKEN, TokenClient, choose, password_client
from gatepost.protocols.smtp.sasl import SaslError
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.outbound.connection import OutboundConnection
    from gatepost.mail.outbound.hop import Hop
    from gatepost.mail.outbound.hop_options import SmartHostLogin
    from gatepost.protocols.smtp.client.sasl_client import SaslClient
    from gatepost.protocols.smtp.replies import Reply


_CHALLENGE_OCTETS: Final = 4096
_NOT_PROVED: Final = "the host did not prove its name, so the secret was not sent"

_NAMES: Final = {
    AuthenticationMechanism.SCRAM_SHA_256: BY_PASSWORD[:2],
    AuthenticationMechanism.PLAIN: ("PLAIN",),
    AuthenticationMechanism.LOGIN: ("LOGIN",),
    AuthenticationMechanism.OAUTHBEARER: ("OAUTHBEARER",),
    AuthenticationMechanism.XOAUTH2: ("XOAUTH2",),
}


class SmartHostLogins(msgspec.Struct, frozen=True):
    """secrets: of connectors. tokens: fetches access tokens. nonce: fresh for each log-in with SCRAM."""

    stored: SealedSecrets
    tokens: AccessTokens
    nonce: Callable[[], str] = lambda: secrets.token_urlsafe(18)

    async def log_in(self, hop: Hop, login: SmartHostLogin, connection: OutboundConnection, verdict: Verdict) -> None:
        """Log in over a connection. Raises HopFailed, ConnectionEnded.

        verdict: of the requirement on the connection. Nothing secret is read, let alone sent, unless the peer proved
        its name under it.
        """
        require_proof(hop, verdict)
        offered = connection.extensions.get("AUTH", "")
        name = choose(offered, _allowed(login), connection.channel_bindings())
        if not name:
            what = f"offers AUTH {offered[:200]}" if offered else "offers no log-in (AUTH)"
            allowed = ", ".join(_allowed(login))
            said = f"the host {what}, and the connector uses {allowed}"
            raise HopFailed(login_failed(said, said))
        try:
            secret = self._secret(login)
            if name in BY_TOKEN:
                await self._with_token(hop, login, connection, name, secret)
            else:
                bindings = connection.channel_bindings()
                username = login.authentication.username
                mechanism = password_client(
                    name, username, secret, nonce=self.nonce(), offered=offered, bindings=bindings
                )
                await _exchange(connection, mechanism)
        except (SecretError, SaslError) as error:
            raise HopFailed(login_failed(f"{login}: {error}")) from error

    def _secret(self, login: SmartHostLogin) -> str:
        file = login.authentication.secret_file
        return self.stored.read(secret_place(login.organization, login.connector, login.destination, file))

    async def _with_token(
        self, hop: Hop, login: SmartHostLogin, connection: OutboundConnection, name: str, secret: str
    ) -> None:
        authentication = login.authentication
        request = TokenRequest(
            authentication.token_url, authentication.client_id, authentication.scope, secret, login.bounded
        )
        try:
            token = await self.tokens.token(request)
        except TokenUnavailable as failure:
            raise HopFailed(login_failed(f"{login}: no access token: {failure.detail}", ours=failure.refused)) from None
        mechanism = TokenClient(name, authentication.username, token, hop.host, hop.port)
        try:
            await _exchange(connection, mechanism)
        except HopFailed as failed:
            self.tokens.forget(request, token)
            if mechanism.error:
                detail = f"{failed.failure.detail}; the server says of the token: {mechanism.error}"
                failed.failure = replace(failed.failure, detail=detail)
            raise


def require_proof(hop: Hop, verdict: Verdict) -> None:
    """Raise HopFailed unless the peer proved a name under the requirement.

    Without one, anybody with a trusted certificate would be given the secret.
    """
    requirement = hop.requirement
    names = isinstance(requirement, Authenticated) and bool(requirement.names)
    if not (names and verdict.passed and verdict.achieved.tls is TlsLevel.AUTHENTICATED):
        raise HopFailed(login_failed(_NOT_PROVED, _NOT_PROVED))


def _allowed(login: SmartHostLogin) -> tuple[str, ...]:
    authentication = login.authentication
    automatic = BY_TOKEN if authentication.token_url else BY_PASSWORD
    return _NAMES.get(authentication.mechanism, automatic)


async def _exchange(connection: OutboundConnection, mechanism: SaslClient) -> None:
    """AUTH to its end. Raises HopFailed if the server refuses, SaslError if it does not keep to the mechanism.

    Each mechanism has so many responses and no more, so that the exchange ends.
    """
    reply = await connection.auth(mechanism.name, mechanism.initial())
    loop = asyncio.get_running_loop()
    while reply.code == 334:
        # SCRAM may take a second of CPU, which other connections must not wait for.
        response = await loop.run_in_executor(None, mechanism.respond, _decoded(reply))
        reply = await connection.auth_response(response)
    if not reply.positive:
        said = f"{mechanism.name} was answered with {reply.text}"
        # 4xx passes by itself; 5xx (535: a wrong password) needs somebody here (RFC 4954 section 6).
        raise HopFailed(login_failed(said, said, ours=reply.permanent))
    mechanism.complete()


def _decoded(reply: Reply) -> bytes:
    text = " ".join(reply.lines).strip()
    if len(text) > _CHALLENGE_OCTETS:
        raise SaslError("the server's challenge is too long")
    try:
        return binascii.a2b_base64(text.encode(), strict_mode=True) if text else b""
    except binascii.Error:
        raise SaslError("the server's challenge is not base64") from None
