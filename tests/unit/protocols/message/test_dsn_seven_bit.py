"""The notification for next hops that take no 8 bits: the standard library reads the same in it as before."""

from __future__ import annotations

import base64
import quopri
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.protocols.message.dsn import build_dsn
from gatepost.protocols.message.dsn_seven_bit import original_part, seven_bit_dsn

LATIN = b"From: a@a.example\r\nSubject: Figures\r\n\r\ngr\xfcn\r\n--b0undary\r\n"
UTF8 = "From: a@a.example\r\nSubject: grün\r\n\r\ngrün\r\n".encode()


def converted(notice: bytes) -> tuple[EmailMessage, list[EmailMessage], bytes]:
    """The message in 7 bits, its three parts, and the original that it holds in base64."""
    made = seven_bit_dsn(notice)
    assert made.isascii()
    assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n")
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))
    message = cast("EmailMessage", message_from_bytes(made, policy=policy.SMTP))
    parts = cast("list[EmailMessage]", message.get_payload())
    assert len(parts) == 3
    assert message["Content-Transfer-Encoding"] == "7bit"
    encoded = made.partition(b"message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n")[2].partition(b"--")[0]
    return message, parts, base64.b64decode(encoded)


@pytest.mark.parametrize("original", [LATIN, UTF8, LATIN.removesuffix(b"\r\n")])
@pytest.mark.parametrize("utf8", [False, True])
def test_the_original_is_whole(report, original: bytes, utf8: bool) -> None:
    notice = build_dsn(report(original=original, ret="FULL", utf8=utf8))
    message, (text, status, _), returned = converted(notice)
    assert returned.removesuffix(b"\r\n") == original.removesuffix(b"\r\n")
    assert "b@b.example" in text.get_content()
    assert status.get_content_subtype() == ("global-delivery-status" if utf8 else "delivery-status")
    before = message_from_bytes(notice, policy=policy.SMTP)
    assert message["Subject"] == ("Undeliverable: grün" if original is UTF8 else before["Subject"])


def test_text_and_fields_beyond_ascii_are_quoted(report, recipient) -> None:
    notice = build_dsn(report(recipient(address="ж@b.example"), original=UTF8, utf8=True))
    _, (text, status, header), _ = converted(notice)
    assert "ж@b.example" in text.get_content()
    assert [part["Content-Transfer-Encoding"] for part in (text, status, header)] == ["quoted-printable"] * 3
    # The standard library undoes no encoding of the types of RFC 6533, which allows one.
    fields = quopri.decodestring(seven_bit_dsn(notice))
    assert "Final-Recipient: utf-8; ж@b.example\r\n".encode() in fields
    assert b"quoted-printable\r\n\r\n" + UTF8.partition(b"\r\n\r\n")[0] + b"\r\n" in fields


@pytest.mark.parametrize(
    ("address", "to"),
    [("a@bücher.example", "<a@xn--bcher-kva.example>"), ("ü@a.example", "<?@a.example>"), ("a@-é-", "<a@-?->")],
)
def test_the_address_in_to(report, address: str, to: str) -> None:
    made = seven_bit_dsn(build_dsn(report(to=address)))
    assert f"\r\nTo: {to}\r\n".encode() in made


def test_a_long_subject_is_folded_in_encoded_words(report) -> None:
    subject = "grüne 文字 und noch viel mehr davon, bis die Zeile umbricht, und das mehr als einmal"
    notice = build_dsn(report(original=f"Subject: {subject}\r\n\r\n".encode(), utf8=True))
    message, _, _ = converted(notice)
    assert message["Subject"] == f"Undeliverable: {subject}"


def test_fields_that_were_put_before_it_stay(report) -> None:
    before = b"Delivered-To: ann@a.example\r\nReceived: from x\r\n\tby y; date\r\n"
    made = seven_bit_dsn(before + build_dsn(report(original=LATIN, ret="FULL")))
    assert made.startswith(before)
    assert made.isascii()


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"Subject: gr\xfcn\r\n\r\ngr\xfcn\r\n",
        b'Content-Type: multipart/report; boundary="b"\r\nSubject: gr\xfcn\r\n',
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ngr\xfcn\r\n--b--\r\n',
    ],
)
def test_what_is_no_notification_stays(other: bytes) -> None:
    assert seven_bit_dsn(other) == other


def test_what_is_7_bit_stays(report) -> None:
    notice = build_dsn(report(ret="FULL"))
    assert seven_bit_dsn(notice) == notice


def test_the_part_of_an_original() -> None:
    assert original_part(b"x\r\n") == (
        b"Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\neA0K\r\n"
    )


@given(st.text(min_size=1), st.text(), st.binary(), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_input(report: Any, recipient: Any, to: str, text: str, original: bytes, utf8: bool) -> None:
    about = recipient(address=text, diagnostic=text, detail=text)
    original = b"Subject: " + text.encode("utf-8", "replace").translate(None, b"\r\n") + b"\r\n\r\n" + original
    made = build_dsn(report(about, to=to, original=original, ret="FULL", utf8=utf8))
    converted(made)
