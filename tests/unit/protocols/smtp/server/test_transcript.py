from __future__ import annotations

import pytest

from gatepost.protocols.smtp.server.transcript import LINES, OCTETS, Transcript, TranscriptBudget


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
        (b"NOOP " + b"x" * 507, "> NOOP " + "x" * 507),
        (b"x" * 4000, "> (4000 octets that are no command)"),
        (b"AUTH PLAIN " + b"A" * 4000, "> AUTH PLAIN (an initial response)"),
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


def test_many_replies_at_once_are_cut_at_a_line_s_end() -> None:
    transcript = Transcript()
    transcript.said(b"250 2.1.5 Ok\r\n" * 1000)
    shown = transcript.lines()
    assert shown[0] == "< 250 2.1.5 Ok"
    assert shown[-1] == f"< ({1000 - len(shown) + 1} more lines)"
    endless = Transcript()
    endless.said(b"x" * 5000)
    assert endless.lines() == ["< " + "x" * 512 + "..."]


def test_long_lines_are_cut_as_they_come_and_the_oldest_go() -> None:
    """100 lines of 4 KiB took 400 KB for as long as the session lasted."""
    transcript = Transcript()
    for number in range(LINES):
        transcript.heard(b"NOOP %d " % number + b"x" * 4000)
    assert transcript.octets <= OCTETS
    assert transcript.lines()[-1].startswith("> NOOP 99 x")
    assert len(transcript.lines()) < LINES


def test_what_all_take_is_bounded_and_those_that_grew_longest_ago_are_forgotten_first() -> None:
    budget = TranscriptBudget(8 << 10)
    first, second, third, fourth = (Transcript(budget) for _ in range(4))
    second.heard(b"NOOP 1")
    first.heard(b"NOOP 2")
    fourth.heard(b"NOOP 3")
    third.said(b"250 x\r\n" * 150)
    assert budget.octets == first.taken + second.taken + third.taken + fourth.taken == 8 << 10
    assert third.octets <= third.taken
    third.said(b"250 x\r\n" * 150)
    assert budget.octets == first.taken + third.taken + fourth.taken == 8 << 10
    assert second.lines() == []
    assert first.lines() == ["> NOOP 2"]
    for _ in range(2):
        third.said(b"250 x\r\n" * 150)
    assert first.lines() == fourth.lines() == []
    assert len(third.lines()) == 600
    for _ in range(2):
        third.said(b"250 x\r\n" * 280)  # more than there is for all
    assert (third.lines(), budget.octets) == ([], 0)


def test_a_session_that_is_over_counts_no_more() -> None:
    budget = TranscriptBudget(4000)
    one = Transcript(budget)
    one.heard(b"NOOP")
    one.close()
    one.close()
    one.heard(b"QUIT")
    assert budget.octets == 0
    assert one.lines() == ["> NOOP", "> QUIT"]


def test_what_is_noted_is_what_is_given_back() -> None:
    budget = TranscriptBudget()
    transcript = Transcript(budget)
    for number in range(LINES + 5):
        transcript.heard(b"x" * 4000 if number == 1 else b"NOOP" * (number % 3))
        transcript.said(b"250 Ok\r\n" * (300 if number == 2 else 1))
    kept = transcript.octets
    assert 0 < kept <= transcript.taken == budget.octets <= OCTETS
    transcript.clear()
    assert (transcript.octets, transcript.taken, budget.octets) == (0, 0, 0)
    for line in (b"x" * 4000, b"", b"NOOP"):
        lone = Transcript()
        lone.heard(line)
        for _ in range(LINES):
            lone.heard_secret()
        secrets = Transcript()
        for _ in range(LINES):
            secrets.heard_secret()
        assert lone.octets == secrets.octets


def test_a_transcript_of_its_own_can_be_cleared() -> None:
    transcript = Transcript()
    transcript.heard(b"NOOP")
    transcript.clear()
    assert (transcript.lines(), transcript.octets) == ([], 0)
