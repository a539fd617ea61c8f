"""Authenticate a complete message of others: SPF, DKIM, DMARC and ARC, for an Authentication-Results field (RFC 8601).

`mail.inbound.transaction` waits for it before the message is answered. Nothing is refused because of a result, and
what cannot be told now is "temperror". The body is hashed as it is read, never joined, whatever its size; look-ups go
to the gateway's resolver, and their number and time have limits.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.lookups.evaluation import evaluate, look_up
from gatepost.pki.certificates.dkim_verification import verify
from gatepost.protocols.arc.chain import MOST_SETS, read_chain, sealed_octets
from gatepost.protocols.dkim.canonical import RelaxedBody, SimpleBody
from gatepost.protocols.dkim.fields import Field, split_fields
from gatepost.protocols.dkim.record import KeyRecord, key_name, parse_record
from gatepost.protocols.dkim.verification import ARC, DKIM, SignatureFault, read_signature, usable_record
from gatepost.protocols.dmarc.discovery import DmarcResult, Identifier, evaluate_dmarc
from gatepost.protocols.dns.lookups import Query
from gatepost.protocols.message.authentication_results import MethodResult, is_plain
from gatepost.protocols.message.authors import author_domains
from gatepost.protocols.spf.evaluation import SpfResult, check_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from gatepost.net.lookups.dns import Resolver
    from gatepost.protocols.dkim.verification import ReceivedSignature
    from gatepost.protocols.smtp.grammar import Path


MOST_SIGNATURES: Final = 10
"""DKIM signatures of one message that are verified, from the top."""
_SECONDS: Final = 15.0  # for SPF, DKIM and ARC, at the same time; then again for DMARC


class Arrival(msgspec.Struct, frozen=True):
    """A message to be authenticated.

    ip, hello: of the client. header: the header section as it came. content: reads the message as it is kept, whose
    body begins behind its first empty line.
    """

    ip: str
    hello: str
    reverse_path: Path
    header: bytes
    content: Callable[[], AsyncIterator[bytes]]


class AuthenticationReport(msgspec.Struct, frozen=True):
    """What was found. chain: of ARC, "none", "pass" or "fail"; "" if that cannot be told now."""

    results: tuple[MethodResult, ...]
    chain: str


class _Digest:
    """The hash and the length of a canonical body."""

    __slots__ = ("hash", "length")

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.length = 0

    def update(self, octets: bytes) -> None:
        self.hash.update(octets)
        self.length += len(octets)


type _Digests = dict[str, _Digest]


class Authenticator(msgspec.Struct, frozen=True):
    """resolver: the gateway's own. clock: seconds since 1970. seconds: the time that each of two steps may take."""

    resolver: Resolver
    clock: Callable[[], float] = time.time
    seconds: float = _SECONDS

    async def authenticate(self, arrival: Arrival) -> AuthenticationReport:
        """All results, in the order of the field. Raises StoreFailure if the message cannot be read."""
        fields = split_fields(arrival.header.removesuffix(b"\r\n"))
        digests = await _digests(arrival, _canonicalizations(fields, self.clock()))
        late = [MethodResult("dkim", "temperror", reason="no answer in time")]
        spf, signatures, chain = await asyncio.gather(
            self._in_time(self._spf(arrival), SpfResult("temperror", "no answer in time")),
            self._in_time(self._dkim(fields, digests), late),
            self._in_time(self._arc(fields, digests), ("", "no answer in time")),
        )
        sender = _sender(arrival)
        dmarc = await self._dmarc(fields, sender.domain, spf, signatures)
        spf_result = MethodResult("spf", spf.result, (sender.property,), spf.why)
        results = [spf_result, *signatures, dmarc]
        if chain[0]:
            results.append(MethodResult("arc", chain[0], (("smtp.remote-ip", arrival.ip),), chain[1]))
        return AuthenticationReport(tuple(results), chain[0])

    async def _in_time[T](self, work: Awaitable[T], late: T) -> T:
        try:
            async with asyncio.timeout(self.seconds):
                return await work
        except TimeoutError:
            return late

    async def _spf(self, arrival: Arrival) -> SpfResult:
        try:
            address = ip_address(arrival.ip.partition("%")[0])
        except ValueError:
            return SpfResult("none", "the client has no IP address")
        sender = _sender(arrival)
        return await evaluate(self.resolver, check_host(address, sender.domain, sender.address, arrival.hello))

    async def _dkim(self, fields: Sequence[Field], digests: _Digests) -> list[MethodResult]:
        signatures = [field for field in fields if field.name == DKIM][:MOST_SIGNATURES]
        if not signatures:
            return [MethodResult("dkim", "none")]
        return list(await asyncio.gather(*(self._signature(field, fields, digests) for field in signatures)))

    async def _signature(self, own: Field, fields: Sequence[Field], digests: _Digests) -> MethodResult:
        properties: tuple[tuple[str, str], ...] = ()
        try:
            signature = read_signature(own, self.clock())
            properties = _properties(signature)
            await self._verify(signature, fields, digests)
        except SignatureFault as fault:
            return MethodResult("dkim", fault.result, properties, str(fault))
        return MethodResult("dkim", "pass", properties)

    async def _verify(self, signature: ReceivedSignature, fields: Sequence[Field], digests: _Digests) -> None:
        digest = digests[signature.body]
        signature.check_body(digest.hash.digest(), digest.length)
        record = await self._key(signature.selector, signature.domain)
        signature.check_key(record)
        verify(record.public_key, signature.algorithm, signature.signed_octets(fields), signature.signature)

    async def _key(self, selector: str, domain: str) -> KeyRecord:
        """Raises SignatureFault."""
        answer = await look_up(self.resolver, Query(key_name(selector, domain), "TXT"), stranger=True)
        if answer.failure:
            raise SignatureFault("temperror", answer.failure)
        return usable_record(parse_record([(text,) for text in answer.texts]))

    async def _arc(self, fields: Sequence[Field], digests: _Digests) -> tuple[str, str]:
        """The state of the chain ("" if it cannot be told now) and why."""
        try:
            sets = read_chain(fields)
            if not sets:
                return "none", ""
            await self._verify(read_signature(sets[-1].message_signature, self.clock()), fields, digests)
            for count, last in reversed(list(enumerate(sets, 1))):
                record = await self._key(last.selector, last.domain)
                verify(record.public_key, last.algorithm, sealed_octets(sets[:count]), last.signature)
        except SignatureFault as fault:
            return ("" if fault.result == "temperror" else "fail"), str(fault)
        return "pass", ""

    async def _dmarc(
        self, fields: Sequence[Field], sender: str, spf: SpfResult, signatures: Sequence[MethodResult]
    ) -> MethodResult:
        values = [field.value.decode("utf-8", "replace") for field in fields if field.name == "from"]
        authors = (author_domains(values[0]) or ()) if len(values) == 1 else ()
        if len(authors) != 1 or authors[0].startswith("["):
            return MethodResult("dmarc", "permerror", reason="the message does not have one author's domain")
        identifiers = [Identifier("spf", sender, spf.result)]
        identifiers += [
            Identifier("dkim", dict(signature.properties).get("header.d", ""), signature.result)
            for signature in signatures
        ]
        result = await self._in_time(
            evaluate(self.resolver, evaluate_dmarc(authors[0], identifiers)),
            DmarcResult("temperror", "", "no answer in time"),
        )
        properties = (("header.from", authors[0]), ("policy.dmarc", result.policy))
        return MethodResult("dmarc", result.result, properties, result.why)


