from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.dane.tlsa import (
    MAX_RECORDS,
    MatchingType,
    Records,
    RecordsKind,
    Selector,
    Tlsa,
    TlsaLookup,
    TlsaStatus,
    Unusable,
    Usage,
    classify,
    parse,
)

SHA256, SHA512 = "ab" * 32, "cd" * 64
SHORT = "3003020101"  # a SEQUENCE of one INTEGER
MIDDLE = "308180" + "00" * 128
LONG = "30820100" + "00" * 256
# RFC 6698 section 2.3, digests with their whole length
EXAMPLE_CA = "0 0 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971"
EXAMPLE_KEY = (
    "1 1 2 92003ba34942dc74152e2f2c408d29eca5a520e7f2e06bb944f4dca346baf63c1b177615d466f6c4b71c216a50292bd58c9ebdd2f7"
    "4e38fe51ffd48c43326cbc"
)
EXAMPLE_FULL = "3 0 0 30820307308201efa003020102020"

USABLE = [
    f"3 1 1 {SHA256}",
    f"3 1 2 {SHA512}",
    f"3 0 1 {SHA256}",
    f"3 0 2 {SHA512}",
    f"3 1 0 {SHORT}",
    f"3 0 0 {MIDDLE}",
    f"2 0 0 {LONG}",
    f"2 1 0 {SHORT}",
    f"2 1 1 {SHA256}",
    f"2 0 2 {SHA512}",
]

UNUSABLE = [
    ("", "0 octets of data: too short"),
    ("3", "1 octet of data: too short"),
    ("3 1", "2 octets of data: too short"),
    ("3 1 1", "32 octets, not 0"),
    ("3 1 1 00", "32 octets, not 1"),
    ("3 1 0", "not a whole certificate or key in DER"),
    ("3 1 0 30", "not a whole certificate or key in DER"),
    (EXAMPLE_CA, "usage 0 is not for SMTP"),
    (EXAMPLE_KEY, "usage 1 is not for SMTP"),
    (f"4 1 1 {SHA256}", "usage 4 is not known"),
    (f"255 1 1 {SHA256}", "usage 255 is not known"),
    (f"3 2 1 {SHA256}", "selector 2 is not known"),
    (f"2 255 1 {SHA256}", "selector 255 is not known"),
    (f"3 1 3 {SHA256}", "matching type 3 is not known"),
    (f"3 1 255 {SHA256}", "matching type 255 is not known"),
    (f"3 1 1 {SHA512}", "matching type 1 has 32 octets, not 64"),
    (f"3 1 2 {SHA256}", "matching type 2 has 64 octets, not 32"),
    ("3 0 0 " + "00" * 8, "not a whole certificate"),
    ("3 0 0 3080" + "00" * 8, "not a whole certificate"),  # of indefinite length: BER, not DER
    ("3 0 0 3081", "not a whole certificate"),
    ("3 0 0 308180" + "00" * 127, "not a whole certificate"),
    ("3 0 0 " + SHORT + "00", "not a whole certificate"),
    ("3 0 0 3084" + "ff" * 4, "not a whole certificate"),
    (EXAMPLE_FULL + "0", "not a whole certificate"),  # cut off, as in the RFC
    ("2 0 0 3082" + "4000" + "00" * 16384, "16388 octets of data, 16384 are the most"),
]


def rdata(text: str) -> bytes:
    """RDATA of a record as a zone file has it; fewer than three numbers are that many octets."""
    words = text.split()
    return bytes(int(word) for word in words[:3]) + bytes.fromhex("".join(words[3:]))


@pytest.mark.parametrize("text", USABLE)
def test_what_smtp_can_use(text):
    record = parse(rdata(text))
    assert isinstance(record, Tlsa)
    assert (record.usage, record.selector, record.matching) == tuple(int(word) for word in text.split()[:3])
    assert (type(record.usage), type(record.selector), type(record.matching)) == (Usage, Selector, MatchingType)
    assert record.data == rdata(text)[3:]
    assert str(record) == text or (len(record.data) > 64 and str(record).startswith(text[:60]))


