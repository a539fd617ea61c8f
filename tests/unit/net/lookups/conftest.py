"""A nameserver on loopback that answers from a table, over UDP and TCP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

SOA = "ns.example. hostmaster.example. 1 3600 600 86400 {minimum}"


@dataclass
class NameserverDouble(asyncio.DatagramProtocol):
    """`records`: (name, type) → texts of the records; a CNAME is followed as a recursor does.

    A name with no type at all does not exist. `behaviour`: name → "servfail", "silent", "truncated" (over UDP;
    "tcp-truncated" over TCP too), "foreign" (another id, then the true answer), "junk", "no-soa", "other-question",
    "bogus" (SERVFAIL unless asked not to validate), "explained" (SERVFAIL that says that it is bogus). TLSA records are
    "USAGE SELECTOR MATCHING HEX" of any length, also with numbers left out. `insecure`: names whose answers are not
    authentic, whatever the others are.
    """

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    behaviour: dict[str, str] = field(default_factory=dict)
    authentic: bool = False
    ttl: int = 300
    negative_ttl: int = 60
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    flags: list[tuple[bool, bool]] = field(default_factory=list)
    port: int = 0
    insecure: set[str] = field(default_factory=set)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = self._note(query, "udp")
        match self.behaviour.get(name):
            case "silent":
                return
            case "junk" | "junk-only" as behaviour:
                self._transport.sendto(data[:2] + b"\x81\x80" + b"\xff" * 40, addr)
                if behaviour == "junk-only":
                    return
            case "foreign":
                false = dns.message.make_response(dns.message.make_query(name, "A", id=query.id ^ 1))
                self._transport.sendto(b"short", addr)
                self._transport.sendto(false.to_wire(), addr)
            case "other-question":
                other = dns.message.make_response(dns.message.make_query("other.example", "A", id=query.id))
                self._transport.sendto(other.to_wire(), addr)
        answer = self._answer(query)
        if self.behaviour.get(name) in {"truncated", "tcp-closes", "tcp-junk", "tcp-truncated"}:
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.TC
        self._transport.sendto(answer.to_wire(), addr)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2))
        query = dns.message.from_wire(await reader.readexactly(size))
        name = self._note(query, "tcp")
        wire = self._answer(query).to_wire(max_size=65535)
        if self.behaviour.get(name) == "tcp-truncated":
            wire = wire[:2] + bytes([wire[2] | 0x02]) + wire[3:]
        if self.behaviour.get(name) == "tcp-junk":
            wire = b"\xff" * 20
        if self.behaviour.get(name) == "tcp-closes":
            wire = b""
            writer.write(b"\x01")
        writer.write(len(wire).to_bytes(2) + wire if wire else b"")
        writer.close()

    def _note(self, query: dns.message.Message, transport: str) -> str:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype), transport))
        self.flags.append((bool(query.flags & dns.flags.AD), bool(query.ednsflags & dns.flags.DO)))
        return name

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        answer = dns.message.make_response(query, recursion_available=True)
        name = question.name.to_text(omit_final_dot=True).lower()
        if self.authentic and name not in self.insecure:
            answer.flags |= dns.flags.AD
        behaviour = self.behaviour.get(name)
        if behaviour in {"servfail", "explained"} or (behaviour == "bogus" and not query.flags & dns.flags.CD):
            answer.set_rcode(dns.rcode.SERVFAIL)
            if behaviour == "explained":
                why = dns.edns.EDEOption(dns.edns.EDECode.SIGNATURE_EXPIRED, "signature expired\n<a.example. A IN>")
                answer.use_edns(options=[why])
            return answer
        self._follow(answer, question.name, dns.rdatatype.to_text(question.rdtype))
        return answer

    def _follow(self, answer: dns.message.Message, name: dns.name.Name, rdtype: str) -> None:
        for _ in range(15):
            text = name.to_text(omit_final_dot=True).lower()
            if (text, rdtype) in self.records:
                answer.answer.append(_rrset(name, self.ttl, rdtype, self.records[text, rdtype]))
                return
            if (text, "CNAME") not in self.records:
                self._negative(answer, text)
                return
            target = self.records[text, "CNAME"][0]
            answer.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "CNAME", target))
            name = dns.name.from_text(target)

    def _negative(self, answer: dns.message.Message, text: str) -> None:
        if not any(known == text for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if self.behaviour.get(text) != "no-soa":
            soa = SOA.format(minimum=self.negative_ttl)
            answer.authority.append(dns.rrset.from_text("example.", 900, "IN", "SOA", soa))


def _rrset(name: dns.name.Name, ttl: int, rdtype: str, texts: list[str]) -> dns.rrset.RRset:
    if rdtype != "TLSA":
        return dns.rrset.from_text(name, ttl, "IN", rdtype, *texts)
    records = [dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, _octets(text)) for text in texts]
    return dns.rrset.from_rdata(name, ttl, *records)


def _octets(text: str) -> bytes:
    words = text.split()
    return bytes(int(word) for word in words[:3]) + bytes.fromhex("".join(words[3:]))


def _port_for_both() -> tuple[socket.socket, socket.socket]:
    """A port that is free for TCP may be taken for UDP, by any program's question to a nameserver: then another one."""
    for _ in range(50):
        stream = socket.create_server(("127.0.0.1", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(stream.getsockname())
        except OSError:
            stream.close()
            datagrams.close()
        else:
            return stream, datagrams
    raise RuntimeError("no port is free for UDP and TCP alike")


class Serving:
    """Runs a double on a loopback port that is free for UDP and TCP alike."""

    def __init__(self, double: NameserverDouble) -> None:
        self.double = double

    async def __aenter__(self) -> NameserverDouble:
        stream, datagrams = _port_for_both()
        self.double.port = stream.getsockname()[1]
        self._tcp = await asyncio.start_server(self.double.serve_tcp, sock=stream)
        self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self.double, sock=datagrams)
        return self.double

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()


@pytest.fixture
def nameserver() -> Callable[..., Serving]:
    """`async with nameserver(records, behaviour, …) as double:`."""
    return lambda *args, **kwargs: Serving(NameserverDouble(*args, **kwargs))
