from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.mtasts.record import StsRecord, parse_record

GOOD = b"v=STSv1; id=20260801T120000Z;"

# The TXT records, each as its strings -> the id, words of the error, or None where no record is about MTA-STS.
CASES: dict[str, tuple[list[list[bytes]], str | tuple[str] | None]] = {
    "as everybody writes it": ([[GOOD]], "20260801T120000Z"),
    "no delimiter at the end": ([[b"v=STSv1; id=1"]], "1"),
    "no spaces": ([[b"v=STSv1;id=1;"]], "1"),
    "much space": ([[b"v=STSv1 \t ; \t id=1 \t ; "]], "1"),
    "several strings": ([[b"v=ST", b"Sv1; i", b"d=1", b"2;"]], "12"),
    "unknown fields": ([[b"v=STSv1; a.b_c-d=x:y/z; id=1; n=!~"]], "1"),
    "the first id counts": ([[b"v=STSv1; id=1; id=2; id=*"]], "1"),
    "32 characters": ([[b"v=STSv1; id=" + b"a" * 32]], "a" * 32),
    "beside others": ([[b"v=spf1 -all"], [GOOD], [b"v=TLSRPTv1; rua=mailto:a@b.example"]], "20260801T120000Z"),
    "beside one without delimiter": ([[b"v=STSv1"], [GOOD]], "20260801T120000Z"),
    "no record": ([], None),
    "empty record": ([[]], None),
    "others only": ([[b"v=spf1 -all"], [b"STSv1"], [b"id=1; v=STSv1"]], None),
    "two": ([[GOOD], [b"v=STSv1; id=2"]], ("2 TXT records begin with v=STSv1",)),
    "two alike": ([[GOOD], [GOOD]], ("2 TXT records",)),
    "a version to come": ([[b"v=STSv2; id=1"]], ('"v=STSv2; id=1" does not begin with',)),
    "wrong case": ([[b"V=stsv1; id=1"]], ("does not begin with",)),
    "space first": ([[b" v=STSv1; id=1"]], ("does not begin with",)),
    "quoted": ([[b'"v=STSv1; id=1"']], ("does not begin with",)),
    "the version alone": ([[b"v=STSv1"]], ("does not begin with",)),
    "the version run on": ([[b"v=STSv1id=1;"]], ("does not begin with",)),
    "no id": ([[b"v=STSv1;"]], ("has no id",)),
    "no id among others": ([[b"v=STSv1; x=1;"]], ("has no id",)),
    "id in capitals": ([[b"v=STSv1; ID=1;"]], ("has no id",)),
    "empty id": ([[b"v=STSv1; id=;"]], ('"id=" in the TXT record is not of the form name=value',)),
    "33 characters": ([[b"v=STSv1; id=" + b"a" * 33]], ("is not 1 to 32 letters and digits",)),
    "a sign in the id": ([[b"v=STSv1; id=2026-08-01"]], ('"2026-08-01"',)),
    "two delimiters": ([[b"v=STSv1;; id=1"]], ('"" in the TXT record is not of the form name=value',)),
    "no equals": ([[b"v=STSv1; id"]], ('"id" in',)),
    "space around equals": ([[b"v=STSv1; id = 1"]], ('"id = 1" in',)),
    "two equals": ([[b"v=STSv1; id=1=2"]], ('"id=1=2" in',)),
    "a name too long": ([[b"v=STSv1; id=1; " + b"n" * 33 + b"=1"]], ("is not of the form name=value",)),
    "nul": ([[b"v=STSv1; id=1\x00"]], ("id=1\\x00",)),
    "not ascii": ([["v=STSv1; id=1; n=\u00e9".encode()]], ("is not ASCII",)),
    "huge": ([[b"v=STSv1; id=1; n=" + b"x" * 255] + [b"x" * 255] * 200], ("more than 4096 are not read",)),
    "long and wrong": ([[b"v=STSv1 " + b"x" * 100]], ("\u2026",)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_records_say(name: str) -> None:
    records, expected = CASES[name]
    found = parse_record(records)
    if isinstance(expected, tuple):
        assert isinstance(found, RecordError)
        assert expected[0] in found.detail
        assert len(found.detail) < 250
    else:
        assert found == (None if expected is None else StsRecord(expected))


@given(st.text(string.ascii_letters + string.digits, min_size=1, max_size=32), st.data())
def test_what_is_printed_is_read_however_it_is_split(record_id: str, data: st.DataObject) -> None:
    record = StsRecord(record_id)
    text = record.text.encode()
    cut = data.draw(st.integers(0, len(text)))
    assert parse_record([[text[:cut], text[cut:]]]) == record


@given(st.lists(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([b"v=STSv1", b";", b"id=", b"1", b" "])))))
def test_nothing_breaks_it(records: list[list[bytes]]) -> None:
    found = parse_record(records)
    assert found is None or isinstance(found, StsRecord | RecordError)
    if isinstance(found, RecordError):
        assert found.detail.isprintable()
