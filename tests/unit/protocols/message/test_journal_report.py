from __future__ import annotations

import email
import email.policy
from typing import Any

import pytest

from gatepost.protocols.message.journal_report import JournalReport, report_head, report_tail

ORIGINAL = b"From: a@o.example\r\nSubject: x\r\n\r\nbody\r\n"


def report(**fields: Any) -> JournalReport:
    return JournalReport(
        **{
            "to": "keep@far.example",
            "author": "postmaster@o.example",
            "report_id": "journal.1@o.example",
            "boundary": "=_b",
            "now": 0.0,
            "sender": "a@o.example",
            "subject": "Offer",
            "message_id": "<1@o.example>",
            "lines": ("To: ann@o.example", "Bcc: ben@o.example"),
        }
        | fields
    )


def parsed(made: JournalReport, original: bytes = ORIGINAL) -> Any:
    return email.message_from_bytes(report_head(made) + original + report_tail(made), policy=email.policy.default)


def test_the_report_has_the_form_that_archives_read() -> None:
    message = parsed(report())
    assert not message.defects
    assert message["X-MS-Journal-Report"] == ""
    assert message["X-Gatepost-Journal"] == "keep@far.example"
    assert (message["From"], message["To"]) == ("Journal <postmaster@o.example>", "keep@far.example")
    assert (message["Subject"], message["Message-ID"]) == ("Offer", "<journal.1@o.example>")
    text, attached = message.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == (
        "Sender: a@o.example\nSubject: Offer\nMessage-Id: <1@o.example>\nTo: ann@o.example\nBcc: ben@o.example\n"
    )
    assert attached.get_content_type() == "message/rfc822"
    assert attached.get_content()["Subject"] == "x"


def test_a_report_of_a_report_names_both_journals() -> None:
    message = parsed(report(before=("other@else.example",)))
    assert message.get_all("X-Gatepost-Journal") == ["keep@far.example", "other@else.example"]


def test_the_message_stands_in_it_octet_by_octet() -> None:
    made = report(body_type="BINARYMIME")
    original = b"A: b\r\n\r\n\x00\xff--=_c\nno end"
    head, tail = report_head(made), report_tail(made)
    assert head.endswith(b"Content-Transfer-Encoding: binary\r\n\r\n")
    assert (head + original + tail).split(b"\r\n--=_b")[2].split(b"\r\n\r\n", 1)[1] == original


@pytest.mark.parametrize("subject", ["Übergabe " * 60, "x\r\nBcc: evil@x.example", "plain"])
def test_what_the_sender_wrote_is_one_line_each(subject: str) -> None:
    made = report(subject=subject, sender="", lines=("To: jürgen@o.example",), utf8=True)
    head = report_head(made)
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) < 998
    message = parsed(made)
    assert message.keys().count("Bcc") == 0
    text, attached = message.iter_parts()
    lines = text.get_content().splitlines()
    assert lines[0] == "Sender: <>"
    assert lines[3] == "To: jürgen@o.example"
    assert len(lines) == 4
    assert attached.get_content_type() == "message/global"
