"""The notification as a whole, read by the parser of the standard library."""

from __future__ import annotations

import base64
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.protocols.message.dsn import build_dsn, build_redacted
from gatepost.protocols.message.dsn_report import DsnAction, DsnHop, RedactedNotice

HEADER = b"From: a@a.example\r\nTo: b@b.example\r\nSubject: Figures\r\nMessage-ID: <1@a.example>\r\n"


def parsed(made: bytes) -> tuple[EmailMessage, list[EmailMessage]]:
    """The message and its three parts; the parser must find no defect in it."""
    assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n")
    assert b"\0" not in made
    message = cast("EmailMessage", message_from_bytes(made, policy=policy.SMTP))
    parts = cast("list[EmailMessage]", message.get_payload())
    # The standard library takes no encoding of a message, though RFC 6532 section 3.7 allows it for this type.
    encoded = [part for part in message.walk() if part["Content-Transfer-Encoding"] == "base64"]
    within = [inner for part in encoded for inner in part.walk()]
    assert [part for part in message.walk() if part.defects and part not in within] == []
    assert all(part.get_content_type() == "message/global" for part in encoded)
    assert len(parts) == 3
    return message, parts


def returned(part: EmailMessage) -> bytes:
    """The content of the last part, its transfer encoding undone."""
    if part.get_content_maintype() == "message" and part.get_content_subtype() != "global-headers":
        return cast("EmailMessage", cast("list[Any]", part.get_payload())[0]).as_bytes()
    return cast("bytes", part.get_payload(decode=True))


def test_the_header_of_a_failure(report) -> None:
    message, parts = parsed(build_dsn(report()))
    assert dict(message.items()) == {
        "From": "Mail Delivery System <postmaster@a.example>",
        "To": "a@a.example",
        "Subject": "Undeliverable: Figures",
        "Date": "Tue, 24 Nov 2026 16:00:00 +0000",
        "Message-ID": "<n1@mx1.a.example>",
        "Auto-Submitted": "auto-replied",
        "In-Reply-To": "<1@a.example>",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/report; report-type="delivery-status"; boundary="b0undary"',
        "Content-Transfer-Encoding": "7bit",
    }
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert build_dsn(report()).isascii()


def test_the_fields_of_rfc_3464(report, recipient) -> None:
    about = recipient(orcpt="rfc822;b+2Bold@b.example")
    waiting = recipient(address="c@b.example", action=DsnAction.DELAYED, status="4.2.2", retry_until=1795622400.0)
    _, (_, status, _) = parsed(build_dsn(report(about, waiting, envid="QQ1")))
    message_fields, *recipient_fields = [dict(group.items()) for group in cast("list[Any]", status.get_payload())]
    assert message_fields == {
        "Original-Envelope-Id": "QQ1",
        "Reporting-MTA": "dns; mx1.a.example",
        "Arrival-Date": "Mon, 23 Nov 2026 16:00:00 +0000",
    }
    common = {"Remote-MTA": "dns; mx.b.example", "Diagnostic-Code": "smtp; 550 5.1.1 User unknown"}
    logged = {"Last-Attempt-Date": "Tue, 24 Nov 2026 15:43:20 +0000", "Final-Log-ID": "7f3a9c01"}
    assert recipient_fields == [
        {
            "Original-Recipient": "rfc822; b+old@b.example",
            "Final-Recipient": "rfc822; b@b.example",
            "Action": "failed",
            "Status": "5.1.1",
            **common,
            **logged,
        },
        {
            "Final-Recipient": "rfc822; c@b.example",
            "Action": "delayed",
            "Status": "4.2.2",
            **common,
            **logged,
            "Will-Retry-Until": "Wed, 25 Nov 2026 16:00:00 +0000",
        },
    ]


def test_the_text_is_for_people(report) -> None:
    _, (text, _, _) = parsed(build_dsn(report(ret="FULL")))
    content = text.get_content()
    assert text.get_content_charset() == "us-ascii"
    assert "There is no mailbox with this address." in content
    assert "The message is attached." in content


