"""DNS questions and responses as values, and the transport interface that `net.lookups.dns` uses.

The askers are `net.lookups.nameservers`, which believes others about DNSSEC, and `net.lookups.validator`, which
validates itself.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import dns.message
import dns.name
import dns.rdatatype
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


UNREAD = dns.rdatatype.RdataType.make(65333)
"""The type (for private use, RFC 6895) under which an answer to a TLSA question holds its records, as they came."""

_UNUSED = dns.rdatatype.RdataType.make(65334)  # for records of which nothing is read
_READ: Final = frozenset(
    map(int, (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.TXT, dns.rdatatype.DS, dns.rdatatype.OPT))
)
_NAMES: Final = {  # where in a record its name begins that makes work; a pointer leads to it in two octets
    int(dns.rdatatype.CNAME): 0,
    int(dns.rdatatype.SOA): 0,  # and another one behind it
    int(dns.rdatatype.PTR): 0,
    int(dns.rdatatype.MX): 2,
    int(dns.rdatatype.RRSIG): 18,
}
# Parsing takes about 30 us a record, and the event loop, where mail waits, does nothing else meanwhile. Of a name it
# makes as many names as it has labels, each of which it reads again: 4 ms for one of 127.
_MAX_RECORDS = 1500  # of all sections of a message
_MAX_WORK: Final = 400_000  # sum of the squares of the labels of its names, about 0.1 s
_MAX_LABELS: Final = 128
_POINTER: Final = 0xC0
_MAX_TEXT = 24_576  # octets of an answer about TXT, in which each octet may be a string of its own

type Question = tuple[dns.name.Name, dns.rdatatype.RdataType]


class LookupFailed(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The question could not be answered.

    temporary: a later try may succeed. detail: for us, never on the wire. bogus: there is an answer, but DNSSEC says
    that it is forged or badly signed; that is no "no record" (RFC 4035 section 5.5). Its cause is a shortage
    (`net.shortage`) if no nameserver was asked for want of a socket.
    """

    def __init__(self, detail: str, *, temporary: bool = True, bogus: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.temporary = temporary
        self.bogus = bogus


class DnsResponse(msgspec.Struct, frozen=True):
    """A complete answer, NOERROR or NXDOMAIN. authentic: DNSSEC proves it, negative ones too."""

    message: dns.message.Message
    authentic: bool


class DnsTransport(Protocol):
    """Answers one question at a time, and knows which resolver to trust with DNSSEC."""

    @property
    def validation(self) -> str:
        """A sentence about who validates DNSSEC, for the log."""

    @property
    def dane_off(self) -> str:
        """Why no answer is ever authentic, and DANE therefore off, with what to do about it; "" if some may be."""

    def unproven(self, name: str) -> str:
        """The cause why the answer about `name`, which is signed, was not authentic, and what to do about it."""

    async def ask(self, question: Question) -> DnsResponse:
        """The answer, after as many tries as it takes. Raises LookupFailed."""

    async def close(self) -> None:
        """Release all resources; no further question is sent."""


def name_text(name: dns.name.Name) -> str:
    """Lower-case A-labels without trailing dot."""
    return name.to_text(omit_final_dot=True).lower()


def question_text(question: Question) -> str:
    """As people write it: "a.example MX"."""
    return f"{name_text(question[0])} {dns.rdatatype.to_text(question[1])}"


def read_message(wire: bytes, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
    """The message, with TLSA records under the type UNREAD if the question is for them, and without what nobody reads.

    Of TLSA records the parser shall read nothing: a record that makes no sense to it would make it refuse the whole
    message, and the domain could get no mail; but to DANE such a record is merely unusable (RFC 6698 section 4.1). Nor
    of records of types that are not looked at. Raises DNSException or ValueError.
    """
    if why := excess(wire, rdtype):
        raise ValueError(why)
    changed = bytearray(wire)
    with suppress(IndexError):  # what is cut short makes no sense to the parser either
        for record in _records(wire):
            if record.rdtype == dns.rdatatype.TLSA == rdtype:
                changed[record.at : record.at + 2] = UNREAD.to_bytes(2)
            elif record.rdtype not in _NAMES and record.rdtype not in _READ:
                changed[record.at : record.at + 2] = _UNUSED.to_bytes(2)
    return dns.message.from_wire(bytes(changed))


def excess(wire: bytes, rdtype: dns.rdatatype.RdataType) -> str:
    """The reason why an answer is not parsed, "" if it is: a zone's owner could keep us busy with nothing but it."""
    records = sum(int.from_bytes(wire[at : at + 2]) for at in (6, 8, 10))
    if records > _MAX_RECORDS:
        return f"{records} records, more than the {_MAX_RECORDS} that are read"
    if rdtype == dns.rdatatype.TXT and len(wire) > _MAX_TEXT:
        return f"{len(wire)} octets, more than the {_MAX_TEXT} that are read of a text"
    with suppress(IndexError):
        work = 0
        for record in _records(wire):
            work += sum(_labels(wire, name) ** 2 for name in record.names)
            if work > _MAX_WORK:
                return "more names of many labels than are read"
    return ""


class _Record(msgspec.Struct):
    """A record of a message. at: where its type stands. names: where its names begin, its own first."""

    rdtype: int
    at: int
    names: list[int]


def _records(wire: bytes) -> Iterator[_Record]:
    """The records of all sections. Raises IndexError where the message is cut short."""
    end = 12
    for _ in range(int.from_bytes(wire[4:6])):
        end = _name_end(wire, end) + 4
    for _ in range(sum(int.from_bytes(wire[at : at + 2]) for at in (6, 8, 10))):
        own = end
        at = _name_end(wire, own)
        rdtype, data = int.from_bytes(wire[at : at + 2]), at + 10
        end = data + int.from_bytes(wire[at + 8 : data])
        names = [own]
        if (place := _NAMES.get(rdtype)) is not None:
            names.append(data + place)
        if rdtype == dns.rdatatype.SOA:
            names.append(_name_end(wire, data))
        yield _Record(rdtype, at, names)


def _name_end(wire: bytes, at: int) -> int:
    """Where a name ends that begins there (RFC 1035 section 4.1.4). Raises IndexError."""
    while 0 < (size := wire[at]) < _POINTER:
        at += 1 + size
    return at + (1 if not size else 2)


def _labels(wire: bytes, at: int) -> int:
    """How many labels a name has, and pointers on the way to them; the parser takes no more. Raises IndexError."""
    for steps in range(_MAX_LABELS):
        size = wire[at]
        if not size:
            return steps
        at = at + 1 + size if size < _POINTER else (size % _POINTER << 8) + wire[at + 1]
    return _MAX_LABELS
