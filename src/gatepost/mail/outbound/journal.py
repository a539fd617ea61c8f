"""Make of a stored message what its journal mailbox gets: a report with the message in it, or a copy.

Called by `mail.outbound.body` for a delivery to a journal mailbox. The message is the one that was accepted, before
anything that is done to it on its other ways: what an archive holds is what came in or was submitted
(docs/decisions/0096). It is read from the store in chunks as it is sent, never joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.mail.model.queue_id import format_id
from gatepost.protocols.message.journal_report import MARK, JournalReport, report_head, report_tail

if TYPE_CHECKING:
    from gatepost.mail.model.message import Delivery, Journal


def around(delivery: Delivery, journal: Journal) -> tuple[bytes, bytes]:
    """The octets that go before and behind the stored message of a journal copy."""
    message = delivery.message
    if journal.form == "copy":
        return f"{MARK}: {journal.to}\r\n".encode("ascii", "replace"), b""
    report = JournalReport(
        to=journal.to,
        author=journal.author,
        report_id=f"journal.{format_id(delivery.id)}@{journal.author.rpartition('@')[2]}",
        boundary=journal.boundary,
        now=message.received,
        sender=journal.sender,
        subject=message.subject,
        message_id=message.message_id,
        lines=journal.lines,
        body_type=message.body_type,
        utf8=journal.utf8,
        before=journal.before,
    )
    return report_head(report), report_tail(report)