@pytest.mark.parametrize(("text", "reason"), UNUSABLE)
def test_what_it_cannot(text, reason):
    record = parse(rdata(text))
    assert isinstance(record, Unusable)
    assert reason in record.reason
    assert len(str(record)) < 100 + 64


def test_long_data_are_shown_short():
    assert str(parse(rdata(f"3 0 0 {LONG}"))) == f"3 0 0 {LONG[:64]}… (260 octets)"
    assert [str(parse(data)) for data in (b"", b"\x03\x01")] == ["\\# 0", "\\# 2 0301"]


SETS = [
    # records -> what they ask for, usable, unusable
    ([], RecordsKind.NONE, 0, 0),
    ([f"3 1 1 {SHA256}"], RecordsKind.USABLE, 1, 0),
    ([f"3 1 1 {SHA256}", EXAMPLE_CA], RecordsKind.USABLE, 1, 1),
    ([EXAMPLE_CA, EXAMPLE_KEY, f"3 1 9 {SHA256}", ""], RecordsKind.UNUSABLE, 0, 4),
    ([f"3 1 1 {SHA256}", f"3 1 1 {SHA256}", "", ""], RecordsKind.USABLE, 1, 1),
]


@pytest.mark.parametrize(("texts", "kind", "usable", "unusable"), SETS)
def test_a_set(texts, kind, usable, unusable):
    records = classify([rdata(text) for text in texts])
    assert (records.kind, len(records.usable), len(records.unusable), records.left_out) == (kind, usable, unusable, 0)


def test_what_only_others_can_read_is_theirs_to_judge():
    asked = []

    def unreadable(record):
        asked.append(str(record))
        return "no key" if record.usage is Usage.DANE_EE else ""

    texts = [f"3 1 0 {SHORT}", f"2 1 0 {SHORT}", f"3 1 1 {SHA256}", EXAMPLE_CA]
    records = classify([rdata(text) for text in texts], unreadable=unreadable)
    assert asked == texts[:2]
    assert [str(record) for record in records.usable] == texts[1:3]
    assert records.unusable[0] == Unusable(texts[0], "no key")


def test_a_set_is_bounded_and_says_so():
    many = [rdata(f"3 1 1 {number:064x}") for number in range(500)]
    records = classify(many, left_out=7)
    assert len(records.usable) == MAX_RECORDS
    assert records.left_out == 407
    assert records.detail.startswith("507 TLSA records, 100 usable; 407 are not checked")
    # Among those that nobody looked at there may be usable ones: that is no reason to do without TLS.
    assert Records(left_out=1).kind is RecordsKind.UNUSABLE


def test_a_set_is_told_in_one_sentence():
    assert Records().detail == "no TLSA records"
    texts = [f"3 1 1 {SHA256}", "0 0 1", "1 0 1", "4 0 1", "5 0 1", "6 0 1"]
    detail = classify([rdata(text) for text in texts]).detail
    assert detail.startswith("6 TLSA records, 1 usable; 0 0 1 is ignored: certificate usage 0 is not for SMTP")
    assert detail.endswith("4 0 1 is ignored: certificate usage 4 is not known; 2 more are ignored")


@given(st.binary(max_size=80) | st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)).map(bytes))
def test_any_octets_are_a_record_or_have_a_reason(data):
    match parse(data):
        case Tlsa() as record:
            assert bytes((record.usage, record.selector, record.matching)) + record.data == data
            assert record.usage in {2, 3}
        case Unusable() as record:
            assert record.reason
            assert record.reason.isprintable()


@given(st.lists(st.binary(max_size=40), max_size=130))
def test_no_record_is_lost(datas):
    records = classify(datas)
    assert len(records.usable) + len(records.unusable) + records.left_out <= len(datas)
    assert (records.kind is RecordsKind.NONE) is (not datas)
    assert records.detail


def test_what_asks_for_nothing_has_no_records() -> None:
    found = TlsaLookup(TlsaStatus.INSECURE, "nothing is proven")
    assert found.records.kind is RecordsKind.NONE
    assert (found.base, found.names, found.bogus) == ("", (), False)
