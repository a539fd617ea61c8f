"""An OpenID Connect provider: its metadata, the login address, and the exchange of a code for a token.

Used by `manage.use_cases.issuer_login`. Asked anew for each log-in, over HTTPS, within one time and little memory.

`verified_claims` verifies an ID token (OpenID Connect Core section 3.1.3.7): signature, issuer, audience, times, nonce.
Signatures are checked with PyJWT, by keys that the issuer publishes and with algorithms that have a public half,
whatever the token asks for. Nothing of a token gets into an error.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import jwt

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, https_context
from gatepost.net.lookups.jwks import IssuerKey, JwksError, parse_document, parse_jwks
from gatepost.policy.connectors.oauth import TokenAlgorithm, configuration_urls
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.net.lookups.dns import Resolver
    from gatepost.settings.sections import Oidc


_LEEWAY: Final = 60  # seconds between the issuer's clock and ours
_TRIED: Final = 8  # keys, for a token that does not say which
_NEEDED: Final = ["exp", "iat", "iss", "aud", "sub"]
_TYPES: Final = frozenset({"jwt", ""})
_FAULTS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ExpiredSignatureError, "the ID token has expired"),
    (jwt.ImmatureSignatureError, "the ID token does not hold yet; compare the issuer's clock and ours"),
    (jwt.InvalidAudienceError, "the ID token is for another client"),
    (jwt.InvalidIssuerError, "the ID token is of another issuer"),
    (jwt.MissingRequiredClaimError, "the ID token lacks one of exp, iat, iss, aud and sub"),
)


class IdTokenError(Exception):
    """The token is worth nothing. The text is for us."""


def verified_claims(token: str, keys: Sequence[IssuerKey], *, issuer: str, client: str, nonce: str) -> dict[str, Any]:
    """The claims of a token that is meant for us, now, and for the log-in of that nonce. Raises IdTokenError."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise IdTokenError("the ID token is not a JWT") from None
    algorithm, kid, kind = (header.get(name, "") for name in ("alg", "kid", "typ"))
    if algorithm not in set(TokenAlgorithm):
        raise IdTokenError("the ID token is signed by no algorithm that is taken")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise IdTokenError("it is a JWT of another kind than an ID token (typ)")
    fitting = [key for key in keys if key.suits(algorithm) and (not kid or key.id in {kid, ""})]
    claims = _signed(token, fitting, issuer, client)
    claim = claims.get("nonce")
    if not isinstance(claim, str) or not hmac.compare_digest(claim.encode(), nonce.encode()):
        raise IdTokenError("the ID token is of another log-in (nonce)")
    if claims.get("azp", client) != client or (isinstance(claims["aud"], list) and len(claims["aud"]) > 1):
        raise IdTokenError("the ID token is for other clients, too (azp, aud)")
    return claims


def _signed(token: str, keys: Sequence[IssuerKey], issuer: str, client: str) -> dict[str, Any]:
    for key in keys[:_TRIED]:
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[algorithm for algorithm in TokenAlgorithm if key.suits(algorithm)],
                audience=client,
                issuer=issuer,
                leeway=_LEEWAY,
                options={"require": _NEEDED},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as fault:
            words = next((text for kind, text in _FAULTS if isinstance(fault, kind)), "its claims are malformed")
            raise IdTokenError(words) from None
    raise IdTokenError("the ID token's signature is not the issuer's")


_MAX_BYTES: Final = 256 * 1024
_SHOWN: Final = 200  # characters of what the metadata name
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,16384}=*")  # RFC 6750 section 2.1
_REFUSED: Final = {
    400: "; it does not accept the code, client_id or client_secret",
    401: "; it does not accept client_id or client_secret",
}


class OpenIdFailed(Exception):  # noqa: N818 - it names what happened
    """The log-in cannot go on. The text is for us; of the issuer's answers a status and its metadata may be in it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The metadata of an issuer.

    says_issuer: it names itself in its answers (RFC 9207). by_body: it takes the client's secret in the body only.
    user_info_url: where it tells claims that the ID token lacks, "" for nowhere.
    """

    authorization_url: str
    token_url: str
    keys_url: str
    says_issuer: bool
    by_body: bool
    user_info_url: str = ""


