"""A small authoritative DNS server on loopback: answers from a dictionary, over UDP and TCP, and fails on request."""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from gatepost.testing.process import free_port

_FAILURES = ("TIMEOUT", "GARBAGE", "TRUNCATE", "CUT")
_SOA = "ns.test. hostmaster.test. 1 60 60 60 1"


@dataclass(frozen=True, slots=True)
class Query:
    """One question as it came. name: lower case, no final dot. transport: "udp" or "tcp"."""

    name: str
    type: str
    transport: str


class DnsServer:
    r"""A nameserver on loopback, over UDP and TCP, that answers from a dictionary. Use it with `with`.

    records: as {"partner.example MX": ["10 mx.partner.example."], "mx.partner.example A": ["127.0.0.1"]}. A record may
    be octets that make no sense, "\# LENGTH HEXADECIMAL". Names with no record at or below them are NXDOMAIN, others
    without the asked type are empty; CNAMEs are followed. `records` may be changed at any time. failures: "NAME" or
    "NAME TYPE" -> "SERVFAIL", "REFUSED", …, "TIMEOUT" (no answer), "GARBAGE" (no DNS message), "TRUNCATE" (TC over UDP,
    as if the answer were too long) or "CUT" (TC over TCP too). authentic: set AD, as a validating resolver does, except
    for names in `insecure`. ttl: seconds. host, port: where it listens. queries: all questions so far. ValueError for
    a record whose name has no type, and for a failure that there is not.
    """

    def __init__(
        self,
        records: Mapping[str, Sequence[str]],
        *,
        failures: Mapping[str, str] | None = None,
        authentic: bool = False,
        ttl: int = 60,
        host: str = "127.0.0.1",
    ) -> None:
        self.records = {_key(name): list(values) for name, values in records.items()}
        self.failures = {_key(name): _failure(kind) for name, kind in (failures or {}).items()}
        if untyped := [name for name in records if not name.strip().partition(" ")[2]]:
            raise ValueError(f"{untyped[0]!r} is a name without a type, such as {untyped[0]} A")
        self.insecure: set[str] = set()
        self.authentic = authentic
        self.ttl = ttl
        self.queries: list[Query] = []
        self.host = host
        self.port = free_port()
        self._servers: list[socketserver.BaseServer] = []
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()

    @property
    def address(self) -> str:
        """Host and port, as `dns.nameservers` takes them."""
        return f"{self.host}:{self.port}"

    def set(self, name_and_type: str, *values: str) -> None:
        """Replace the records of one name and type; no values removes them."""
        if values:
            self.records[_key(name_and_type)] = list(values)
        else:
            self.records.pop(_key(name_and_type), None)

    def start(self, *, daemon: bool = False) -> Self:
        """Answer from now on. daemon: until the process ends."""
        self._ending.clear()
        self._servers = [_Udp(self), _Tcp(self)]
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), name="dns", daemon=daemon)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Answer no more."""
        self._ending.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(10)
        self._servers, self._threads = [], []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """The answer to one message; None: stay silent."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name = question.name.to_text().lower().rstrip(".")  # "" for the root
        kind = dns.rdatatype.to_text(question.rdtype)
        self.queries.append(Query(name, kind, transport))
        failure = self.failures.get(f"{name} {kind}") or self.failures.get(name)
        if failure == "TIMEOUT":
            return None
        if failure == "GARBAGE":
            return b"\x00" * 7
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if failure == "CUT" or (failure == "TRUNCATE" and transport == "udp"):
            response.flags |= dns.flags.TC | (dns.flags.AD if self.authentic else 0)
        elif failure and failure != "TRUNCATE":
            response.set_rcode(dns.rcode.from_text(failure))
        else:
            self._fill(response, name, kind, query)
        return _wire(response, query, transport)

    def _fill(self, response: dns.message.Message, name: str, kind: str, query: dns.message.Message) -> None:
        del query
        if self.authentic and name not in self.insecure:
            response.flags |= dns.flags.AD
        for _ in range(16):
            alias = self.records.get(f"{name} CNAME")
            if alias is None or kind == "CNAME":
                break
            response.answer.append(dns.rrset.from_text_list(f"{name}.", self.ttl, "IN", "CNAME", alias))
            name = alias[0].rstrip(".").lower()
        values = self.records.get(f"{name} {kind}")
        if values:
            response.answer.append(_records(name, self.ttl, kind, values))
            return
        if not any(f".{key.partition(' ')[0]}".endswith(f".{name}") for key in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(dns.rrset.from_text(f"{name}.", 1, "IN", "SOA", _SOA))


class _Nothing(dict[str, str]):
    """Failures of every name but the root, which is told not to be there: that is an answer too."""

    def get(self, key: str, default: Any = None) -> str:
        del default
        return "SERVFAIL" if key.partition(" ")[0] else "NXDOMAIN"


@cache
def knows_nothing() -> str:
    """The address of a name server for gateways that need none: it answers, and knows no name.

    One for all tests of a process, with which it ends.
    """
    server = DnsServer({})
    server.failures = _Nothing()
    server.start(daemon=True)
    return server.address


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True

    def __init__(self, owner: DnsServer) -> None:
        self.owner = owner
        super().__init__((owner.host, owner.port), _UdpHandler)


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, owner: DnsServer) -> None:
        self.owner = owner
        super().__init__((owner.host, owner.port), _TcpHandler)


class _UdpHandler(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, listener = self.request
        answer = self.server.owner.answer(wire, "udp")
        if answer is not None:
            listener.sendto(answer, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    server: _Tcp
    timeout = 10

    def handle(self) -> None:
        try:
            while len(head := self.rfile.read(2)) == 2:
                answer = self.server.owner.answer(self.rfile.read(struct.unpack("!H", head)[0]), "tcp")
                if answer is None:
                    time.sleep(0.2)
                    return
                self.wfile.write(struct.pack("!H", len(answer)) + answer)
        except OSError:
            return


def _wire(response: dns.message.Message, query: dns.message.Message, transport: str) -> bytes:
    """On the wire; cut short with TC if it is larger than the client takes over UDP."""
    limit = 65535 if transport == "tcp" else max(512, query.payload)
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        short = dns.message.make_response(query)
        short.flags = response.flags | dns.flags.TC
        return short.to_wire()


def _records(name: str, ttl: int, kind: str, values: Sequence[str]) -> dns.rrset.RRset:
    """Dnspython refuses to read what makes no sense: as octets it takes it."""
    records = dns.rrset.from_text_list(f"{name}.", ttl, "IN", kind, [value for value in values if value[:2] != "\\#"])
    for value in values:
        if value[:2] == "\\#":
            data = bytes.fromhex("".join(value.split()[2:]))
            records.add(dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.from_text(kind), data), ttl)
    return records


def _failure(kind: str) -> str:
    if kind not in _FAILURES and kind not in dns.rcode.Rcode.__members__:
        raise ValueError(f"{kind!r} is no failure: there are {', '.join(_FAILURES)} and the codes of DNS")
    return kind


def _key(text: str) -> str:
    """A name and a type in the form that look-ups use."""
    name, _, kind = text.partition(" ")
    return f"{name.rstrip('.').lower()} {kind.upper()}".strip()
