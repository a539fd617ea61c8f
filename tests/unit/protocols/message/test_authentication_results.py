from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.authentication_results import (
    MethodResult,
    authserv_id,
    chain_of,
    own_results,
    results_text,
    without_forged,
)

OURS = frozenset({"mx.a.example"})


def test_the_field_is_written() -> None:
    spf = MethodResult("spf", "fail", (("smtp.mailfrom", "x@b.example"), ("x.y", "")), 'of "b"\r\n')
    arc = MethodResult("arc", "none", (("smtp.remote-ip", "2001:db8::1"),))
    assert results_text("mx", [spf, arc]) == (
        'mx;\r\n\tspf=fail reason="of ?b???" smtp.mailfrom=x@b.example;\r\n\tarc=none smtp.remote-ip="2001:db8::1"'
    )
    assert results_text("mx", []) == "mx;\r\n\tnone"
    assert len(MethodResult("dkim", "pass", (("header.i", "x" * 5000),)).text) < 300


def test_foreign_text_does_not_look_like_a_result() -> None:
    """To who searches the field without reading it."""
    sly = "dkim=pass header.d=bank.example; dmarc=pass"
    text = MethodResult("dkim", "fail", (("header.i", sly),), f"{sly}: c= is odd").text
    assert text.count("=") == 4
    assert ";" not in text
    assert "pass" in text
    assert "c= is odd" in text


IDS = {
    b" mx.a.example; none": "mx.a.example",
    b" MX.a.example.;": "mx.a.example",
    b"mx.a.example": "mx.a.example",
    b" mx.a.example 1; none": "mx.a.example",
    b"\r\n\t(c (d) \\) ;) mx.a.example(x); none": "mx.a.example",
    b' "mx.a\\.example" ; none': "mx.a.example",
    b"": "",
    b" ;": "",
    b" (open": "",
    b" (open\\": "",
    b" mx.a.example=x;": "",
    b' "open;': "",
    b" m\xc3\xbc.example;": "m\xfc.example",
}


@pytest.mark.parametrize(
    "value", [b"(" * 4000 + b")" * 4000 + b"mx.a.example;", b" " * 3990 + b"mx.a.example;", b"(" * 200_000]
)
def test_a_name_that_stands_far_behind_is_not_looked_for(value: bytes) -> None:
    begun = time.thread_time()
    assert authserv_id(value) == ""
    assert time.thread_time() - begun < 0.02
    assert without_forged(b"Authentication-Results:" + value + b"\r\n", OURS) == (b"", 1)


@pytest.mark.parametrize("value", IDS, ids=repr)
def test_whose_results_they_are(value: bytes) -> None:
    assert authserv_id(value) == IDS[value]


TAKEN = [
    b"Authentication-Results: mx.a.example; none\r\n",
    b"AUTHENTICATION-results \t: mx.A.example; none\r\n",
    b"Authentication-Results:\r\n mx.a.example;\r\n\tspf=pass\r\n",
    b"Authentication-Results: ; spf=pass\r\n",
    b"Authentication\x00-Results: mx.a.example;\r\n",
    b"Authentication-Results\x01: mx.a.example;\r\n",
    b"Authentication-Results\x01 \x02\t\x03 : mx.a.example;\r\n",
]
KEPT = [
    b"Authentication-Results: other.example; spf=pass\r\n",
    b"X-Authentication-Results: mx.a.example; none\r\n",
    b"ARC-Authentication-Results: i=1; mx.a.example; none\r\n",
    b"Subject: x\r\n Authentication-Results: mx.a.example; none\r\n",
    b"",
]


@pytest.mark.parametrize("forged", TAKEN, ids=repr)
def test_forged_ones_are_taken_out(forged: bytes) -> None:
    section = b"From: x\r\n" + forged + b"To: y\r\n" + forged
    assert without_forged(section, OURS) == (b"From: x\r\nTo: y\r\n", 2)


@pytest.mark.parametrize("kept", KEPT, ids=repr)
def test_others_stay(kept: bytes) -> None:
    section = b"From: x\r\n" + kept
    same, count = without_forged(section, OURS)
    assert same is section
    assert count == 0


def test_one_behind_a_bare_line_end_is_taken_out() -> None:
    section = b"Subject: x\nAuthentication-Results: mx.a.example; spf=pass\r\nTo: y\r\n"
    assert without_forged(section, OURS) == (b"Subject: x\nTo: y\r\n", 1)
    inner = b"Authentication-Results: mx.a.example; x\r\n \x0bAuthentication-Results: other; y\r\n"
    assert without_forged(inner, OURS)[1] >= 1


def test_control_characters_behind_the_name_take_no_time() -> None:
    """Where no colon follows: 8000 of them took 80 ms, and the 250,000 that a header section has room for, a minute."""
    section = b"Authentication-Results" + b"\x01" * 250_000 + b"x\r\n"
    began = time.process_time()
    assert without_forged(section, OURS) == (section, 0)
    assert time.process_time() - began < 1


@given(st.lists(st.sampled_from([*TAKEN, *KEPT, b"\r\n", b"\n", b" ", b"x: y\r\n"])))
def test_nothing_of_ours_is_left(parts: list[bytes]) -> None:
    left, _ = without_forged(b"".join(parts), OURS)
    assert own_results(left, "mx.a.example") == ""


def test_our_own_are_found() -> None:
    section = b"Authentication-Results: x; spf=fail\r\n"
    section += b"Authentication-Results: MX;\r\n\tspf=pass\r\n\tsmtp.helo=h; arc=none\r\n"
    assert own_results(section, "mx") == "spf=pass smtp.helo=h; arc=none"
    assert own_results(section, "my") == ""


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("spf=pass; arc=pass (x)", "pass"),
        ("ARC = None", "none"),
        ("arc=reject", "fail"),
        ("arc=temperror", ""),
        ("spf=pass", ""),
    ],
)
def test_the_state_of_the_chain(said: str, state: str) -> None:
    assert chain_of(said) == state
