"""Log-in at an issuer of OpenID Connect: authorization code with PKCE, state and nonce. Called by the log-in pages.

What must be the same when the person comes back is in a ticket, which the caller keeps in the browser and signs. Blocks
while the issuer is asked; few may ask at a time.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from gatepost.manage.access.claims_mapping import map_claims
from gatepost.manage.access.slots import Slots
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.openid import OpenId, OpenIdFailed
from gatepost.net.lookups.validator import ValidatorError
from gatepost.pki.certificates.vault import VaultError, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from gatepost.manage.access.issuer_rows import IssuerIdentity
    from gatepost.manage.use_cases.gateway import Gateway


_SLOTS: Final = Slots(4)
_GOOD_FOR: Final = 600.0  # seconds that a person has at the issuer
_FRESH: Final = 300.0  # seconds since a person proved it there, where that was asked for
_LONGEST: Final = 4096


class IssuerLogInFailed(Exception):  # noqa: N818 - it names what happened
    """Nobody came in. The text is for the record and for us, not for the person. busy: try again."""

    def __init__(self, text: str, *, busy: bool = False) -> None:
        super().__init__(text)
        self.busy = busy


class Ticket(msgspec.Struct, frozen=True):
    """What was begun. target: where to go in the end. again: the person must prove it anew. at: seconds since 1970."""

    state: str
    nonce: str
    verifier: str
    redirect: str
    target: str
    again: bool
    at: float


class Returned(msgspec.Struct, frozen=True):
    """Who came in. proved: when they proved it to the issuer, seconds since 1970; 0 if it does not say."""

    person: Any
    proved: float


def begin(gateway: Gateway, redirect: str, target: str, now: float, *, again: bool) -> tuple[str, Ticket]:
    """Where the person is sent, and the ticket. redirect: where the issuer sends them back to.

    Raises IssuerLogInFailed.
    """
    oidc = gateway.settings.oidc
    provider = _asked(gateway, lambda openid: openid.provider())
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    query = {
        "response_type": "code",
        "client_id": oidc.client_id,
        "redirect_uri": redirect,
        "scope": " ".join(dict.fromkeys(["openid", *oidc.scopes])),
        "state": state,
        "nonce": nonce,
        "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    if again:
        query |= {"prompt": "login", "max_age": "0"}
    between = "&" if "?" in provider.authorization_url else "?"
    url = f"{provider.authorization_url}{between}{urlencode(query)}"
    return url, Ticket(state, nonce, verifier, redirect, target, again, now)


def end(gateway: Gateway, ticket: Ticket, answer: Mapping[str, str], now: float) -> Returned:
    """Who came back. answer: what the issuer sent them back with. Raises IssuerLogInFailed."""
    oidc = gateway.settings.oidc
    if not hmac.compare_digest(answer.get("state", "").encode(), ticket.state.encode()):
        raise IssuerLogInFailed("the answer is of another log-in (state)")
    if not 0 <= now - ticket.at < _GOOD_FOR:
        raise IssuerLogInFailed("it took longer than ten minutes")
    if answer.get("iss", oidc.issuer) != oidc.issuer:
        raise IssuerLogInFailed("the answer is of another issuer (RFC 9207)")
    code = answer.get("code", "")
    if not 0 < len(code) <= _LONGEST:
        raise IssuerLogInFailed("the issuer did not let the person in")

    async def exchanged(openid: OpenId) -> dict[str, Any]:
        provider = await openid.provider()
        if provider.says_issuer and "iss" not in answer:
            raise OpenIdFailed("the answer does not say of which issuer it is (RFC 9207)")
        return await openid.claims(provider, code, ticket.verifier, ticket.redirect, ticket.nonce)

    claims = _asked(gateway, exchanged)
    proved = claims.get("auth_time", 0)
    proved = float(proved) if isinstance(proved, int | float) and 0 < proved <= now + 60 else 0.0
    if ticket.again and now - proved > _FRESH:
        raise IssuerLogInFailed("the person did not prove anew who they are (auth_time)")
    person: IssuerIdentity | str = map_claims(oidc, claims)
    if isinstance(person, str):
        raise IssuerLogInFailed(person)
    return Returned(person, min(proved, now))


def _asked[T](gateway: Gateway, ask: Callable[[OpenId], Coroutine[Any, Any, T]]) -> T:
    settings = gateway.settings

    async def work() -> T:
        reference = settings.oidc.client_secret
        secret = read_secret(reference, what="client secret", gone="").decode().strip() if reference else ""
        resolver = configured_resolver(settings.dns)
        try:
            return await ask(OpenId(resolver, settings.oidc, secret, settings.tls.trust_anchors))
        finally:
            await resolver.close()

    if not _SLOTS.acquire("", 1.0):
        raise IssuerLogInFailed("too many others log in just now", busy=True)
    try:
        return asyncio.run(work())
    except (OpenIdFailed, VaultError, ValidatorError, ValueError) as failed:
        raise IssuerLogInFailed(str(failed)) from None
    finally:
        _SLOTS.release("")
