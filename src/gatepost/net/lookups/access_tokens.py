"""Access tokens of an authorization server for the gateway itself (OAuth client credentials, RFC 6749 section 4.4).

Used by `mail.outbound.login` and `mail.inbound.recipient_graph`. A token is kept until shortly before it expires, in
memory only; no token or secret is in the text of an error or in a log.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import msgspec

from gatepost.decoding import from_json
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, https_context
from gatepost.net.tasks import Shared
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy
from gatepost.protocols.smtp.oauth import TOKEN_OCTETS
from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.net.lookups.dns import Resolver


_KEPT: Final = 1000
_EARLY: Final = 60.0  # seconds before its end from which on a token is fetched anew
_LONGEST: Final = 86_400.0
_USUAL: Final = 300.0  # where the server does not say how long a token lives
_RETRY: Final = 10.0  # seconds after a failure
_MAX_BYTES: Final = 64 * 1024
_TIMEOUT: Final = 20.0


class TokenUnavailable(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """There is no token now. detail: for us. refused: the authorization server does not take the secret."""

    def __init__(self, detail: str, *, refused: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.refused = refused


class TokenRequest(RedactedStruct, frozen=True):
    """The parameters of a request for a token. bounded: a tenant wrote the address, so that only some may be called."""

    REDACTED = ("secret",)

    url: str
    client_id: str
    scope: str
    secret: str
    bounded: bool = False


class _Held(RedactedStruct, frozen=True):
    """A token, or why there is none."""

    REDACTED = ("token",)

    token: str = ""
    failure: TokenUnavailable | None = None


class _TokenResponse(msgspec.Struct):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the RFC's word
    expires_in: float | str | None = None


class AccessTokens:
    """trust_anchors: for https. clock: seconds, never going back. tenants: where requests that are bounded may go.

    load: reads trust anchors by their name. Raises AnchorsError.
    """

    def __init__(
        self,
        resolver: Resolver,
        trust_anchors: str = "system",
        clock: Callable[[], float] = time.monotonic,
        tenants: AddressPolicy = PUBLIC_ADDRESSES,
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        self._held: Cache[TokenRequest, _Held] = Cache(_KEPT, clock)
        self._fetches: Shared[TokenRequest, _Held] = Shared()

        def client(*, bounded: bool) -> HttpClient:
            context = https_context(load(trust_anchors))
            return HttpClient(resolver, context, tenants if bounded else None)

        self._client = lru_cache(2)(client)

    def client(self, bounded: bool) -> HttpClient:  # noqa: FBT001 - as `TokenRequest.bounded`
        """The client that asks the authorization servers, for those who ask another server with a token.

        bounded: it calls only addresses that tenants may reach. Raises AnchorsError.
        """
        return self._client(bounded=bounded)

    async def token(self, request: TokenRequest) -> str:
        """A token that is good for a minute at least. Raises TokenUnavailable.

        Who asks while one is fetched waits for the same; after a failure nobody asks again for some seconds.
        """
        held = self._held.get(request)
        if held is None:
            held = await self._fetches.result(request, lambda: self._fetch(request), "access token")
        if held.failure is not None:
            raise TokenUnavailable(held.failure.detail, refused=held.failure.refused)
        return held.token

    def forget(self, request: TokenRequest, token: str) -> None:
        """A smart host did not take this token: fetch another for the next log-in."""
        held = self._held.get(request)
        if held is not None and held.token == token:
            self._held.drop(request)

    def reload(self) -> None:
        """Take other trust anchors when they are next needed."""
        self._client.cache_clear()

    async def close(self) -> None:
        """Stop whatever is still being fetched."""
        await self._fetches.close()

    async def _fetch(self, request: TokenRequest) -> _Held:
        try:
            token, seconds = await self._request_token(request)
        except TokenUnavailable as failure:
            held, kept = _Held(failure=failure), _RETRY
        else:
            held, kept = _Held(token), seconds - _EARLY
        self._held.put(request, held, kept, 1)
        return held

    async def _request_token(self, request: TokenRequest) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", "client_id": request.client_id, "client_secret": request.secret}
        body = urlencode(form | ({"scope": request.scope} if request.scope else {})).encode()
        http_request = HttpRequest(
            request.url,
            limit=_MAX_BYTES,
            timeout=_TIMEOUT,
            body=body,
            content_type="application/x-www-form-urlencoded",
            accept="application/json",
            private=not request.bounded,
        )
        try:
            response = await self._client(bounded=request.bounded).fetch(http_request)
            answer = from_json(response.body, _TokenResponse, strict=False)
        except AnchorsError as error:
            raise TokenUnavailable(f"{request.url}: the trust anchors cannot be read: {error}") from error
        except HttpFailed as failed:
            refused = failed.status in {400, 401, 403}
            raise TokenUnavailable(failed.detail, refused=refused) from failed
        except msgspec.MsgspecError:
            raise TokenUnavailable(f"{request.url}: the answer has no access_token in JSON") from None
        token = answer.access_token
        if answer.token_type.lower() != "bearer" or not token or not token.isascii() or not token.isprintable():
            raise TokenUnavailable(f"{request.url}: the answer has no bearer token")
        if len(token) > TOKEN_OCTETS:
            raise TokenUnavailable(f"{request.url}: the token has more than {TOKEN_OCTETS} octets")
        return token, _seconds(answer.expires_in)


def _seconds(expires_in: float | str | None) -> float:
    """How long a token lives."""
    try:
        seconds = float(expires_in) if expires_in is not None else _USUAL
    except ValueError:
        seconds = _USUAL
    return min(seconds, _LONGEST) if seconds > 0 else 0.0