# name: (original, what of the report differs, type, transfer encoding, content)
RETURNED: dict[str, tuple[bytes, dict[str, Any], str, str, bytes]] = {
    "the header, if nothing is asked": (HEADER + b"\r\nHi\r\n", {}, "text/rfc822-headers", "7bit", HEADER),
    "the header, RET=HDRS": (HEADER + b"\r\nHi\r\n", {"ret": "HDRS"}, "text/rfc822-headers", "7bit", HEADER),
    "all, RET=FULL": (HEADER + b"\r\nHi\r\n", {"ret": "FULL"}, "message/rfc822", "7bit", HEADER + b"\r\nHi\r\n"),
    "all, without a CRLF at the end": (
        HEADER + b"\r\nHi",
        {"ret": "FULL"},
        "message/rfc822",
        "7bit",
        HEADER + b"\r\nHi\r\n",
    ),
    "only the beginning is at hand": (
        HEADER + b"\r\nHi\r\n",
        {"ret": "FULL", "original_complete": False},
        "text/rfc822-headers",
        "7bit",
        HEADER,
    ),
    "as large as the limit": (
        HEADER + b"\r\nHi\r\n",
        {"ret": "FULL", "return_limit": len(HEADER) + 6},
        "message/rfc822",
        "7bit",
        HEADER + b"\r\nHi\r\n",
    ),
    "larger than the limit": (
        HEADER + b"\r\nHi\r\n",
        {"ret": "FULL", "return_limit": len(HEADER) + 5},
        "text/rfc822-headers",
        "7bit",
        HEADER,
    ),
    "a header section larger than the limit": (
        HEADER + b"\r\n",
        {"return_limit": 40},
        "text/rfc822-headers",
        "7bit",
        HEADER[: HEADER.index(b"Subject")],
    ),
    "a limit within the first line": (HEADER + b"\r\n", {"return_limit": 5}, "text/rfc822-headers", "7bit", b""),
    "nothing at hand": (b"", {"ret": "FULL"}, "text/rfc822-headers", "7bit", b""),
    "no header section": (b"\r\nHi\r\n", {}, "text/rfc822-headers", "7bit", b""),
    "a header without an end": (b"Subject: x", {}, "text/rfc822-headers", "7bit", b"Subject: x\r\n"),
    "an 8-bit body": (
        HEADER + b"\r\ngr\xfcn\r\n",
        {"ret": "FULL"},
        "message/rfc822",
        "8bit",
        HEADER + b"\r\ngr\xfcn\r\n",
    ),
    "an 8-bit body with utf8": (
        HEADER + b"\r\ngr\xc3\xbcn\r\n",
        {"ret": "FULL", "utf8": True},
        "message/rfc822",
        "8bit",
        HEADER + b"\r\ngr\xc3\xbcn\r\n",
    ),
    "a whole message with an 8-bit header": (
        b"Subject: gr\xfcn\r\n\r\nx\r\n",
        {"ret": "FULL"},
        "message/rfc822",
        "8bit",
        b"Subject: gr\xfcn\r\n\r\nx\r\n",
    ),
    "a whole message with an UTF-8 header": (
        "Subject: gr\u00fcn\r\n\r\nx\r\n".encode(),
        {"ret": "FULL", "utf8": True},
        "message/global",
        "8bit",
        "Subject: gr\u00fcn\r\n\r\nx\r\n".encode(),
    ),
    "a whole message with a header in another charset": (
        b"Subject: gr\xfcn\r\n\r\nx\r\n",
        {"ret": "FULL", "utf8": True},
        "message/rfc822",
        "8bit",
        b"Subject: gr\xfcn\r\n\r\nx\r\n",
    ),
    "a line as long as may be": (
        HEADER + b"\r\n" + b"x" * 998 + b"\r\n",
        {"ret": "FULL"},
        "message/rfc822",
        "7bit",
        HEADER + b"\r\n" + b"x" * 998 + b"\r\n",
    ),
    "a line too long": (
        HEADER + b"\r\n" + b"x" * 999 + b"\r\n",
        {"ret": "FULL"},
        "message/global",
        "base64",
        base64.encodebytes(HEADER + b"\r\n" + b"x" * 999 + b"\r\n").strip().replace(b"\n", b"\r\n"),
    ),
    "a 7-bit message with utf8": (
        HEADER + b"\r\nHi\r\n",
        {"ret": "FULL", "utf8": True},
        "message/rfc822",
        "7bit",
        HEADER + b"\r\nHi\r\n",
    ),
    "an 8-bit header": (
        b"Subject: gr\xfcn\r\n\r\n",
        {},
        "text/rfc822-headers",
        "quoted-printable",
        b"Subject: gr\xfcn\r\n",
    ),
    "an UTF-8 header with utf8": (
        "Subject: gr\u00fcn\r\n\r\n".encode(),
        {"utf8": True},
        "message/global-headers",
        "8bit",
        "Subject: gr\u00fcn\r\n".encode(),
    ),
    "a header in another charset with utf8": (
        b"Subject: gr\xfcn\r\n\r\n",
        {"utf8": True},
        "text/rfc822-headers",
        "quoted-printable",
        b"Subject: gr\xfcn\r\n",
    ),
    "a header line too long": (
        b"Subject: " + b"x" * 2000 + b"\r\n\r\n",
        {"utf8": True},
        "text/rfc822-headers",
        "quoted-printable",
        b"Subject: " + b"x" * 2000 + b"\r\n",
    ),
    "a binary body": (
        HEADER + b"\r\na\0b\r\n",
        {"ret": "FULL", "utf8": True},
        "text/rfc822-headers",
        "7bit",
        HEADER,
    ),
    "bare line ends in the body": (HEADER + b"\r\na\nb\rc\r\n", {"ret": "FULL"}, "text/rfc822-headers", "7bit", HEADER),
    "controls and bare line ends in the header": (
        b"Subject: a\0b\nc\rd\te\x7f\r\n\r\n",
        {},
        "text/rfc822-headers",
        "7bit",
        b"Subject: a?b?c?d\te?\r\n",
    ),
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_is_returned(report, name: str) -> None:
    original, changes, kind, encoding, content = RETURNED[name]
    made = build_dsn(report(original=original, **changes))
    message, (_, _, part) = parsed(made)
    assert part.get_content_type() == kind
    assert part["Content-Transfer-Encoding"] == encoding
    if kind in {"message/rfc822", "message/global", "message/global-headers"}:
        end = b"\r\n" if encoding == "base64" else b""
        assert b"\r\n\r\n" + content + end + b"\r\n--b0undary--\r\n" in made
    else:
        assert returned(part) == content
    body = made.partition(b"\r\n\r\n")[2]
    assert message["Content-Transfer-Encoding"] == ("7bit" if body.isascii() else "8bit")
    assert changes.get("utf8") or encoding == "8bit" or made.isascii()
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))