class OpenId:
    """secret: of the client, "" for none. trust_anchors: for https, if the settings of the issuer name none.

    load: reads trust anchors, on a thread.
    """

    def __init__(
        self,
        resolver: Resolver,
        oidc: Oidc,
        secret: str,
        trust_anchors: str,
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        self._oidc = oidc
        self._secret = secret
        self._resolver = resolver
        self._anchors = oidc.trust_anchors or trust_anchors
        self._load = load

    async def provider(self) -> Provider:
        """Its metadata (OpenID Connect Discovery section 4). Raises OpenIdFailed."""
        return await self._within(self._discovered())

    async def claims(self, provider: Provider, code: str, verifier: str, redirect: str, nonce: str) -> dict[str, Any]:
        """Exchange a code for the issuer's claims (RFC 6749 section 4.1.3, RFC 7636). Raises OpenIdFailed."""
        return await self._within(self._exchanged(provider, code, verifier, redirect, nonce))

    async def _within[T](self, work: Any) -> T:
        try:
            async with asyncio.timeout(self._oidc.timeout):
                result: T = await work
                return result
        except TimeoutError:
            raise OpenIdFailed(f"{self._oidc.issuer}: no answer within {self._oidc.timeout:g} s") from None
        except (HttpFailed, JwksError, AnchorsError, IdTokenError) as failed:
            raise OpenIdFailed(str(failed)[:500]) from None

    async def _discovered(self) -> Provider:
        client = await self._client()
        url = configuration_urls(self._oidc.issuer)[0]
        document = parse_document(await self._ask(client, HttpRequest(url, _MAX_BYTES, self._oidc.timeout)))
        if document.get("issuer") != self._oidc.issuer:
            named = ascii(document.get("issuer"))[:_SHOWN]
            raise OpenIdFailed(f"the metadata at {url} are of another issuer, {named} (RFC 8414 section 3.3)")
        methods = document.get("token_endpoint_auth_methods_supported")
        user_info_url = document.get("userinfo_endpoint")
        by_body = isinstance(methods, list) and "client_secret_basic" not in methods
        return Provider(
            _address(document, "authorization_endpoint"),
            _address(document, "token_endpoint"),
            _address(document, "jwks_uri"),
            document.get("authorization_response_iss_parameter_supported") is True,
            by_body,
            user_info_url if isinstance(user_info_url, str) and user_info_url.startswith("https://") else "",
        )

    async def _exchanged(
        self, provider: Provider, code: str, verifier: str, redirect: str, nonce: str
    ) -> dict[str, Any]:
        client, name = await self._client(), self._oidc.client_id
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        fields: tuple[tuple[str, str], ...] = ()
        if self._secret and not provider.by_body:
            pair = f"{quote_plus(name)}:{quote_plus(self._secret)}"  # RFC 6749 section 2.3.1
            fields = (("Authorization", f"Basic {b64encode(pair.encode()).decode()}"),)
        else:
            form |= {"client_id": name} | ({"client_secret": self._secret} if self._secret else {})
        request = HttpRequest(
            provider.token_url,
            _MAX_BYTES,
            self._oidc.timeout,
            body=urlencode(form).encode(),
            content_type="application/x-www-form-urlencoded",
            fields=fields,
        )
        try:
            answer = parse_document(await self._ask(client, request))
        except HttpFailed as failed:
            raise OpenIdFailed(f"{failed}{_REFUSED.get(failed.status, '')}") from None
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise OpenIdFailed("the issuer's answer has no id_token")
        keys = parse_jwks(await self._ask(client, HttpRequest(provider.keys_url, _MAX_BYTES, self._oidc.timeout)))
        claims = verified_claims(token, keys, issuer=self._oidc.issuer, client=name, nonce=nonce)
        return claims | await self._user_info(client, provider.user_info_url, answer.get("access_token"), claims)

    async def _user_info(
        self, client: HttpClient, url: str, access_token: Any, claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The claims that the ID token lacks, from the UserInfo endpoint (OpenID Connect Core section 5.3)."""
        missing = {self._oidc.name_claim, self._oidc.groups_claim} - claims.keys()
        if not missing or not url or not isinstance(access_token, str) or not _BEARER.fullmatch(access_token):
            return {}
        fields = (("Authorization", f"Bearer {access_token}"),)
        request = HttpRequest(url, _MAX_BYTES, self._oidc.timeout, fields=fields)
        user_info = parse_document(await self._ask(client, request))
        if user_info.get("sub") != claims["sub"]:  # section 5.3.2: it is not signed
            raise OpenIdFailed("the UserInfo endpoint speaks of another person (sub)")
        return {name: user_info[name] for name in missing & user_info.keys()}

    async def _client(self) -> HttpClient:
        anchors = await asyncio.to_thread(self._load, self._anchors)
        return HttpClient(self._resolver, https_context(anchors))

    async def _ask(self, client: HttpClient, request: HttpRequest) -> bytes:
        wanted = replace(request, accept="application/json", private=self._oidc.private_issuer)
        return (await client.fetch(wanted)).body


def _address(found: Mapping[str, Any], name: str) -> str:
    url = found.get(name)
    if not isinstance(url, str) or not url.startswith("https://"):
        raise OpenIdFailed(f'the metadata have no https address as "{name}"')
    return url
