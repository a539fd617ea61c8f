"""The signing keys of an OAuth issuer: fetched on demand, cached, and refreshed.

Used by `mail.inbound.tokens` and `manage.use_cases.trials`. Says which keys there are, or why that cannot be
told now; whether a token is good is not decided here. Whoever sends tokens cannot make it ask more than every few
seconds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, https_context
from gatepost.net.lookups.jwks import IssuerKey, JwksError, parse_jwks, parse_metadata
from gatepost.net.tasks import Shared
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy
from gatepost.policy.connectors.oauth import OauthIssuer, configuration_urls
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.net.lookups.dns import Resolver
    from gatepost.settings.model import Oauth


_FRESH_SECONDS: Final = 3600.0
_ASK_AGAIN_SECONDS: Final = 10.0  # for a key that the issuer did not have just now
_RETRY_SECONDS: Final = 30.0  # after a failure
_SOURCES: Final = 10_000
_MAX_BYTES: Final = 256 * 1024

_log = logging.getLogger(__name__)


class KeysUnavailable(msgspec.Struct, frozen=True):
    """The keys of the issuer are not known now. detail: for us, never on the wire."""

    detail: str


class _Source(msgspec.Struct, frozen=True):
    """A source of keys."""

    issuer: str
    jwks_url: str
    trust_anchors: str
    bounded: bool

    @classmethod
    def of(cls, issuer: OauthIssuer) -> _Source:
        """bounded: a tenant wrote where that is."""
        named = {("issuer", issuer.issuer), ("jwks_url", issuer.jwks_url)}
        bounded = not named.isdisjoint(issuer.ungranted)
        return cls(issuer.issuer, issuer.jwks_url, issuer.trust_anchors, bounded)


class _Held(msgspec.Struct, frozen=True):
    """The keys of a source. fetched, tried: times of the clock. failure: of the last try, "" if it went well."""

    keys: tuple[IssuerKey, ...] = ()
    fetched: float = -math.inf
    tried: float = -math.inf
    failure: str = ""

    def of(self, kid: str) -> tuple[IssuerKey, ...]:
        """The keys of that id; all of them if a token does not say which."""
        return tuple(key for key in self.keys if not kid or key.id == kid)


_NOTHING: Final = _Held()


class IssuerKeys:
    """settings: how to fetch. trust_anchors: for https where an issuer names none. clock: seconds, never going back.

    tenants: which addresses may be called for an issuer that a tenant wrote. load: reads trust anchors by their name;
    raises AnchorsError.
    """

    def __init__(
        self,
        resolver: Resolver,
        settings: Oauth,
        trust_anchors: str = "system",
        clock: Callable[[], float] = time.monotonic,
        tenants: AddressPolicy = PUBLIC_ADDRESSES,
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._since = clock()  # tries before do not count
        self._held: Cache[_Source, _Held] = Cache(_SOURCES, clock)
        self._fetches: Shared[_Source, _Held] = Shared()

        def client(anchors: str, *, bounded: bool) -> HttpClient:
            context = https_context(load(anchors or trust_anchors))
            return HttpClient(resolver, context, tenants if bounded else None)

        self._make_client = client
        self._client = lru_cache(64)(client)

    async def find(self, issuer: OauthIssuer, kid: str) -> tuple[IssuerKey, ...] | KeysUnavailable:
        """The keys of that id, all if it is "". None at all: the issuer has no such key, as fetched just now.

        Keys that cannot be fetched again are used for as long as settings say. Who asks while they are fetched waits
        for the same.
        """
        source = _Source.of(issuer)
        held = self._held.get(source) or _NOTHING
        now = self._clock()
        if now - held.fetched < _FRESH_SECONDS and (known := held.of(kid)):
            return known
        pause = _RETRY_SECONDS if held.failure else _ASK_AGAIN_SECONDS
        if due := held.tried < self._since or now - held.tried >= pause:
            held = await self._fetches.result(source, lambda: self._refresh(source), f"keys of {source.issuer}")
        if now - held.fetched < self._settings.keys_kept and (known := held.of(kid)):
            return known
        if held.failure:
            return KeysUnavailable(held.failure)
        return () if due else KeysUnavailable(f"the issuer's keys were fetched less than {_ASK_AGAIN_SECONDS:g} s ago")

    async def fetch(self, issuer: OauthIssuer) -> tuple[IssuerKey, ...]:
        """The keys as the issuer tells them now, for checks: nothing of it is kept.

        Raises HttpFailed, JwksError or AnchorsError.
        """
        return await self._fetch(_Source.of(issuer))

    def retry(self) -> None:
        """Take other trust anchors, and ask again for what could not be had, without waiting for its time to pass."""
        self._client = lru_cache(64)(self._make_client)  # a thread may be making one by those before
        self._since = self._clock()

    async def close(self) -> None:
        """Stop all fetching."""
        await self._fetches.close()

    async def _refresh(self, source: _Source) -> _Held:
        before = self._held.get(source) or _NOTHING
        try:
            keys = await self._fetch(source)
        except (HttpFailed, JwksError, AnchorsError) as failed:
            detail = str(failed)[:500]
            rest = f"those of {self._clock() - before.fetched:.0f} s ago are used" if before.keys else "there are none"
            _log.warning("keys of the OAuth issuer %s cannot be fetched, %s: %s", source.issuer, rest, detail)
            held = replace(before, tried=self._clock(), failure=detail)
        else:
            held = _Held(keys, self._clock(), self._clock())
        self._held.put(source, held, self._settings.keys_kept, 1)
        return held

    async def _fetch(self, source: _Source) -> tuple[IssuerKey, ...]:
        client = await asyncio.to_thread(
            self._client, source.trust_anchors, bounded=source.bounded
        )  # the system's are many
        try:
            async with asyncio.timeout(self._settings.timeout):
                url = source.jwks_url or await self._discover(client, source.issuer)
                return parse_jwks(await self._get(client, url))
        except TimeoutError:
            said = f"{source.issuer}: no keys within {self._settings.timeout:g} s"
            raise HttpFailed(said, temporary=True) from None

    async def _discover(self, client: HttpClient, issuer: str) -> str:
        connect, plain = configuration_urls(issuer)
        try:
            body = await self._get(client, connect)
        except HttpFailed as failed:
            if failed.status != 404:
                raise
            body = await self._get(client, plain)
        return parse_metadata(body, issuer)

    async def _get(self, client: HttpClient, url: str) -> bytes:
        request = HttpRequest(
            url,
            _MAX_BYTES,
            self._settings.timeout,
            accept="application/json",
            private=self._settings.private_issuers,
        )
        return (await client.fetch(request)).body