@pytest.mark.parametrize("action", [DsnAction.DELAYED, DsnAction.DELIVERED, DsnAction.RELAYED])
def test_the_message_is_returned_for_failures_only(report, recipient, action: DsnAction) -> None:
    _, (_, _, part) = parsed(build_dsn(report(recipient(action=action), ret="FULL")))
    assert part.get_content_type() == "text/rfc822-headers"


def test_the_first_part_of_a_header_is_called_so(report) -> None:
    _, (text, _, _) = parsed(build_dsn(report(return_limit=40)))
    assert "The first part of the message's header section is attached." in text.get_content()


def test_smtputf8(report, recipient) -> None:
    about = report(
        recipient(address="\u0436@b.example"),
        to="\u00fc@a.example",
        original="Subject: gr\u00fcn\r\n\r\n".encode(),
        utf8=True,
    )
    made = build_dsn(about)
    message, parts = parsed(made)
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/global-delivery-status",
        "message/global-headers",
    ]
    assert "\r\nTo: <\u00fc@a.example>\r\n".encode() in made
    assert "\r\nSubject: Undeliverable: gr\u00fcn\r\n".encode() in made
    assert "\r\nFinal-Recipient: utf-8; \u0436@b.example\r\n".encode() in made
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert (parts[0].get_content_charset(), parts[0]["Content-Transfer-Encoding"]) == ("utf-8", "8bit")
    assert "\u0436@b.example" in parts[0].get_content()


def test_a_sender_beyond_ascii_makes_it_utf8(report) -> None:
    assert "\r\nTo: <\u00fc@a.example>\r\n".encode() in build_dsn(report(to="\u00fc@a.example"))


