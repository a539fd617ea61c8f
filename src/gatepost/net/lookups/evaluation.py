"""Answer the look-ups of an evaluation (`protocols.dns.lookups`) with the gateway's resolver.

Called by `mail.inbound.authentication`. A forged answer (DNSSEC) is no answer: it fails for now, as any other failure
does, and is never taken for "no record".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from gatepost.net.lookups.dns import DnsStatus, Resolver
from gatepost.net.lookups.question import LookupFailed, name_text
from gatepost.protocols.dns.lookups import DnsRecords, Evaluation, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dns.rdata import Rdata
    from dns.rdtypes.ANY.MX import MX
    from dns.rdtypes.ANY.PTR import PTR
    from dns.rdtypes.IN.A import A
    from dns.rdtypes.txtbase import TXTBase


_NO_NAME: Final = DnsRecords(nxdomain=True)


async def evaluate[T](resolver: Resolver, evaluation: Evaluation[T]) -> T:
    """Run an evaluation of what a sender publishes to its result."""
    try:
        query = next(evaluation)
        while True:
            query = evaluation.send(await look_up(resolver, query, stranger=True))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def look_up(resolver: Resolver, query: Query, *, stranger: bool = False) -> DnsRecords:
    """One answer. What is not a name has no records. stranger: as in `Resolver.query`."""
    try:
        answer = await resolver.query(query.name, query.kind, stranger=stranger)
    except LookupFailed as failure:
        if not failure.temporary and not failure.bogus:
            return _NO_NAME
        why = "DNSSEC validation fails" if failure.bogus else "no answer"
        return DnsRecords(failure=f"{query.kind} of {ascii(query.name)[1:-1]}: {why}")
    nxdomain = answer.status is DnsStatus.NXDOMAIN
    if query.kind == "TXT":
        texts = tuple(b"".join(cast("TXTBase", record).strings) for record in answer.records)
        return DnsRecords(texts=texts, nxdomain=nxdomain)
    return DnsRecords(values=_values(answer.records, query.kind), nxdomain=nxdomain)


def _values(records: Sequence[Rdata], kind: str) -> tuple[str, ...]:
    match kind:
        case "MX":
            hosts = sorted(cast("Sequence[MX]", records), key=lambda host: host.preference)
            return tuple(name_text(host.exchange) for host in hosts)
        case "PTR":
            return tuple(name_text(pointer.target) for pointer in cast("Sequence[PTR]", records))
        case _:
            return tuple(str(record.address) for record in cast("Sequence[A]", records))
