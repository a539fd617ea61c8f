"""Proves how a failed 8-bit message goes back where its sender asked for all of it (RFC 3461 RET=FULL, RFC 6533).

Its notice goes as 8bit to a next hop that offers 8BITMIME (and SMTPUTF8 where its header needs that), and in 7 bits to
any other; the original is whole either way. Postfix takes both.
"""

from __future__ import annotations

import base64
import email
import email.policy
from collections.abc import Callable
from email.message import Message
from typing import Any

import pytest
from support.gateway import Gateway
from support.peers import Postfix
from support.scenes import connector, contoso, send

from gatepost.testing.sink import EXTENSIONS, Behaviour, Sink

SENDER = "sam@branch.example"
PLAIN = ("PIPELINING", "ENHANCEDSTATUSCODES")
EIGHT_BIT = (*PLAIN, "8BITMIME")
LATIN = (
    b"From: <sam@branch.example>\r\nSubject: Figures\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"gr\xfcn \xa4\r\n.\r\n--=_0\r\n"
)
UTF8 = LATIN.replace(b"Subject: Figures", "Subject: Grüße".encode())
LONG = LATIN + b"x" * 1200 + b"\r\n"


@pytest.mark.parametrize("content", [LATIN, LONG], ids=["8-bit", "long lines"])
@pytest.mark.parametrize("extensions", [EIGHT_BIT, PLAIN], ids=["8BITMIME", "no 8BITMIME"])
def test_an_8_bit_original_is_returned_whole(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], extensions: tuple[str, ...], content: bytes
) -> None:
    server, branch = _scene(gateway, sink, extensions)
    _fail(server, content, "BODY=8BITMIME")
    (received,) = branch.wait_messages(1)
    whole = "8BITMIME" in extensions and content is LATIN
    assert received.reverse_path == ""
    assert ("BODY=8BITMIME" in " ".join(received.parameters).split()) == whole
    assert received.data.isascii() != whole
    returned = _returned(received.data)
    kind = ("message/rfc822", "8bit") if whole else ("message/global", "base64")
    assert (returned.get_content_type(), returned["Content-Transfer-Encoding"]) == kind
    assert content in (received.data if whole else _decoded(received.data))
    assert all(len(line) <= 998 for line in received.data.split(b"\r\n"))


@pytest.mark.parametrize(
    ("extensions", "whole"),
    [(EXTENSIONS, True), (EIGHT_BIT, False), (PLAIN, False)],
    ids=["SMTPUTF8", "8BITMIME", "neither"],
)
def test_a_notice_with_a_utf_8_header_reaches_hosts_without_smtputf8(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], extensions: tuple[str, ...], *, whole: bool
) -> None:
    server, branch = _scene(gateway, sink, extensions)
    _fail(server, UTF8, "BODY=8BITMIME", "SMTPUTF8")
    (received,) = branch.wait_messages(1)
    returned = _returned(received.data)
    assert received.data.isascii() != whole
    kind = ("message/global", "8bit") if whole else ("message/global", "base64")
    assert (returned.get_content_type(), returned["Content-Transfer-Encoding"]) == kind
    assert UTF8 in (received.data if whole else _decoded(received.data))
    notice = email.message_from_bytes(received.data, policy=email.policy.default)
    assert notice["Subject"] == "Undeliverable: Grüße"
    status = notice.get_payload()[1]
    assert status.get_content_type() == "message/global-delivery-status"
    assert b"bob@partner.example" in (status.get_payload(decode=True) or received.data)
    (row,) = server.wait_trace(recipient=SENDER, event="SEND")
    assert ("converted" in str(row)) != whole


def test_the_first_host_of_two_lacks_8bitmime(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    """Each host gets the form that it takes: the one that defers the message first, and the one that has it then."""
    first = sink(behaviour=Behaviour(extensions=PLAIN, replies={".": "451 4.3.0 Later"}))
    server, branch = _scene(gateway, sink, EIGHT_BIT, before=first.address)
    _fail(server, LATIN, "BODY=8BITMIME")
    (received,) = branch.wait_messages(1)
    assert LATIN in received.data
    assert first.counts["DATA"] == 1
    assert "BODY=8BITMIME" in " ".join(received.parameters).split()


def test_postfix_reads_both_forms(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], postfix: Callable[..., Postfix]
) -> None:
    """Postfix as the sender's host: it parses the notice and hands on what it was given."""
    for hidden in ("", "8BITMIME SMTPUTF8"):
        branch = postfix(settings={"smtpd_discard_ehlo_keywords": hidden})
        server, _ = _scene(gateway, sink, (), address=branch.address)
        _fail(server, LATIN, "BODY=8BITMIME")
        (mail,) = branch.wait_mails(1)
        assert LATIN in (_decoded(mail.content) if hidden else mail.content)
        assert mail.content.isascii() == bool(hidden)


def test_a_mailbox_here_has_it_whole(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    server, _ = _scene(gateway, sink, (), mailboxes=[SENDER])
    _fail(server, LATIN, "BODY=8BITMIME")
    (mail,) = server.wait_maildir(SENDER)
    assert LATIN in mail.content


def _scene(
    gateway: Callable[..., Gateway],
    sink: Callable[..., Sink],
    extensions: tuple[str, ...],
    *,
    before: str = "",
    address: str = "",
    mailboxes: list[str] | None = None,
) -> tuple[Gateway, Sink]:
    """A gateway whose partner refuses everybody, and the server of the sender's domain."""
    partner = sink(behaviour=Behaviour(replies={"RCPT": "550 5.1.1 Unknown"}))
    branch = sink(behaviour=Behaviour(extensions=extensions))
    hosts = [before, branch.address] if before else [address or branch.address]
    back = connector("branch.example", *hosts, smart_host_order="listed")
    relay: dict[str, Any] = {"name": "branch.example"} | ({} if mailboxes else {"type": "internal-relay"})
    resources = contoso(
        domains=[{"name": "contoso.example"}, relay],
        outbound=[connector("partner.example", partner.address), *([] if mailboxes else [back])],
        mailboxes=mailboxes or (),
    )
    return gateway(resources), branch


def _fail(server: Gateway, content: bytes, *options: str) -> None:
    send(server.port, "bob@partner.example", sender=SENDER, content=content, mail=["RET=FULL", *options])
    server.wait_trace(recipient="bob@partner.example", event="FAIL")


def _returned(data: bytes) -> Message:
    notice = email.message_from_bytes(data, policy=email.policy.default)
    parts = notice.get_payload()
    assert notice.get_content_type() == "multipart/report"
    assert len(parts) == 3
    return parts[2]


def _decoded(data: bytes) -> bytes:
    """What is in the last part of a notice in 7 bits."""
    lines = data.rpartition(b"Content-Transfer-Encoding: base64\r\n\r\n")[2].partition(b"\r\n--")[0]
    return base64.b64decode(lines)
