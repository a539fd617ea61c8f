from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.tlsrpt.record import MAX_ADDRESSES, TlsRptRecord, parse_record, record_name

MAIL, WEB = "mailto:tls@b.example", "https://reports.b.example/v1/tlsrpt"
MANY = [f"mailto:{number}@b.example" for number in range(MAX_ADDRESSES + 2)]

READ = [
    # TXT records -> addresses, what is ignored
    ([f"v=TLSRPTv1;rua={MAIL}"], (MAIL,), ()),
    ([f"v=TLSRPTv1; rua={MAIL};"], (MAIL,), ()),
    ([f"v=TLSRPTv1 ;\trua={MAIL} ; "], (MAIL,), ()),
    ([f"v=TLSRPTv1; rua={WEB}"], (WEB,), ()),
    ([f"v=TLSRPTv1; rua={MAIL}, {WEB}"], (MAIL, WEB), ()),
    ([f"v=TLSRPTv1; rua={MAIL} ,\t{WEB}?key=a=b"], (MAIL, WEB + "?key=a=b"), ()),
    (["v=TLSRPTv1; rua=https://r.b.example?to=b"], ("https://r.b.example?to=b",), ()),
    (["v=TLSRPTv1; rua=mailto:tls@b.example?subject=x"], ("mailto:tls@b.example?subject=x",), ()),
    (["v=TLSRPTv1; rua=MAILTO:tls@b.example"], ("MAILTO:tls@b.example",), ()),
    (
        [f"v=TLSRPTv1; rua=ftp://b.example/,{MAIL},http://b.example/"],
        (MAIL,),
        ("ftp://b.example/", "http://b.example/"),
    ),
    ([f"v=TLSRPTv1; rua=tls@b.example, {MAIL}!10m,{WEB}"], (WEB,), ("tls@b.example", f"{MAIL}!10m")),
    ([f"v=TLSRPTv1; new=x y; rua={MAIL}; rua={WEB}"], (MAIL,), ()),
    (["other", f"v=TLSRPTv1; rua={MAIL}", "v=spf1 -all"], (MAIL,), ()),
    ([f"v=TLSRPTv2; rua={WEB}", f"v=TLSRPTv1; rua={MAIL}"], (MAIL,), ()),
    (["v=TLSRPTv1; rua=" + ",".join(MANY)], tuple(MANY[:MAX_ADDRESSES]), tuple(MANY[MAX_ADDRESSES:])),
]

WRONG = [
    # TXT records -> a word of the sentence
    ([f"v=TLSRPTv1; rua={MAIL}"] * 2, "2 TXT records"),
    (["v=TLSRPTv1"], "does not begin"),
    (["v=TLSRPTv1;"], "no rua"),
    (["v=TLSRPTv1; ruf=mailto:a@b"], "no rua"),
    (["v=TLSRPTv1; rua"], "not of the form name=value"),
    (["v=TLSRPTv1; rua="], "not of the form name=value"),
    ([f"v=TLSRPTv1;; rua={MAIL}"], "not of the form name=value"),
    (["v=TLSRPTv1; rua=tls@b.example"], "mailto: and https:"),
    (["v=TLSRPTv1; rua=mailto:"], "mailto: and https:"),
    ([f"v=TLSRPTv1; rua= {MAIL}"], "mailto: and https:"),
    (["v=TLSRPTv1; rua=https://"], "mailto: and https:"),
    ([f"v=tlsrptv1; rua={MAIL}"], "does not begin"),
    ([f" V = TLSRPTv1; rua={MAIL}"], "does not begin"),
    ([f'"v=TLSRPTv1; rua={MAIL}"'], "does not begin"),
    (["v=TLSRPTv1; rua=mailto:ä@b.example"], "not ASCII"),
    (["v=TLSRPTv1; rua=mailto:\x1b[31m@b.example"], "not of the form name=value"),
    (["v=TLSRPTv1; rua=" + "a" * 5000], "not read"),
]


@pytest.mark.parametrize(("texts", "rua", "ignored"), READ)
def test_records_that_can_be_read(texts: list[str], rua: tuple[str, ...], ignored: tuple[str, ...]) -> None:
    assert parse_record([[text.encode()] for text in texts]) == TlsRptRecord(rua, ignored)


@pytest.mark.parametrize(("texts", "word"), WRONG)
def test_records_that_cannot(texts: list[str], word: str) -> None:
    found = parse_record([[text.encode()] for text in texts])
    assert isinstance(found, RecordError)
    assert word in found.detail
    assert found.detail.isprintable()
    assert len(found.detail) < 300


@pytest.mark.parametrize("texts", [[], [b""], [b"v=spf1 -all"], [b"v=STSv1; id=1"], [b"TLSRPTv1"]])
def test_nothing_about_reports(texts: list[bytes]) -> None:
    assert parse_record([[text] for text in texts]) is None


def test_strings_of_a_record_are_joined() -> None:
    assert parse_record([[b"v=TLSRP", b"Tv1;rua=mail", MAIL[4:].encode()]]) == TlsRptRecord((MAIL,))


def test_where_it_is() -> None:
    assert record_name("b.example") == "_smtp._tls.b.example"


@given(st.lists(st.lists(st.binary(max_size=255), max_size=4), max_size=4))
def test_any_octets_have_an_answer(records: list[list[bytes]]) -> None:
    assert isinstance(parse_record(records), TlsRptRecord | RecordError | None)


@given(st.binary(max_size=200))
def test_whatever_stands_behind_the_version(text: bytes) -> None:
    found = parse_record([[b"v=TLSRPTv1;" + text]])
    assert isinstance(found, RecordError) or (
        isinstance(found, TlsRptRecord) and all(one.isprintable() for one in found.rua)
    )
