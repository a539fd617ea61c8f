"""Log the state of the resolver at the start: whether nameservers answer, and who validates DNSSEC.

Called by `node.assembly` in one worker of all.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatepost.net.lookups.question import LookupFailed
from gatepost.settings.model import DnsValidation

if TYPE_CHECKING:
    from gatepost.net.lookups.dns import Resolver
    from gatepost.settings.model import Settings

_log = logging.getLogger(__name__)


async def log_resolver(resolver: Resolver, settings: Settings) -> None:
    """Log whether nameservers answer, and who validates DNSSEC or why DANE is off; a validator here is tried."""
    if trouble := await resolver.trouble(settings.server.hostname):
        _log.critical("NO NAMESERVER ANSWERS, and mail to other domains waits until one does: %s", trouble)
    if resolver.dane_off:
        _log.warning("%s", resolver.dane_off)
        return
    _log.info("%s", resolver.validation)
    if settings.dns.validation is not DnsValidation.LOCAL:
        return
    try:
        missing = await resolver.validation_missing()
    except LookupFailed as failed:
        cause = "signatures are dropped on the way, or dns.trust_anchor_file or the clock is wrong"
        why = cause if failed.bogus else "is the way to the nameservers open?"
        missing = f"DNSSEC could not be tried on the root, and mail may wait for look-ups; {why}: {failed.detail}"
    if missing:
        _log.warning("%s", missing)
