from __future__ import annotations

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from gatepost.net.lookups.question import UNREAD, excess, name_text, question_text, read_message

TLSA = dns.rdatatype.TLSA


def answer(*octets: bytes) -> bytes:
    message = dns.message.make_response(dns.message.make_query("_25._tcp.a.example", "TLSA"))
    alias = dns.rrset.from_text("_25._tcp.a.example.", 60, "IN", "CNAME", "_25._tcp.b.example.")
    records = [dns.rdata.GenericRdata(dns.rdataclass.IN, TLSA, one) for one in octets]
    message.answer += [alias, dns.rrset.from_rdata("_25._tcp.b.example.", 60, *records)]
    return message.to_wire()


def test_tlsa_records_are_left_unread() -> None:
    octets = (b"", b"\x03", b"\x03\x01\x01\x00", b"\x03\x01\x01" + b"\xab" * 32)
    with pytest.raises(dns.exception.FormError):
        dns.message.from_wire(answer(*octets))
    message = read_message(answer(*octets), TLSA)
    owner = dns.name.from_text("_25._tcp.b.example")
    found = message.get_rrset(dns.message.ANSWER, owner, dns.rdataclass.IN, UNREAD)
    assert found is not None
    assert {record.to_generic().data for record in found} == set(octets)
    assert message.answer[0].rdtype == dns.rdatatype.CNAME


@pytest.mark.parametrize("wire", [b"", b"\0" * 11, answer(b"\x03")[:-1], answer(b"\x03")[:40]], ids=len)
def test_what_is_cut_short_makes_no_sense(wire: bytes) -> None:
    with pytest.raises((dns.exception.DNSException, ValueError)):
        read_message(wire, TLSA)


@pytest.mark.parametrize(
    ("counts", "octets", "rdtype", "why"),
    [
        ((1500, 0, 0), 0, dns.rdatatype.MX, ""),
        ((800, 400, 301), 0, dns.rdatatype.MX, "1501 records, more than the 1500 that are read"),
        ((0, 0, 65535), 0, dns.rdatatype.TXT, "65535 records"),
        ((1, 0, 0), 24_576, dns.rdatatype.TXT, ""),
        ((1, 0, 0), 24_577, dns.rdatatype.TXT, "24577 octets, more than the 24576 that are read of a text"),
        ((1, 0, 0), 65_535, TLSA, ""),
    ],
)
def test_what_would_keep_us_busy_is_not_parsed(
    counts: tuple[int, int, int], octets: int, rdtype: dns.rdatatype.RdataType, why: str
) -> None:
    head = b"\0\1\x81\x80\0\1" + b"".join(count.to_bytes(2) for count in counts)
    wire = head.ljust(octets, b"\0")
    assert excess(wire, rdtype).startswith(why)
    assert bool(excess(wire, rdtype)) is bool(why)
    if why:
        with pytest.raises(ValueError, match=why):
            read_message(wire, rdtype)


LONG = dns.name.from_text("a." * 120)
END = LONG.to_wire() or b""
BEHIND = b"\0\0\0\1" * 5  # the numbers of an SOA record


def listed(rdtype: dns.rdatatype.RdataType, count: int, data: bytes, owner: bytes = b"\0") -> bytes:
    """An answer with so many records; the name in its question, at octet 12, has 120 labels."""
    record = owner + rdtype.to_bytes(2) + b"\0\1\0\0\1\x2c" + len(data).to_bytes(2) + data
    return b"\0\1\x81\x80\0\1" + count.to_bytes(2) + b"\0\0\0\0" + END + b"\0\x0f\0\1" + record * count


@pytest.mark.parametrize(
    "wire",
    [
        listed(dns.rdatatype.MX, 30, b"\0\1\xc0\x0c"),
        listed(dns.rdatatype.MX, 30, b"\0\1" + END),
        listed(dns.rdatatype.CNAME, 30, b"\1b\xc0\x0c"),
        listed(dns.rdatatype.PTR, 30, b"\xc0\x0c"),
        listed(dns.rdatatype.SOA, 30, b"\0\xc0\x0c" + BEHIND),
        listed(dns.rdatatype.SOA, 30, b"\xc0\x0c\0" + BEHIND),
        listed(dns.rdatatype.RRSIG, 30, bytes(18) + END + b"s"),
        listed(dns.rdatatype.A, 30, bytes(4), b"\xc0\x0c"),
        listed(dns.rdatatype.NS, 30, b"\0", b"\1b\xc0\x0c"),
        listed(dns.rdatatype.MX, 1500, b"\0\1\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\1a\0"),
    ],
)
def test_names_that_would_keep_us_busy_are_not_parsed(wire: bytes) -> None:
    with pytest.raises(ValueError, match="more names of many labels"):
        read_message(wire, dns.rdatatype.MX)


def test_a_few_long_names_are_read() -> None:
    message = read_message(listed(dns.rdatatype.MX, 20, b"\0\1\xc0\x0c"), dns.rdatatype.MX)
    assert message.answer[0][0].to_text() == f"1 {LONG}"


def test_names_that_lead_in_a_circle_are_refused_at_once() -> None:
    itself = (0xC000 + 12 + len(END) + 4 + 11 + 2).to_bytes(2)
    with pytest.raises(dns.exception.DNSException):
        read_message(listed(dns.rdatatype.MX, 1, b"\0\1" + itself), dns.rdatatype.MX)
    with pytest.raises(ValueError, match="many labels"):
        read_message(listed(dns.rdatatype.MX, 30, b"\0\1" + itself), dns.rdatatype.MX)


@pytest.mark.parametrize("rdtype", [dns.rdatatype.NS, dns.rdatatype.NSEC, dns.rdatatype.SRV, TLSA, dns.rdatatype.TSIG])
def test_records_that_nobody_looks_at_are_not_read(rdtype: dns.rdatatype.RdataType) -> None:
    message = read_message(listed(rdtype, 1, b"\xff" * 9), dns.rdatatype.MX)
    assert message.answer[0][0].to_generic().data == b"\xff" * 9


def test_names_and_questions_as_people_write_them() -> None:
    name = dns.name.from_text("MX.A.Example.")
    assert name_text(name) == "mx.a.example"
    assert question_text((name, dns.rdatatype.MX)) == "mx.a.example MX"
