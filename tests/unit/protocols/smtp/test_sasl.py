from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.sasl import PlainMessage, SaslError, parse_plain, saslprep


@pytest.mark.parametrize(
    ("message", "parsed"),
    [
        (b"\0tim\0tanstaaftanstaaf", PlainMessage("", "tim", "tanstaaftanstaaf")),  # RFC 4616 section 4
        (b"Ursel\0Kurt\0xipj3plmq", PlainMessage("Ursel", "Kurt", "xipj3plmq")),
        ("\0ann\0pä\u00adss".encode(), PlainMessage("", "ann", "päss")),
    ],
)
def test_plain(message, parsed):
    assert parse_plain(message) == parsed


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b"tim\0secret",
        b"\0tim\0secret\0",
        b"\0\0secret",
        b"\0tim\0",
        b"\0tim\0\xff\xfe",
        b"\0" + b"t" * 513 + b"\0secret",
        b"t" * 513 + b"\0tim\0secret",
        b"\0tim\0" + b"s" * 1025,
        "\0tim\0bell \u0007 ä".encode(),
    ],
)
def test_malformed_plain(message):
    with pytest.raises(SaslError) as caught:
        parse_plain(message)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown():
    assert "tanstaaf" not in repr(parse_plain(b"\0tim\0tanstaaf"))


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 section 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u00ad", ""),
    ],
)
def test_saslprep(text, prepared):
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u0627a\u0628", "\ue000", "\ufffd"])
def test_what_no_name_may_have(text):
    with pytest.raises(SaslError):
        saslprep(text)


@given(st.binary())
def test_any_octets_are_read_or_refused(message):
    parsed = None
    with contextlib.suppress(SaslError):
        parsed = parse_plain(message)
    assert parsed is None or message.count(b"\0") == 2
