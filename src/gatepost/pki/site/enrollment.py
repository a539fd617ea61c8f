"""Enroll nodes of a site: check requests, issue certificates, and limit guessing. No HTTP.

Used by `node.site_host`. How often somebody may ask is decided here, whether the answer is yes by `pki.site.site`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.net.listener import source_of
from gatepost.pki.site.records import JoinRefused, NodeGrant, SiteError, SiteRefusal
from gatepost.pki.site.site import Site, read_secret
from gatepost.protocols.message.header_text import shown_text
from gatepost.store.interface import StoreFailure

FAILURES: Final = 10
"""Refusals that one source address gets in a period; then it is refused unheard."""
PERIOD: Final = 60.0
"""Seconds."""
_SOURCES: Final = 10_000
_SHOWN: Final = 300  # characters of a reason, which repeats what was asked for

_log = logging.getLogger(__name__)


class EnrollmentRequest(msgspec.Struct, frozen=True):
    """The content of a request. token: the secret part, to join; "" to renew."""

    request: str
    token: str = ""


class EnrollmentService:
    """site: decides. lifetime: of the certificates given, seconds."""

    def __init__(self, site: Site, lifetime: float) -> None:
        self._site = site
        self._lifetime = lifetime
        self._refused: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def answer(self, what: str, body: bytes, source: str, chain: Sequence[bytes], now: float) -> NodeGrant:
        """Answer a request. what: "join" or "renew". source: IP address. chain: as presented, DER.

        Raises JoinRefused, after logging it; of requests beyond the limit only the first is logged.
        """
        counted = source_of(source)
        try:
            self._limit(counted, now)
            node_grant = self._given(what, body, chain, now)
        except JoinRefused as refused:
            if self._count(counted, now) <= FAILURES + 1:  # who goes on does not fill the log
                why = shown_text(str(refused), _SHOWN)
                _log.warning("site: %s from %s was refused (%s): %s", what, source, refused.reason, why)
            raise
        except (SiteError, StoreFailure) as failure:
            _log.error("site: %s from %s could not be answered: %s", what, source, failure)
            raise JoinRefused(SiteRefusal.BUSY, str(failure)) from failure
        _log.info("site: %s from %s: %s has a new certificate", what, source, node_grant.node)
        return node_grant

    def _given(self, what: str, body: bytes, chain: Sequence[bytes], now: float) -> NodeGrant:
        try:
            enrollment_request = from_json(body, EnrollmentRequest)
            request = enrollment_request.request.encode("ascii")
        except (msgspec.DecodeError, UnicodeError) as error:
            raise JoinRefused(SiteRefusal.REQUEST, f"the request cannot be read: {error}") from error
        if what == "join":
            return self._site.join(read_secret(enrollment_request.token), request, lifetime=self._lifetime, now=now)
        return self._site.renew(chain, request, lifetime=self._lifetime, now=now)

    def _limit(self, source: str, now: float) -> None:
        begun, count = self._refused.get(source, (now, 0))
        if count >= FAILURES and now - begun < PERIOD:
            raise JoinRefused(SiteRefusal.BUSY, "it was refused too many times")

    def _count(self, source: str, now: float) -> int:
        begun, count = self._refused.pop(source, (now, 0))
        self._refused[source] = (begun, count + 1) if now - begun < PERIOD else (now, 1)
        if len(self._refused) > _SOURCES:
            self._refused.popitem(last=False)
        return self._refused[source][1]
