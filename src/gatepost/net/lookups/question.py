"""DNS questions and responses as values, and the transport interface that `net.lookups.dns` uses.

The askers are `net.lookups.nameservers`, which believes others about DNSSEC, and `net.lookups.validator`, which
validates itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import dns.message
import dns.name
import dns.rdatatype
import dns.wire
import msgspec

UNREAD = dns.rdatatype.RdataType.make(65333)
"""The type (for private use, RFC 6895) under which an answer to a TLSA question holds its records, as they came."""

# Parsing takes about 30 us a record, and the event loop, where mail waits, does nothing else meanwhile.
_MAX_RECORDS = 1500  # of all sections of a message
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
    """The message, with TLSA records under the type UNREAD if the question is for them.

    Of them the parser shall read nothing: a record that makes no sense to it would make it refuse the whole message,
    and the domain could get no mail; but to DANE such a record is merely unusable (RFC 6698 section 4.1). Raises
    DNSException or ValueError.
    """
    if why := excess(wire, rdtype):
        raise ValueError(why)
    return dns.message.from_wire(_with_unread_tlsa(wire) if rdtype == dns.rdatatype.TLSA else wire)


def excess(wire: bytes, rdtype: dns.rdatatype.RdataType) -> str:
    """The reason why an answer is not parsed, "" if it is: a zone's owner could keep us busy with nothing but it."""
    records = sum(int.from_bytes(wire[at : at + 2]) for at in (6, 8, 10))
    if records > _MAX_RECORDS:
        return f"{records} records, more than the {_MAX_RECORDS} that are read"
    if rdtype == dns.rdatatype.TXT and len(wire) > _MAX_TEXT:
        return f"{len(wire)} octets, more than the {_MAX_TEXT} that are read of a text"
    return ""


def _with_unread_tlsa(wire: bytes) -> bytes:
    parser = dns.wire.Parser(wire)
    counts: Sequence[int] = parser.get_struct("!HHHHHH")
    for _ in range(counts[2]):
        parser.get_name(decompress=True)
        parser.get_struct("!HH")
    changed = bytearray(wire)
    for _ in range(counts[3]):
        parser.get_name(decompress=True)
        start = parser.current
        rdtype, _, _, size = parser.get_struct("!HHIH")
        parser.get_bytes(size)
        if rdtype == dns.rdatatype.TLSA:
            changed[start : start + 2] = UNREAD.to_bytes(2)
    return bytes(changed)
