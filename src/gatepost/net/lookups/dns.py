"""DNS questions and their answers, with the answer's authenticity beside the data.

Used by all that looks something up; made by `net.lookups.configured`. An asker (`net.lookups.nameservers` or
`net.lookups.validator`) gets the answer; here it is read along its CNAMEs and remembered, equal questions are asked
once, and what could not be learnt is said. What a missing record means is never decided here.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import msgspec

from gatepost.events.metrics.catalogue import DNS_LOOKUPS, DNS_SECONDS
from gatepost.events.metrics.counts import Counts
from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.question import UNREAD, LookupFailed, name_text, question_text
from gatepost.net.places import FairPlaces
from gatepost.net.shortage import shortage
from gatepost.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from dns.rdata import Rdata
    from dns.rdtypes.ANY.SOA import SOA

    from gatepost.net.lookups.question import DnsResponse, DnsTransport, Question


_MAX_RECORDS = 50
_MAX_TLSA = 100  # as many as `protocols.dane.tlsa` judges
_MAX_CNAMES = 10
_MAX_TTL = 3600
_CONCURRENT = 100  # questions at a time; who sends chooses nameservers that keep silent, too
_STRANGERS = 50  # of these, that messages of strangers make us ask: they choose nameservers that keep silent
_STRANGERS_WAIT = 1000  # more of their questions, with those under way, fail at once
_CACHE_OCTETS = 2 << 20  # of answers as received and as text; parsed they take about ten times as much


asking_for: ContextVar[str] = ContextVar("asking_for", default="")
"""The organization whose mail the questions of a task are for, "" for none; set by who tries it (`mail.outbound`)."""


class DnsStatus(StrEnum):
    """The meaning of a complete answer (RFC 2308 section 1)."""

    OK = "ok"
    NO_DATA = "no-data"  # the name exists, but not with this type
    NXDOMAIN = "nxdomain"  # neither the name nor anything below it exists (RFC 8020)


class DnsAnswer(msgspec.Struct, frozen=True):
    """The records of one name and type.

    records: at most 50, empty unless the status is OK; of type TLSA at most 100, as unparsed octets
    (`GenericRdata`), with left_out telling how many more there were. authentic: DNSSEC proved this answer, negative
    ones too, as the asker found out. ttl: seconds the answer may be kept, as received, at most 3600. names: the name
    asked for, then each CNAME target in turn; the last one owns the records. Lower-case A-labels without trailing dot.
    zone_ttl: seconds that the zone gives the records, as their signature says (RFC 4034 section 3.1.4); 0 if not known.
    """

    status: DnsStatus
    records: tuple[Rdata, ...]
    authentic: bool
    ttl: int
    names: tuple[str, ...]
    left_out: int = 0
    zone_ttl: int = 0

    @property
    def canonical(self) -> str:
        """The name that owns the records, after all CNAMEs."""
        return self.names[-1]


class DnssecFault(msgspec.Struct, frozen=True):
    """DNSSEC validation does not work for any domain, as the answer about the root shows, which is signed.

    detail: what was answered, for us. stops_mail: all answers are refused; False: none is validated, so that DANE
    protects no mail.
    """

    detail: str
    stops_mail: bool


class Resolver:
    """Answers to questions, by asking `asker` what is not remembered. counts: questions and how long answers took."""

    def __init__(self, asker: DnsTransport, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._asker = asker
        self._cache: Cache[Question, DnsAnswer] = Cache(_CACHE_OCTETS, clock)
        self._running: dict[tuple[Question, bool, str], asyncio.Task[DnsAnswer | LookupFailed]] = {}
        self._places = FairPlaces(_CONCURRENT)
        self._strangers = asyncio.Semaphore(_STRANGERS)
        self._by_strangers = 0  # of those that run
        self._clock = clock
        self.failing = False  # nothing was answered since a question failed for another reason than DNSSEC
        self.in_doubt = (
            False  # an answer was refused for DNSSEC's sake, or was not proven, since the root was asked for
        )
        self._faulty = False  # as far as is known
        self.unvalidated = ""  # why no answer is validated, as far as is known
        self.on_forget: list[Callable[[], object]] = []
        self.counts = Counts()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def validation(self) -> str:
        """A sentence about who validates DNSSEC, for the log."""
        return self._asker.validation

    @property
    def dane_off(self) -> str:
        """The reason why no answer is ever authentic, and DANE therefore off, and what to do; "" if some may be."""
        return self._asker.dane_off

    async def validation_missing(self, name: str = ".") -> str:
        """`dane_off`, or that no resolver validates: the answer about `name`, which is signed, is not called authentic.

        "" if DANE works. Raises LookupFailed.
        """
        if self.dane_off or (await self.query(name, "SOA")).authentic:
            return self.dane_off
        return self._asker.unproven(name)

    async def dnssec_fault(self, domain: str = "") -> DnssecFault | None:
        """The fault of DNSSEC validation itself, as the root is answered now; None without one, or if none is known.

        domain: whose MX records are not proven, and were before: if they are by now, that was not its own doing either.
        Where the settings believe nobody about DNSSEC (`dane_off`) that is no fault; and a resolver that does not know
        the root says nothing of it. Once a fault is over, all that is remembered from before is forgotten.
        """
        fault = await self._root_fault()
        if fault is None and self._faulty:
            self.forget()
        self._faulty = self.in_doubt = fault is not None
        self.unvalidated = fault.detail if fault is not None and not fault.stops_mail else ""
        if fault is None and domain:
            return await self._stale(domain)
        return fault

    async def _root_fault(self) -> DnssecFault | None:
        try:
            root = await self.query(".", "SOA", fresh=True)
        except LookupFailed as failed:
            return DnssecFault(failed.detail, stops_mail=True) if failed.bogus else None
        if self.dane_off or root.authentic or root.status is not DnsStatus.OK:
            return None
        return DnssecFault(self._asker.unproven("."), stops_mail=False)

    async def _stale(self, domain: str) -> DnssecFault | None:
        try:
            answer = await self.query(domain, "MX", fresh=True)
        except LookupFailed as failed:
            return DnssecFault(failed.detail, stops_mail=False)
        if not answer.authentic:
            return None
        self.forget()
        return DnssecFault(f"what was remembered of {domain} was not validated", stops_mail=False)

    def forget(self) -> None:
        """Forget all answers, here and where they are kept ready for use (`on_forget`): others are to be had now."""
        self._cache.clear()
        for work in self.on_forget:
            work()

    async def trouble(self, name: str) -> str:
        """The reason why no nameserver answers now, with each one and its failure; "" if one does. Ignores the cache.

        Looks up the root and `name`, our own: where only local names are served, one of them is enough. A forged answer
        counts as one; its validation is the task of `validation_missing`.
        """
        questions = (_question(name, "A"), _question(".", "SOA"))
        tasks = [spawn(self._failure(question), "dns trouble") for question in questions]
        why = ""
        try:
            for failure in asyncio.as_completed(tasks):
                detail = await failure
                if not detail:
                    return ""
                why = why or detail
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return why

    async def _failure(self, question: Question) -> str:
        """The reason why there is no answer, "" if there is one."""
        try:
            await self._asker.ask(question)
        except LookupFailed as failure:
            return "" if failure.bogus else failure.detail
        return ""

    async def query(self, name: str, rdtype: str, *, fresh: bool = False, stranger: bool = False) -> DnsAnswer:
        """Look up `name` (A-labels, with or without trailing dot) and `rdtype` ("MX", "TLSA", …). Raises LookupFailed.

        fresh: ask whatever is remembered here; the nameserver answers from its own memory all the same, for as long as
        the zone lets it. stranger: somebody whom we do not know chose the name, whose questions wait for no others, and
        no others for them. A question that is already on its way is not sent twice; giving up waiting does not stop
        them.
        """
        question = _question(name, rdtype)
        known = None if fresh else self._cache.get(question)
        if known is not None:
            self._count(rdtype, "cached")
            return known
        key = question, stranger, "" if stranger else asking_for.get()
        task = self._running.get(key) or self._begin(key, rdtype)
        dns_answer = await asyncio.shield(task)
        if isinstance(dns_answer, LookupFailed):
            # A copy for each that waits: a raised exception collects the traceback of its raiser.
            failed = LookupFailed(dns_answer.detail, temporary=dns_answer.temporary, bogus=dns_answer.bogus)
            raise failed from shortage(dns_answer)
        return dns_answer

    def _begin(self, key: tuple[Question, bool, str], rdtype: str) -> asyncio.Task[DnsAnswer | LookupFailed]:
        """Raises LookupFailed if strangers ask too much."""
        question, stranger, organization = key
        if stranger and self._by_strangers >= _STRANGERS_WAIT:
            raise LookupFailed(f"{question_text(question)}: too many questions about senders wait for their answers")
        find = self._find_for_stranger(question, rdtype) if stranger else self._find(question, rdtype, organization)
        task = self._running[key] = spawn(find, f"dns {question_text(question)}")
        self._by_strangers += stranger

        def ended(_: object) -> None:
            del self._running[key]
            self._by_strangers -= stranger

        task.add_done_callback(ended)
        return task

    def _count(self, rdtype: str, outcome: str) -> None:
        self.counts.add((DNS_LOOKUPS.name, rdtype, outcome))

    async def close(self) -> None:
        """Stop all questions, and the asker; callers that wait for an answer are cancelled."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._asker.close()

    async def _find_for_stranger(self, question: Question, rdtype: str) -> DnsAnswer | LookupFailed:
        async with self._strangers:
            return await self._find(question, rdtype, "")

    async def _find(self, question: Question, rdtype: str, organization: str) -> DnsAnswer | LookupFailed:
        """Ask until there is an answer. A failure is returned, since a task's exception would be logged as a fault."""
        begun = self._clock()
        try:
            async with self._places.place(organization):
                reply = await self._asker.ask(question)
            answer = _read(reply, question)
        except LookupFailed as refused:
            failure = await self._whose(refused, question)
            self._count(rdtype, "bogus" if failure.bogus else "failed")
            self.failing = self.failing or (failure.temporary and not failure.bogus)
            self.in_doubt = self.in_doubt or refused.bogus
            return failure
        self.failing = False
        self.in_doubt = self.in_doubt or not answer.authentic
        self._count(rdtype, str(answer.status))
        self.counts.observe((DNS_SECONDS.name,), DNS_SECONDS.buckets, self._clock() - begun)
        written = sum(len(record.to_text()) for record in answer.records)  # where a name may be a pointer of two octets
        self._cache.put(question, answer, answer.ttl, len(reply.message.wire or b"") + written)
        return answer

    async def _whose(self, failure: LookupFailed, question: Question) -> LookupFailed:
        """The failure; a zone's signatures are not to blame if those of the root do not please the resolver either.

        Asked without a place: who waits here has one, and others wait for theirs.
        """
        if not failure.bogus or question == _ROOT:
            return failure
        try:
            await self._asker.ask(_ROOT)
        except LookupFailed as root:
            if root.bogus:
                return LookupFailed(f"{failure.detail}; so is that about the root, so the resolver is at fault")
        return failure


