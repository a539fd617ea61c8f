from __future__ import annotations

from email import message_from_bytes, policy

from gatepost.protocols.message.notice_mail import NoticeHead, notice_mail
from gatepost.values import replace

HEAD = NoticeHead("gatepost", "mx.a.example", ("ann@a.example",), "all clear", 1_790_000_000.0, "1@mx.a.example", "en")


def test_plain_text_stays_plain() -> None:
    content = notice_mail(HEAD, ["one", "two"])
    assert content.endswith(b"Content-Transfer-Encoding: 7bit\r\n\r\none\r\ntwo\r\n")
    assert b"charset=us-ascii" in content
    assert message_from_bytes(content, policy=policy.SMTP)["From"] == "gatepost <postmaster@mx.a.example>"


def test_letters_beyond_ascii_are_encoded_in_head_and_body() -> None:
    head = replace(HEAD, name="Brücke", subject="Åtgärd", language="sv", to=("ann@a.example", "bob@a.example"))
    content = notice_mail(head, ["är", "x" * 2000])
    parsed = message_from_bytes(content, policy=policy.SMTP)
    assert content.isascii()
    assert (parsed["Subject"], parsed["Content-Language"]) == ("Åtgärd", "sv")
    assert parsed["From"].addresses[0].display_name == "Brücke"
    assert parsed["To"] == "ann@a.example, bob@a.example"
    assert parsed.get_content().splitlines()[0] == "är"
    assert max(map(len, content.split(b"\r\n"))) <= 998


def test_a_long_subject_is_shown_without_tabs() -> None:
    """Clients show what stands after the CRLF of a fold: RFC 5322 section 2.2.3."""
    subject = "[gatepost mx.a.example] 1 critical: mail to b.example waits, as TLS does not meet the requirement"
    content = notice_mail(replace(HEAD, subject=subject), ["text"])
    field = content.partition(b"Subject: ")[2].partition(b"\r\nDate")[0]
    assert b"\r\n" in field
    assert field.replace(b"\r\n", b"").decode() == subject


def test_no_text_opens_another_field() -> None:
    evil = "x\r\nBcc: eve@else.example\r\n\r\nbody"
    content = notice_mail(replace(HEAD, name=evil, subject=evil, domain=evil, to=(evil,)), ["text"])
    head = content.partition(b"\r\n\r\n")[0]
    fields = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert b"Bcc" not in fields
