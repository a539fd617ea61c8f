"""Query the OCSP responders of authorities, and cache their responses while valid (RFC 6960, RFC 5019).

Used by `net.lookups.revocation`, where a certificate has no list that can be used. Answers are kept in memory alone:
one is requested again in a second, a list is not.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.http import HttpFailed, HttpRequest, bounded
from gatepost.net.revocation import MAX_RESPONSE_BYTES, RevocationError, RevocationStatus, ocsp_request, read_response
from gatepost.net.shortage import shortage
from gatepost.net.tasks import Shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from gatepost.net.lookups.http import HttpClient
    from gatepost.policy.connectors.addresses import AddressPolicy


_RETRY_SECONDS: Final = 60.0  # for which a responder that gave nothing usable gets no further request
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
        self._shared: Shared[bytes, RevocationStatus | RevocationError] = Shared()

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

        status = await self._shared.result(key, work, f"ocsp {url[:80]}")
        if isinstance(status, RevocationError):
            raise RevocationError(str(status))  # a copy for each that waits: it collects its raiser's traceback
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
        fetched = await self._client.fetch(request)
        return read_response(fetched.body, certificate, issuer, now)