def _question(name: str, rdtype: str) -> Question:
    try:
        absolute = dns.name.from_text(name.encode("ascii").decode("ascii").lower(), dns.name.root)
        return absolute, dns.rdatatype.from_text(rdtype)
    except UnicodeEncodeError:
        raise LookupFailed(f"{name!a} is not written in A-labels", temporary=False) from None
    except dns.exception.DNSException as error:
        raise LookupFailed(f"{name!a} {rdtype!a} cannot be looked up: {error}", temporary=False) from None


_ROOT = _question(".", "SOA")


def _read(reply: DnsResponse, question: Question) -> DnsAnswer:
    """The answer to `question` in a reply. Raises LookupFailed if its CNAMEs do not end."""
    message = reply.message
    names, ttl, records = _follow(message, question)
    limit = _MAX_TLSA if question[1] == dns.rdatatype.TLSA else _MAX_RECORDS
    left_out = max(0, len(records) - limit) if message.rcode() == dns.rcode.NOERROR else 0
    status = DnsStatus.OK if records else DnsStatus.NO_DATA
    if message.rcode() == dns.rcode.NXDOMAIN:
        status, records = DnsStatus.NXDOMAIN, ()
    if status is not DnsStatus.OK:
        ttl = min(ttl, _negative_ttl(message))
    whole = _zone_ttl(message, (names[-1], question[1])) if records else 0
    return DnsAnswer(status, records[:limit], reply.authentic, ttl, tuple(map(name_text, names)), left_out, whole)


def _follow(message: dns.message.Message, question: Question) -> tuple[list[dns.name.Name], int, tuple[Rdata, ...]]:
    """Walk the answer section from the name in the question along CNAMEs to the records (RFC 1034 section 3.6.2)."""
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
    raise LookupFailed(f"{name_text(name)}: more than {_MAX_CNAMES} CNAMEs in a row")


def _zone_ttl(message: dns.message.Message, question: Question) -> int:
    """The time to live that was signed; what a nameserver gives from its memory is less. 0 if it gives no signature."""
    name, rdtype = question
    signed = message.get_rrset(dns.message.ANSWER, name, dns.rdataclass.IN, dns.rdatatype.RRSIG, covers=rdtype)
    return max((int(signature.original_ttl) for signature in signed), default=0) if signed else 0


def _negative_ttl(message: dns.message.Message) -> int:
    """Seconds for which a missing record is cached (RFC 2308 section 5); 0 if the zone's SOA is not given."""
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            soa: SOA = rrset[0]
            return min(rrset.ttl, soa.minimum)
    return 0
