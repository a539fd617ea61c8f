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


def test_names_and_questions_as_people_write_them() -> None:
    name = dns.name.from_text("MX.A.Example.")
    assert name_text(name) == "mx.a.example"
    assert question_text((name, dns.rdatatype.MX)) == "mx.a.example MX"
