"""The daily list of a mailbox's new messages in quarantine, as a message (RFC 5322, RFC 3834). Pure.

Called by `node.quarantine`, which queues it with the null reverse-path. Senders and subjects are an attacker's words:
they are cut, and no character of them opens a line, a field or a link. The same values always make the same bytes.
"""

from __future__ import annotations

import binascii
import textwrap
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.protocols.message.header_text import ascii_text, fold, format_date, host_text, shown_text
from gatepost.quantity import quantity
from gatepost.times import minute_text

if TYPE_CHECKING:
    from collections.abc import Iterator


_WIDTH: Final = 72
_TEXT: Final = 200  # characters of a text that others wrote


class DigestEntry(msgspec.Struct, frozen=True):
    """A message in quarantine. received, until: seconds since 1970; it is deleted at `until`."""

    sender: str
    subject: str
    reason: str
    received: float
    until: float
    queue_id: str


class QuarantineDigest(msgspec.Struct, frozen=True):
    """to: the address. domain: its domain (A-labels), from whose postmaster it comes. message_id: without brackets.

    hostname: ours. now: seconds since 1970. entries: the newest first; more: how many are not listed.
    """

    to: str
    domain: str
    hostname: str
    message_id: str
    now: float
    entries: tuple[DigestEntry, ...]
    more: int = 0


def digest_subject(digest: QuarantineDigest) -> str:
    """The subject: how many there are."""
    return f"{quantity(len(digest.entries) + digest.more, 'message')} in quarantine"


def build_digest(digest: QuarantineDigest) -> bytes:
    """The whole message. Its text is US-ASCII, or UTF-8 as quoted-printable."""
    text = "".join(f"{line}\r\n" for line in _lines(digest))
    fields = [
        ("From", f"Mail gateway <postmaster@{host_text(digest.domain)}>"),
        ("To", f"<{ascii_text(digest.to, 400)}>"),
        ("Subject", digest_subject(digest)),
        ("Date", format_date(digest.now)),
        ("Message-ID", f"<{digest.message_id}>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f"text/plain; charset={'us-ascii' if text.isascii() else 'utf-8'}"),
        ("Content-Transfer-Encoding", "7bit" if text.isascii() else "quoted-printable"),
    ]
    head = "".join(f"{fold([f'{name}:', *value.split()])}\r\n" for name, value in fields)
    body = text.encode() if text.isascii() else binascii.b2a_qp(text.encode(), istext=True)
    return head.encode("ascii", "replace") + b"\r\n" + body


def _lines(digest: QuarantineDigest) -> Iterator[str]:
    yield from _wrapped(
        f"The mail gateway {digest.hostname} holds these messages to you in quarantine. It deletes each of them at the "
        "time below."
    )
    yield from _wrapped(
        "Do you expect one of them? Ask your administrator to release it, and name its ID. This message has no links, "
        "because anyone could forge a message with links."
    )
    for entry in digest.entries:
        yield ""
        yield from _wrapped(f"From:     {_harmless(entry.sender) or '<>'}")
        yield from _wrapped(f"Subject:  {_harmless(entry.subject)}")
        yield from _wrapped(f"Reason:   {_harmless(entry.reason)}")
        yield f"Received: {minute_text(entry.received)}"
        yield f"Deleted:  {minute_text(entry.until)}"
        yield f"ID:       {entry.queue_id}"
    if digest.more:
        yield from ("", f"and {digest.more} more")


def _harmless(text: str) -> str:
    """Text that no mail program makes a link of: it may be an attacker's."""
    return shown_text(text, _TEXT).replace("://", ":/ /").replace("www.", "www. ")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="", break_on_hyphens=False) or [""]
