from __future__ import annotations

import pytest

from gatepost.smtp.transcript import LINES, Transcript


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"EHLO mx.partner.example", "> EHLO mx.partner.example"),
        (b"mail FROM:<ann@contoso.example> SIZE=5", "> mail FROM:<ann@contoso.example> SIZE=5"),
        ("RCPT TO:<jörg@contoso.example>".encode(), "> RCPT TO:<jörg@contoso.example>"),
        (b"GET / HTTP/1.1", "> GET / HTTP/1.1"),
        (b"ETRN x", "> ETRN x"),
        (b"NOOP \x1b[31mred\x00\xff", "> NOOP ?[31mred?\N{REPLACEMENT CHARACTER}"),
        (b"NOOP " + b"x" * 600, "> NOOP " + "x" * 507 + "..."),
        (b"AUTH", "> AUTH"),
        (b"AUTH LOGIN", "> AUTH LOGIN"),
        (b"auth PLAIN AGFubgBzZWNyZXQ=", "> auth PLAIN (an initial response)"),
        (b"AUTH PLAIN AGFubgBzZWNyZXQ= x", "> AUTH PLAIN (an initial response)"),
        (b"AGFubgBzZWNyZXQ=", "> (16 octets that are no command)"),
        (b"secret words", "> (12 octets that are no command)"),
        (b"\xff\xfe", "> (2 octets that are no command)"),
        (b"", "> (1 octets that are no command)"),
    ],
)
def test_what_the_client_said(line: bytes, shown: str) -> None:
    transcript = Transcript()
    transcript.heard(line)
    assert transcript.lines() == [shown]


def test_replies_are_shown_line_by_line_and_responses_never() -> None:
    transcript = Transcript()
    transcript.said(b"220 mx ESMTP\r\n")
    transcript.heard(b"AUTH SCRAM-SHA-256")
    transcript.said(b"334 \r\n")
    transcript.heard_secret()
    transcript.said(b"235 2.7.0 Ok\r\n250 2.1.0 \x07Ok\r\n")
    assert transcript.lines() == [
        "< 220 mx ESMTP",
        "> AUTH SCRAM-SHA-256",
        "< 334 ",
        "> (a response within AUTH)",
        "< 235 2.7.0 Ok",
        "< 250 2.1.0 ?Ok",
    ]


def test_the_last_lines_are_kept() -> None:
    transcript = Transcript()
    for number in range(LINES + 5):
        transcript.heard(b"NOOP %d" % number)
    assert transcript.lines()[0] == "> NOOP 5"
    assert len(transcript.lines()) == LINES
