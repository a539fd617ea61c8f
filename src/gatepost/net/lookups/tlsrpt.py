"""Look up where a domain wants TLS reports: its TXT record (RFC 8460 section 3).

Called by `analysis.reports.tlsrpt_sending`, `analysis.checks.partner` and `gatepost report send`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.tlsrpt.record import TlsRptRecord, parse_record, record_name

if TYPE_CHECKING:
    from dns.rdtypes.txtbase import TXTBase

    from gatepost.net.lookups.mx import Queries
    from gatepost.protocols.dns.text_record import RecordError


async def report_record(resolver: Queries, domain: str) -> TlsRptRecord | RecordError | None:
    """The record of a domain (A-labels), what is wrong with it, or None if there is none.

    Raises LookupFailed where that is not known now: also where DNSSEC proves the answer wrong.
    """
    try:
        answer = await resolver.query(record_name(domain), "TXT")
    except LookupFailed as failed:
        if failed.temporary or failed.bogus:
            raise
        return None  # the name is too long for the DNS
    return parse_record([cast("TXTBase", record).strings for record in answer.records])