class _Sender(msgspec.Struct, frozen=True):
    """domain, address: that SPF is asked about. property: how the field names it."""

    domain: str
    address: str
    property: tuple[str, str]


def _sender(arrival: Arrival) -> _Sender:
    """The reverse-path, or the name in HELO if it is null (RFC 7208 section 2.4)."""
    path = arrival.reverse_path
    if not path.domain:
        hello = arrival.hello.lower()
        return _Sender(hello, f"postmaster@{hello}", ("smtp.helo", hello))
    plain = path.text if is_plain(path.text) else path.domain
    return _Sender(path.domain, f"{path.local_part}@{path.domain}", ("smtp.mailfrom", plain))


def _properties(signature: ReceivedSignature) -> tuple[tuple[str, str], ...]:
    """Which signature it is; of its value the first 8 characters (RFC 6008)."""
    identity = signature.identity
    return (
        ("header.d", signature.domain),
        ("header.i", identity if is_plain(identity) else f"@{identity.rpartition('@')[2]}"),
        ("header.s", signature.selector),
        ("header.a", signature.algorithm),
        ("header.b", base64.b64encode(signature.signature[:6]).decode("ascii")),
    )


def _canonicalizations(fields: Iterable[Field], now: float) -> set[str]:
    """Those of the body that the signatures have which are verified; of one that cannot be read, none."""
    forms = set()
    left = {DKIM: MOST_SIGNATURES, ARC: MOST_SETS}
    for field in fields:
        if left.get(field.name):
            left[field.name] -= 1
            with suppress(SignatureFault):
                forms.add(read_signature(field, now).body)
    return forms


async def _digests(arrival: Arrival, wanted: Iterable[str]) -> _Digests:
    """The hashes of the body, by canonicalization."""
    digests = {name: _Digest() for name in wanted}
    if not digests:
        return digests
    forms = [(RelaxedBody if name == "relaxed" else SimpleBody)(digest.update) for name, digest in digests.items()]
    head: bytearray | None = bytearray()
    async for chunk in arrival.content():
        body = chunk
        if head is not None:
            head += chunk
            _, empty, body = bytes(head).partition(b"\r\n\r\n")
            if not empty:
                continue
            head = None
        for form in forms:
            form.feed(body)
        await asyncio.sleep(0)  # of a message in memory the chunks come at once
    for form in forms:
        form.finish()
    return digests
