"""DNS questions to the configured recursive nameservers, with the answer's authenticity beside the data.

Used by `lookup.mx` (later by `lookup.tlsa` and `lookup.mtasts`). The nameserver recurses, follows CNAMEs and validates
DNSSEC; this stub asks, checks, remembers and says what it could not learn. It never decides what a missing record
means.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from gatepost.lookup.cache import Cache
from gatepost.lookup.nameserver import UNREAD, Nameserver, NameserverFailed
from gatepost.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dns.rdata import Rdata
    from dns.rdtypes.ANY.SOA import SOA

__all__ = ["Answer", "LookupFailed", "Resolver", "Status"]

_MAX_RECORDS = 50
_MAX_TLSA = 100  # as many as `dane.tlsa` judges
_MAX_CNAMES = 10
_MAX_TTL = 3600
_PAYLOAD = 1232  # octets over UDP that no path fragments
_CONCURRENT = 100  # questions at a time, each with a socket
_CACHE_OCTETS = 2 << 20  # of answers as received; parsed they take about ten times as much

# Extended DNS errors of an answer that is there, but not proven (RFC 8914 section 4).
_BOGUS = frozenset({6, 7, 8, 9, 10, 11, 12, 25})
_SHOWN = 200  # characters of what a nameserver explains

type _Question = tuple[dns.name.Name, dns.rdatatype.RdataType]


class LookupFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The question could not be answered.

    temporary: a later try may succeed. detail: for us, never on the wire. bogus: there is an answer, but DNSSEC says
    that it is forged or badly signed; that is no "no record" (RFC 4035 section 5.5).
    """

    def __init__(self, detail: str, *, temporary: bool = True, bogus: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.temporary = temporary
        self.bogus = bogus


class Status(StrEnum):
    """What a complete answer says (RFC 2308 section 1)."""

    OK = "ok"
    NO_DATA = "no-data"  # the name exists, but not with this type
    NXDOMAIN = "nxdomain"  # neither the name nor anything below it exists (RFC 8020)


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type.

    records: at most 50, empty unless the status is OK; of type TLSA at most 100, as octets that nobody has looked at
    (`GenericRdata`), with left_out telling how many more there were. authentic: a trusted nameserver says that DNSSEC
    proved this answer, negative ones too. ttl: seconds the answer may be kept, as received, at most 3600. names: the
    name asked for, then each CNAME target in turn; the last one owns the records. Lower-case A-labels without trailing
    dot.
    """

    status: Status
    records: tuple[Rdata, ...]
    authentic: bool
    ttl: int
    names: tuple[str, ...]
    left_out: int = 0

    @property
    def canonical(self) -> str:
        """The name that owns the records, after all CNAMEs."""
        return self.names[-1]


class Resolver:
    """A stub resolver over one or more recursive nameservers, asked in order.

    nameservers: "ADDRESS", "ADDRESS:PORT" or "[V6ADDRESS]:PORT". timeout: seconds for one question to one nameserver.
    attempts: rounds through all nameservers. trust_ad: believe the AD bit of nameservers on loopback and of those in
    `trusted` (addresses without port); of others never: the way to them is not protected (RFC 6840 section 5.8). While
    one is believed, the others are not asked: a name whose signatures are wrong would come from them as if it had none.
    Raises ValueError if there is no nameserver or one cannot be parsed.
    """

    def __init__(
        self,
        nameservers: Sequence[str],
        *,
        timeout: float = 5.0,
        attempts: int = 2,
        trust_ad: bool = False,
        trusted: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not nameservers:
            raise ValueError("no nameserver is given")
        self.nameservers = tuple(_with_trust(Nameserver.parse(text), trust_ad, trusted) for text in nameservers)
        believed = tuple(nameserver for nameserver in self.nameservers if nameserver.trusted)
        self._asked = believed or self.nameservers
        self._trust_ad = trust_ad
        self._timeout = timeout
        self._attempts = attempts
        self._cache: Cache[_Question, Answer] = Cache(_CACHE_OCTETS, clock)
        self._running: dict[_Question, asyncio.Task[Answer | LookupFailed]] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT)

    @property
    def dane_off(self) -> str:
        """Why no answer is ever authentic, and DANE therefore off, with what to do about it; "" if some may be."""
        if self._asked[0].trusted:
            return ""
        if not self._trust_ad:
            return "DANE is off: dns.trust_ad is false, so that no nameserver is believed about DNSSEC"
        named = ", ".join(str(nameserver) for nameserver in self.nameservers)
        return (
            f"DANE is off: no nameserver is on this machine ({named}), and who stands on the way could set the AD bit; "
            "run a resolver that validates DNSSEC here, and name 127.0.0.1 or ::1 in dns.nameservers"
        )

    async def validation_missing(self, name: str = ".") -> str:
        """`dane_off`, or that the nameservers do not validate: they do not call `name`, which is signed, authentic.

        "" if DANE works. Raises LookupFailed.
        """
        if self.dane_off or (await self.query(name, "SOA")).authentic:
            return self.dane_off
        named = ", ".join(str(nameserver) for nameserver in self._asked)
        return f"DANE is off: {named} does not say that {name!a} is authentic (AD); switch on its DNSSEC validation"

    async def query(self, name: str, rdtype: str) -> Answer:
        """Look up `name` (A-labels, with or without trailing dot) and `rdtype` ("MX", "TLSA", …). Raises LookupFailed.

        Questions that are already on their way are not asked twice; giving up waiting does not stop them.
        """
        question = _question(name, rdtype)
        known = self._cache.get(question)
        if known is not None:
            return known
        task = self._running.get(question)
        if task is None:
            task = spawn(self._find(question), f"dns {name} {rdtype}")
            self._running[question] = task
            task.add_done_callback(lambda _: self._running.pop(question, None))
        found = await asyncio.shield(task)
        if isinstance(found, LookupFailed):
            # A copy for each that waits: a raised exception collects the traceback of its raiser.
            raise LookupFailed(found.detail, temporary=found.temporary, bogus=found.bogus)
        return found

    async def close(self) -> None:
        """Stop all questions; whoever waits for one is cancelled."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, question: _Question) -> Answer | LookupFailed:
        """Ask until somebody answers. The failure is returned, since a task's exception would be logged as a fault."""
        try:
            async with self._slots:
                message, nameserver = await self._ask(question)
            answer = _read(message, question, trusted=nameserver.trusted)
        except LookupFailed as failure:
            return failure
        self._cache.put(question, answer, answer.ttl, len(message.wire or b""))
        return answer

    async def _ask(self, question: _Question) -> tuple[dns.message.Message, Nameserver]:
        """The first complete answer. Raises LookupFailed with the last reason of each nameserver."""
        reasons: dict[Nameserver, str] = {}
        refused: dict[Nameserver, bool] = {}  # those that answered SERVFAIL; whether they said that it is bogus
        for _ in range(self._attempts):
            for nameserver in self._asked:
                try:
                    message = await nameserver.ask(_query(question), self._timeout)
                except NameserverFailed as failure:
                    reasons[nameserver] = str(failure)
                    continue
                if message.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
                    return message, nameserver
                said, bogus = _extended(message)
                reasons[nameserver] = f"nameserver {nameserver} answered {dns.rcode.to_text(message.rcode())}{said}"
                if message.rcode() == dns.rcode.SERVFAIL:
                    refused[nameserver] = bogus
        name, rdtype = question
        asked = f"{_text(name)} {dns.rdatatype.to_text(rdtype)}"
        bogus = any(refused.values()) or await self._bogus(question, refused)
        told = "; DNSSEC validation fails: the answer is forged or badly signed" if bogus else ""
        raise LookupFailed(f"{asked}: {'; '.join(reasons.values())}{told}", bogus=bogus)

    async def _bogus(self, question: _Question, refused: Collection[Nameserver]) -> bool:
        """Whether a nameserver that refused to answer would, did it not have to validate (RFC 4035 section 3.2.2)."""
        query = _query(question)
        query.flags |= dns.flags.CD
        for nameserver in refused:
            if nameserver.trusted:
                try:
                    message = await nameserver.ask(query, self._timeout)
                except NameserverFailed:
                    continue
                return message.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
        return False


def _with_trust(nameserver: Nameserver, trust_ad: bool, trusted: Collection[str]) -> Nameserver:  # noqa: FBT001 - the setting as it is
    believed = trust_ad and (nameserver.loopback or nameserver.host in trusted)
    return Nameserver(nameserver.host, nameserver.port, trusted=believed)


def _question(name: str, rdtype: str) -> _Question:
    try:
        absolute = dns.name.from_text(name.encode("ascii").decode("ascii").lower(), dns.name.root)
        return absolute, dns.rdatatype.from_text(rdtype)
    except UnicodeEncodeError:
        raise LookupFailed(f"{name!a} is not written in A-labels", temporary=False) from None
    except dns.exception.DNSException as error:
        raise LookupFailed(f"{name!a} {rdtype!a} cannot be asked for: {error}", temporary=False) from None


def _query(question: _Question) -> dns.message.Message:
    """A question with a random id that wants to know whether the answer is authentic (RFC 6840 section 5.7)."""
    name, rdtype = question
    query = dns.message.make_query(name, rdtype, payload=_PAYLOAD, want_dnssec=True)
    query.flags |= dns.flags.AD
    return query


def _read(message: dns.message.Message, question: _Question, *, trusted: bool) -> Answer:
    """What `message` says to `question`. Raises LookupFailed if its CNAMEs do not end."""
    names, ttl, records = _follow(message, question)
    limit = _MAX_TLSA if question[1] == dns.rdatatype.TLSA else _MAX_RECORDS
    left_out = max(0, len(records) - limit) if message.rcode() == dns.rcode.NOERROR else 0
    status = Status.OK if records else Status.NO_DATA
    if message.rcode() == dns.rcode.NXDOMAIN:
        status, records = Status.NXDOMAIN, ()
    if status is not Status.OK:
        ttl = min(ttl, _negative_ttl(message))
    authentic = trusted and bool(message.flags & dns.flags.AD)
    return Answer(status, records[:limit], authentic, ttl, tuple(_text(name) for name in names), left_out)


def _follow(message: dns.message.Message, question: _Question) -> tuple[list[dns.name.Name], int, tuple[Rdata, ...]]:
    """Walk the answer section from the name asked for along CNAMEs to the records (RFC 1034 section 3.6.2)."""
    name, rdtype = question
    names, ttl = [name], _MAX_TTL
    held_as = UNREAD if rdtype == dns.rdatatype.TLSA else rdtype
    for _ in range(_MAX_CNAMES):
        records = message.get_rrset(dns.message.ANSWER, names[-1], dns.rdataclass.IN, held_as)
        if records:
            # Nameservers turn the order round; of TLSA records it means nothing, and the same ones are to be judged.
            ordered = sorted(records, reverse=True) if held_as is UNREAD else records
            return names, min(ttl, records.ttl), tuple(ordered)
        alias = message.get_rrset(dns.message.ANSWER, names[-1], dns.rdataclass.IN, dns.rdatatype.CNAME)
        if not alias:
            return names, ttl, ()
        ttl = min(ttl, alias.ttl)
        names.append(alias[0].target)
    raise LookupFailed(f"{_text(name)}: more than {_MAX_CNAMES} CNAMEs in a row")


def _negative_ttl(message: dns.message.Message) -> int:
    """How long a missing record stays missing (RFC 2308 section 5); 0 if the zone's SOA is not given."""
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            soa: SOA = rrset[0]
            return min(rrset.ttl, soa.minimum)
    return 0


def _extended(message: dns.message.Message) -> tuple[str, bool]:
    """What a nameserver says of why it does not answer (RFC 8914), and whether it says that DNSSEC proves a fault."""
    errors = [option for option in message.options if isinstance(option, dns.edns.EDEOption)][:3]
    texts = [f"{error.code.name} {error.text or ''}".strip()[:_SHOWN] for error in errors]
    said = f" ({', '.join(texts)})" if texts else ""
    return ascii(said)[1:-1], any(error.code in _BOGUS for error in errors)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