def test_7_bit_for_everything_else(report, recipient) -> None:
    subject = "gr\u00fcne \u6587\u5b57 und noch viel mehr davon, bis die Zeile umbricht"
    about = report(recipient(address="\u0436@b.example"), original=f"Subject: {subject}\r\n\r\n".encode())
    made = build_dsn(about)
    assert made.isascii()
    message, (text, _, _) = parsed(made)
    assert message["Subject"] == f"Undeliverable: {subject}"
    assert all(len(line) <= 78 for line in made.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    assert text["Content-Transfer-Encoding"] == "quoted-printable"
    assert "\u0436@b.example" in text.get_content()
    assert b"\r\nFinal-Recipient: utf-8; \\x{436}@b.example\r\n" in made


@pytest.mark.parametrize(
    ("message_id", "field"),
    [
        ("<1@a.example>", "<1@a.example>"),
        ("1@a.example", None),
        ("<1 2@a.example>", None),
        ("<\u00fc@a.example>", None),
        ("", None),
        ("<" + "x" * 900 + ">", None),
    ],
)
def test_in_reply_to_is_exactly_the_message_id(report, message_id: str, field: str | None) -> None:
    message, _ = parsed(build_dsn(report(original=f"Message-ID: {message_id}\r\n\r\n".encode())))
    assert message["In-Reply-To"] == field


@pytest.mark.parametrize(
    ("boundary", "used"),
    [("b0undary", "b0undary"), ("", "_"), ('a"b\r\nc', "a_b__c"), ("\u00fc", "_"), ("x" * 99, "x" * 60)],
)
def test_boundaries(report, boundary: str, used: str) -> None:
    message, _ = parsed(build_dsn(report(boundary=boundary)))
    assert message.get_boundary() == used


def test_a_boundary_that_occurs_in_the_message_is_changed(report) -> None:
    original = b"Subject: x\r\n\r\n--b0undary\r\n--b0undary_--\r\n"
    message, (_, _, part) = parsed(build_dsn(report(original=original, ret="FULL")))
    assert message.get_boundary() == "b0undary__"
    assert returned(part) == original


def test_nobody_and_nothing(report) -> None:
    for changes in ({"recipients": ()}, {"to": ""}):
        with pytest.raises(ValueError, match="nobody"):
            build_dsn(report(**changes))


def redacted(**fields: Any) -> RedactedNotice:
    usual = {
        "domain": "a.example", "reporting_mta": "mx1.a.example", "postmaster": "postmaster@mx1.a.example", "now": 0.0,
        "message_id": "2@mx1.a.example", "about": "<1@a.example>", "status": "5.7.30",
    }  # fmt: skip
    return RedactedNotice(**{**usual, **fields})


@pytest.mark.parametrize(("about", "told"), [("<1@a.example>", "<1@a.example>"), ("", "(none)")])
def test_a_redacted_notice_tells_the_message_id_and_the_kind_of_failure(about: str, told: str) -> None:
    made = build_redacted(redacted(about=about))
    message = message_from_bytes(made, policy=policy.SMTP)
    assert message["To"] == "postmaster@a.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert f"  Message-ID: {told}\r\n".encode() in made
    assert b"5.7.30 The message asks every mail system" in made


@pytest.mark.parametrize(
    "text", ["a\r\nX-Evil: yes", "a\n\nbody", "\0", "\u00fc@b\u00fccher.example", "x" * 5000, "<" * 300]
)
@pytest.mark.parametrize("name", ["domain", "reporting_mta", "postmaster", "message_id", "about", "status"])
def test_a_redacted_notice_is_harmless(name: str, text: str) -> None:
    made = build_redacted(redacted(**{name: text}))
    fields = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    assert [*message_from_bytes(made)] == [*fields, "Content-Transfer-Encoding"]
    assert made.isascii()
    assert b"\0" not in made
    assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n")
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))


def test_a_thousand_recipients(report, recipient) -> None:
    many = [recipient(address=f"b{number}@b.example", diagnostic=f"550 no {number}") for number in range(1000)]
    made = build_dsn(report(*many))
    _, (_, status, _) = parsed(made)
    assert len(cast("list[Any]", status.get_payload())) == 1001
    assert len(made) < 500000


HOSTILE = [
    "a\r\nX-Evil: yes",
    "a\n\nbody",
    "\r\n\r\n--b0undary--",
    "a\0b",
    "gr\u00fcn",
    "\u202e",
    "\ud800",
    "x" * 9999,
    ">,<",
    " ",
]
EXPECTED = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]


def harmless(made: bytes, *, utf8: bool) -> None:
    message = message_from_bytes(made)
    assert [name for name in message.keys() if name != "In-Reply-To"] == [*EXPECTED, "Content-Transfer-Encoding"]  # noqa: SIM118  a message is no dict
    assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n")
    assert b"\0" not in made
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))
    assert [part.get_content_maintype() for part in cast("list[Any]", message.get_payload())][:2] == ["text", "message"]
    assert len(message.get_payload()) == 3
    assert utf8 or made.isascii()


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_input(report, recipient, text: str, utf8: bool) -> None:
    about = recipient(address=text, status=text, orcpt=f"rfc822;{text}", remote_mta=text, diagnostic=text, detail=text)
    inputs = {
        "to": text,
        "reporting_mta": text,
        "postmaster": text,
        "message_id": text,
        "boundary": text,
        "queue_id": text,
        "envid": text,
        "ret": text,
        "hops": (DsnHop(0.0, text, text),),
        "original": text.encode("utf-8", "replace"),
    }
    harmless(build_dsn(report(about, **inputs, utf8=utf8)), utf8=utf8 or not text.isascii())
    for name, value in inputs.items():
        made = build_dsn(report(**{name: value}, utf8=utf8))
        harmless(made, utf8=utf8 or (name == "to" and not text.isascii()))


@given(st.text(min_size=1), st.text(), st.binary(), st.sampled_from(["", "FULL"]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_input(report: Any, recipient: Any, to: str, text: str, original: bytes, ret: str, utf8: bool) -> None:  # noqa: PLR0917  drawn one by one
    about = recipient(address=text, diagnostic=text, detail=text)
    made = build_dsn(report(about, to=to, original=original, ret=ret, envid=text, utf8=utf8))
    harmless(made, utf8=utf8 or not to.isascii() or ret == "FULL")


def test_a_message_that_cannot_be_read_is_named_as_such(report) -> None:
    _, (text, _, part) = parsed(build_dsn(report(original=b"", ret="FULL")))
    assert "could not be read any more" in text.get_content()
    assert part.get_content_type() == "text/rfc822-headers"
