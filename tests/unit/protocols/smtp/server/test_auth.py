from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.parameters import CommandError
from gatepost.protocols.smtp.server.auth import challenge, decode, parse_auth

OFFERED = ("SCRAM-SHA-256", "PLAIN")


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        ("PLAIN", ("PLAIN", None)),
        ("plain", ("PLAIN", None)),
        ("PLAIN =", ("PLAIN", b"")),
        ("PLAIN AGEAYg==", ("PLAIN", b"\0a\0b")),
        ("scram-sha-256 biws", ("SCRAM-SHA-256", b"n,,")),
    ],
)
def test_auth(arguments, parsed):
    assert parse_auth(arguments, OFFERED) == parsed


@pytest.mark.parametrize(
    ("arguments", "reply"),
    [
        ("", "501 5.5.4"),
        ("PLAIN ", "501 5.5.4"),
        (" PLAIN", "501 5.5.4"),
        ("PLAIN  AGEAYg==", "501 5.5.4"),
        ("A" * 21, "501 5.5.4"),
        ("PLA\u2071N", "501 5.5.4"),
        ("LOGIN", "504 5.5.4"),
        ("PLAIN AGEAYg", "501 5.5.2"),
        ("PLAIN AGEAYg==AGEAYg==", "501 5.5.2"),
        ("PLAIN ÀGEAYg==", "501 5.5.2"),
        ("PLAIN *", "501 5.0.0"),
    ],
)
def test_what_is_refused(arguments, reply):
    with pytest.raises(CommandError) as caught:
        parse_auth(arguments, OFFERED)
    assert caught.value.reply.text.startswith(reply)


@given(st.binary())
def test_there_and_back(data):
    line = challenge(data)
    assert line.startswith(b"334 ")
    assert line.endswith(b"\r\n")
    assert decode(line[4:-2]) == data


@given(st.binary())
def test_a_line_is_its_base64_or_refused(line):
    data = None
    with contextlib.suppress(CommandError):
        data = decode(line)
    assert data is None or base64.b64encode(data) == line
