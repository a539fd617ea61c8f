from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.dns.text_record import RecordError, TextRecord, joined, shown

STRICT = TextRecord("Xv2", "id")
SPACED = TextRecord("Xv2", "id", r"[\x20-\x3a\x3c-\x7e]+")

# The TXT records, each as its strings -> the field's value, words of the error, or None where none is of this kind.
CASES: dict[str, tuple[list[list[bytes]], str | tuple[str] | None]] = {
    "plain": ([[b"v=Xv2; id=1;"]], "1"),
    "no delimiter at the end": ([[b"v=Xv2;id=1"]], "1"),
    "much space": ([[b"v=Xv2 \t ; \t id=1 \t ; "]], "1"),
    "space at the end": ([[b"v=Xv2; id=1 "]], "1"),
    "several strings": ([[b"v=X", b"v2; i", b"d=1", b"2;"]], "12"),
    "the first counts, unknown ones do not": ([[b"v=Xv2; a.b=c; id=1; id=2; n=~"]], "1"),
    "beside others": ([[b"v=spf1 -all"], [b"v=Xv2; id=1"], [b"v=Xv3; id=3"], [b"v=Xv2"]], "1"),
    "no record": ([], None),
    "empty record": ([[]], None),
    "others only": ([[b"v=spf1"], [b"Xv2"], [b"id=1; v=Xv2;"]], None),
    "two": ([[b"v=Xv2; id=1"], [b"v=Xv2; id=1"]], ("2 TXT records begin with v=Xv2",)),
    "another version": ([[b"v=Xv3; id=1"]], ('"v=Xv3; id=1" does not begin with "v=Xv2;"',)),
    "wrong case, quoted": ([[b'"V = xv2; id=1"']], ("does not begin with",)),
    "the version alone": ([[b"v=Xv2"]], ("does not begin with",)),
    "the version run on": ([[b"v=Xv2id=1;"]], ("does not begin with",)),
    "no field": ([[b"v=Xv2;"]], ("has no id",)),
    "another case": ([[b"v=Xv2; ID=1;"]], ("has no id",)),
    "empty": ([[b"v=Xv2; id=;"]], ('"id=" in the TXT record is not of the form name=value',)),
    "two delimiters": ([[b"v=Xv2;; id=1"]], ('"" in the TXT record is not of the form name=value',)),
    "two equals": ([[b"v=Xv2; id=1=2"]], ('"id=1=2" in',)),
    "nul": ([[b"v=Xv2; id=1\x00"]], ("id=1\\x00",)),
    "not ascii": ([["v=Xv2; id=\u00e9".encode()]], ("is not ASCII",)),
    "huge": ([[b"v=Xv2; id=" + b"x" * 200] + [b"x" * 255] * 20], ("more than 4096 are not read",)),
    "long and wrong": ([[b"v=Xv2 " + b"x" * 100]], ("\u2026",)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_records_say(name: str) -> None:
    records, expected = CASES[name]
    found = STRICT.value(records)
    if isinstance(expected, tuple):
        assert isinstance(found, RecordError)
        assert expected[0] in found.detail
    else:
        assert found == expected


def test_a_kind_may_allow_more_in_its_values() -> None:
    assert SPACED.value([[b"v=Xv2; id=a=b , c ; x=y z"]]) == "a=b , c"


@given(st.lists(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([b"v=Xv2", b";", b"id=", b"1", b" "])))))
def test_nothing_breaks_it(records: list[list[bytes]]) -> None:
    found = STRICT.value(records)
    text = found.detail if isinstance(found, RecordError) else found or ""
    assert text.isprintable()
    assert len(text) < 4200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a", "a"),
        (b"\x1b[1m", "\\x1b[1m"),
        (b"\xe9", "\\xe9"),
        (b"x" * 60, "x" * 60),
        (b"x" * 61, "x" * 60 + "\u2026"),
    ],
)
def test_how_foreign_text_is_shown(text: bytes, said: str) -> None:
    assert shown(text) == said


def test_blanks_take_no_time() -> None:
    """Each run of them was read again from each blank in it: 4000 took 37 ms."""
    record = TextRecord("TLSRPTv1", "rua", r"[\t\x20-\x3a\x3c-\x7e]+")
    text = b"v=TLSRPTv1; rua=a" + b" " * 4000 + b"x ; b=c ;"
    began = time.process_time()
    for _ in range(20):
        assert record.value([[text]]) == "a" + " " * 4000 + "x"
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize("record", [b"v=STSv1; id=1;", "v=STSv1; id=1;", ["v=STSv1; id=1;"], [7], None])
def test_a_record_that_is_no_sequence_of_strings_is_refused(record: Any) -> None:
    with pytest.raises(ValueError, match="a TXT record is a sequence of strings"):
        joined([[b"v=STSv1; ", b"id=1;"], record])
