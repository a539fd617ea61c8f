"""The daily list of a mailbox's new messages in quarantine, in the language of its organization. Pure.

Called by `node.quarantine`, which queues it with the null reverse-path. Senders and subjects are an attacker's words:
they are cut, and no character of them opens a line, a field or a link. The same values always make the same bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from datetime import UTC, tzinfo
from typing import Final

import msgspec

from gatepost.language import ENGLISH, _, in_language, ngettext
from gatepost.protocols.message.header_text import shown_text
from gatepost.protocols.message.notice_mail import NoticeHead, notice_mail
from gatepost.sentences import ours
from gatepost.times import minute_text

_WIDTH: Final = 72
_TEXT: Final = 200  # characters of a text that others wrote


class DigestEntry(msgspec.Struct, frozen=True):
    """A message in quarantine. by: what holds it. reason: what was found, "" for a rule.

    received, until: seconds since 1970; it is deleted at `until`.
    """

    sender: str
    subject: str
    by: str
    reason: str
    received: float
    until: float
    queue_id: str


class QuarantineDigest(msgspec.Struct, frozen=True):
    """to: the address. domain: its domain (A-labels), from whose postmaster it comes. message_id: without brackets.

    hostname: ours. now: seconds since 1970. entries: the newest first; more: how many are not listed. language: of the
    text. zone: that times are in.
    """

    to: str
    domain: str
    hostname: str
    message_id: str
    now: float
    entries: tuple[DigestEntry, ...]
    more: int = 0
    language: str = ENGLISH
    zone: tzinfo = UTC


def digest_subject(digest: QuarantineDigest) -> str:
    """The subject: how many there are."""
    with in_language(digest.language):
        count = len(digest.entries) + digest.more
        return ngettext("%(num)s message in quarantine", "%(num)s messages in quarantine", count)


def build_digest(digest: QuarantineDigest) -> bytes:
    """The whole message."""
    subject, language = digest_subject(digest), digest.language
    with in_language(language):
        sender = _("Mail gateway")
        head = NoticeHead(sender, digest.domain, (digest.to,), subject, digest.now, digest.message_id, language)
        return notice_mail(head, _lines(digest))


def _lines(digest: QuarantineDigest) -> Iterator[str]:
    yield from _wrapped(
        _(
            "The mail gateway %(host)s holds these messages to you in quarantine. It deletes each of them at the time "
            "below.",
            host=digest.hostname,
        )
    )
    yield from _wrapped(
        _(
            "Do you expect one of them? Ask your administrator to release it, and name its ID. This message has no "
            "links, because anyone could forge a message with links."
        )
    )
    for entry in digest.entries:
        facts = (
            (_("From"), _harmless(entry.sender) or "<>"),
            (_("Subject"), _harmless(entry.subject)),
            (_("Reason"), _harmless(": ".join(filter(None, (ours(entry.by), entry.reason))))),
            (_("Received"), minute_text(entry.received, digest.zone)),
            (_("Deleted"), minute_text(entry.until, digest.zone)),
            ("ID", entry.queue_id),
        )
        width = max(len(label) for label, _text in facts) + 2
        yield ""
        for label, text in facts:
            yield from _wrapped(f"{label + ':':<{width}}{text}")
    if digest.more:
        yield from ("", _("and %(count)s more", count=digest.more))


def _harmless(text: str) -> str:
    """Text that no mail program makes a link of: it may be an attacker's."""
    return shown_text(text, _TEXT).replace("://", ":/ /").replace("www.", "www. ")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="", break_on_hyphens=False) or [""]
