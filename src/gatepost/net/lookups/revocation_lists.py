"""The CRLs and OCSP responses of authorities: fetched on demand, and kept until they are renewed.

Used by `net.lookups.revocation`. A list belongs to an address and to the key that signed it. Workers of one gateway
share the folder: what one has fetched, the others read.

`Responders` asks OCSP responders, where a certificate has no list that can be used, and keeps their responses while
they are valid, in memory alone: one is requested again in a second, a list is not (RFC 6960, RFC 5019).

What was fetched is everybody's. Nobody waits for a request of another organization, whose questions to nameservers may
have to wait for its other ones, nor for one that may not call the same addresses.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.lookups.cache import Cache, make_room, replace_file
from gatepost.net.lookups.dns import asking_for
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, bounded
from gatepost.net.revocation import (
    MAX_LIST_BYTES,
    MAX_RESPONSE_BYTES,
    RevocationError,
    RevocationList,
    RevocationStatus,
    ocsp_request,
    read_list,
    read_response,
)
from gatepost.net.shortage import shortage
from gatepost.net.tasks import Shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

    from gatepost.policy.connectors.addresses import AddressPolicy


_KEPT: Final = 10_000
_KEPT_SECONDS: Final = 24 * 3600.0
_KEPT_WITHOUT_END: Final = 600.0  # a responder that names no nextUpdate has newer news at any time


class Responders:
    """timeout: seconds for one request. clock: seconds, never going back."""

    def __init__(self, client: HttpClient, *, timeout: float, clock: Callable[[], float]) -> None:
        self._client = client
        self._timeout = timeout
        self._known: Cache[bytes, RevocationStatus] = Cache(_KEPT, clock, share=1)
        self._failed: Cache[tuple[str, AddressPolicy | None] | bytes, str] = Cache(1000, clock, share=1)
        self._shared: Shared[tuple[bytes, AddressPolicy | None, str], RevocationStatus | RevocationError] = Shared()

    async def ask(
        self,
        url: str,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        *,
        now: float,
        reach: AddressPolicy | None,
    ) -> RevocationStatus:
        """Ask the responder at `url` for a certificate's status. Raises RevocationError, which names the address.

        reach: the addresses that may be called, None for any.
        """
        identity = certificate.public_bytes(Encoding.DER) + issuer.public_bytes(Encoding.DER) + url.encode()
        key = hashlib.sha256(identity).digest()
        known = self._known.get(key)
        if known is not None and (not known.until or now < known.until):
            return known
        failure = self._failed.get((url, reach)) or self._failed.get(key)
        if failure is not None:
            raise RevocationError(failure)

        async def work() -> RevocationStatus | RevocationError:
            try:
                return await self._fetch(url, certificate, issuer, now, reach)
            except HttpFailed as failed:
                if not shortage(failed):
                    self._failed.put((url, reach), failed.detail, _RETRY_SECONDS, 1)
                return RevocationError(failed.detail)
            except RevocationError as failed:
                self._failed.put(key, f"{url}: {failed}", _RETRY_SECONDS, 1)
                return RevocationError(f"{url}: {failed}")

        status = await self._shared.result((key, reach, asking_for.get()), work, f"ocsp {url[:80]}")
        if isinstance(status, RevocationError):
            raise RevocationError(str(status))  # a copy for each that waits: it collects its raiser's traceback
        known = self._known.get(key)
        if known is not None and known.since > status.since and (not known.until or now < known.until):
            return known  # another organization was told something newer meanwhile
        left = status.until - now if status.until else _KEPT_WITHOUT_END
        self._known.put(key, status, min(left, _KEPT_SECONDS), 1)
        return status

    def retry(self) -> None:
        """Forget which places gave nothing usable."""
        self._failed.clear()

    async def close(self) -> None:
        """Stop all questions."""
        await self._shared.close()

    async def _fetch(
        self, url: str, certificate: x509.Certificate, issuer: x509.Certificate, now: float, reach: AddressPolicy | None
    ) -> RevocationStatus:
        request = HttpRequest(
            url,
            MAX_RESPONSE_BYTES,
            self._timeout,
            body=ocsp_request(certificate, issuer),
            content_type="application/ocsp-request",
            accept="application/ocsp-response",
            private=reach is None,
            within=bounded(reach),
        )
        fetched = await self._client.fetch(await self._client.located(request))
        return read_response(fetched.body, certificate, issuer, now)


_FETCHED_AGAIN: Final = 24 * 3600.0  # seconds after which a list is renewed, though it says that it holds for longer,
_LIFE: Final = 0.75  # or after this part of the time for which it holds: so an authority may be away at its end
_RETRY_SECONDS: Final = 60.0  # for which an address that gave nothing usable gets no further request
_MEMORY_BYTES: Final = 32 * 1024 * 1024  # of lists as kept: 2.4 million revoked certificates
_DISK_BYTES: Final = 256 * 1024 * 1024
_DISK_FILES: Final = 500
_FETCHES: Final = 8  # at a time, until they are read
_READINGS: Final = 1  # at a time: to read a list takes four times its size
# Of authorities that nobody but tenants trusts: who makes one names as many lists as he likes, and has hosts that keep
# silent, or lists that take seconds to read. Others' lists wait for none of them.
_TENANTS: Final = _FETCHES // 2
_TENANTS_BYTES: Final = 4 * 1024 * 1024

_log = logging.getLogger(__name__)


class _Held(msgspec.Struct, frozen=True):
    """A list and when it was fetched, seconds since 1970."""

    list: RevocationList
    fetched: float

    def fresh(self, now: float) -> bool:
        """Whether it need not be fetched again yet; nothing is, within a minute."""
        life = min(_LIFE * (self.list.next_update - self.fetched), _FETCHED_AGAIN)
        return self.fetched - _RETRY_SECONDS <= now < self.fetched + max(life, _RETRY_SECONDS)

    def holds(self, now: float) -> bool:
        """Whether it says that it still holds."""
        return now < self.list.next_update


type _Key = tuple[str, bytes]
type _Place = tuple[str, bool, AddressPolicy | None, int]


class RevocationLists:
    """folder: where lists are kept over a restart, None for nowhere. timeout: seconds to fetch one.

    clock: seconds, never going back.
    """

    def __init__(self, client: HttpClient, folder: Path | None, *, timeout: float, clock: Callable[[], float]) -> None:
        self._client = client
        self._folder = folder
        self._timeout = timeout
        self._held: Cache[_Key, _Held] = Cache(_MEMORY_BYTES, clock, share=2)
        self._failed: Cache[_Place | _Key, str] = Cache(1000, clock, share=1)
        self._shared: Shared[tuple[_Key, _Place, str], RevocationList | RevocationError] = Shared()
        self._slots = asyncio.Semaphore(_FETCHES)
        self._tenants = asyncio.Semaphore(_TENANTS)
        self._readings = asyncio.Semaphore(_READINGS)
        self._tenants_readings = asyncio.Semaphore(_READINGS)  # of what is on the disk

    async def find(
        self, url: str, issuer: x509.Certificate, *, now: float, reach: AddressPolicy | None, by_tenant: bool = False
    ) -> RevocationList:
        """The list at `url`, verified with the key of `issuer`. Raises RevocationError, which names the address.

        reach: the addresses that may be called, None for any. by_tenant: nobody but tenants trusts the authority.

        Whoever asks for a list that is on its way waits for the same; giving up does not stop it. If no newer one is to
        be had, the one at hand is given for as long as it says that it holds.
        """
        key = url, _key_digest(issuer)
        held = self._held.get(key)
        if held is not None and held.fresh(now):
            return held.list
        request = _request(url, self._timeout, reach, by_tenant=by_tenant)
        place = _place(request)
        failure = self._failed.get(place) or self._failed.get(key)
        if failure is not None:
            if held is not None and held.holds(now):
                return held.list
            raise RevocationError(failure)
        turns = (self._tenants_readings, self._tenants) if by_tenant else (nullcontext(), nullcontext())
        revocation_list = await self._shared.result(
            (key, place, asking_for.get()),
            lambda: self._renew(key, issuer, request, now, turns),
            f"crl {url[:80]}",
        )
        if isinstance(revocation_list, RevocationError):
            raise RevocationError(
                str(revocation_list)
            )  # a copy for each that waits: it collects its raiser's traceback
        return revocation_list

    def retry(self) -> None:
        """Forget which places gave nothing usable."""
        self._failed.clear()

    async def close(self) -> None:
        """Stop all fetching."""
        await self._shared.close()

    async def _renew(
        self,
        key: _Key,
        issuer: x509.Certificate,
        request: HttpRequest,
        now: float,
        turns: tuple[AbstractAsyncContextManager[object], AbstractAsyncContextManager[object]],
    ) -> RevocationList | RevocationError:
        """The newest that disk and network have. The failure is returned: a task's exception is logged as a fault.

        turns: to read and to fetch, of those that share places with it.
        """
        async with turns[0], self._readings:
            kept = await asyncio.to_thread(self._read, key, issuer)
        held = _newer(self._held.get(key), kept)
        failure = None
        if held is None or not held.fresh(now):
            try:
                located = await self._client.located(request)
                async with turns[1]:
                    held = await self._fetch(key, issuer, located, now, held)
            except (HttpFailed, RevocationError) as failed:
                failure = self._note(key, request, failed)
        held = _newer(self._held.get(key), held)  # another organization may have fetched one meanwhile
        if held is not None:
            self._held.put(key, held, 2 * _FETCHED_AGAIN, held.list.size)
        if held is None or (failure is not None and not held.holds(now)):
            return failure or RevocationError("no list")
        return held.list

    async def _fetch(
        self, key: _Key, issuer: x509.Certificate, request: HttpRequest, now: float, held: _Held | None
    ) -> _Held:
        """The list from the network, or the newer one at hand. Raises HttpFailed, RevocationError."""
        async with self._slots:
            fetched = await self._client.fetch(request)
            async with self._readings:
                revocation_list = await asyncio.to_thread(read_list, fetched.body, issuer)
        revocation_list.check_times(now)
        held = _newer(self._held.get(key), held)
        if held is not None and held.list.this_update > revocation_list.this_update:
            return _Held(held.list, now)  # an older one, perhaps replayed by an attacker on the way
        await asyncio.to_thread(self._write, key, fetched.body)
        return _Held(revocation_list, now)

    def _note(self, key: _Key, request: HttpRequest, failed: HttpFailed | RevocationError) -> RevocationError:
        if isinstance(failed, HttpFailed):
            said = failed.detail
            if not shortage(failed):
                self._failed.put(_place(request), said, _RETRY_SECONDS, 1)
        else:
            said = f"{request.url}: {failed}"
            self._failed.put(key, said, _RETRY_SECONDS, 1)
        _log.warning("revocation list: %s", said)
        return RevocationError(said)

    # The folder. A file that cannot be read or written costs a fetch, nothing else.

    def _path(self, key: _Key) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{hashlib.sha256(key[0].encode() + key[1]).hexdigest()}.crl"

    def _read(self, key: _Key, issuer: x509.Certificate) -> _Held | None:
        path = self._path(key)
        if path is None:
            return None
        try:
            if path.stat().st_size > MAX_LIST_BYTES:
                return None
            # Verified as if it came from the network: this folder need not be trusted.
            return _Held(read_list(path.read_bytes(), issuer), path.stat().st_mtime)
        except (OSError, RevocationError):
            return None

    def _write(self, key: _Key, der: bytes) -> None:
        path = self._path(key)
        if path is None or not der:
            return
        try:
            replace_file(path, der)
            make_room(path.parent, files=_DISK_FILES, octets=_DISK_BYTES)  # those go that were fetched longest ago
        except OSError as failure:
            _log.warning("revocation list: %s cannot be kept: %s", path, failure.strerror)


def _request(url: str, timeout: float, reach: AddressPolicy | None, *, by_tenant: bool) -> HttpRequest:
    accept, most = "application/pkix-crl, */*", _TENANTS_BYTES if by_tenant else MAX_LIST_BYTES
    return HttpRequest(url, most, timeout, accept=accept, private=reach is None, within=bounded(reach))


def _place(request: HttpRequest) -> _Place:
    """What cannot be called is not tried again soon, by whoever may call no more, or read no more of it."""
    return request.url, request.private, request.within, request.limit


def _newer(one: _Held | None, other: _Held | None) -> _Held | None:
    """The later list; of the same list, the one fetched later."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda held: (held.list.this_update, held.fetched))


def _key_digest(issuer: x509.Certificate) -> bytes:
    key = issuer.public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(issuer.subject.public_bytes() + der).digest()
