"""Make the test message, and send it over a connection that meets the connector's requirement.

Called by `analysis.checks.validation`. It goes straight to the next hop, never through the queue, so that the reply of
the other side is at hand.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.analysis.checks import advice
from gatepost.analysis.checks.tasks import Task, TaskStatus, detail_of
from gatepost.mail.outbound.failure import ConnectionEnded
from gatepost.protocols.message.header_text import ascii_text, fold, format_date, host_text
from gatepost.protocols.smtp.client.transaction import MailTransaction, TransactionResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatepost.mail.outbound.hop import OpenHop


TEST_MESSAGE = "Test message"


@dataclass(frozen=True, slots=True)
class TestMessage:
    """sender, recipients: addresses that were parsed. connector: its label. hostname: ours. now: seconds since 1970."""

    __test__ = False  # not one of pytest's

    sender: str
    recipients: tuple[str, ...]
    connector: str
    hostname: str
    now: float

    @property
    def is_ascii(self) -> bool:
        """Whether it needs no SMTPUTF8."""
        return all(address.isascii() for address in (self.sender, *self.recipients))

    def content(self) -> bytes:
        """Header section and body (RFC 5322), lines ending in CRLF. RFC 3834: nobody is to answer it."""
        host = host_text(self.hostname)
        name = ascii_text(self.connector, 200)
        lines = [
            f"From: <{self.sender}>",
            fold(["To:", *", ".join(f"<{address}>" for address in self.recipients).split(" ")]),
            fold(["Subject: Test of", *name.split(" ")]),
            f"Date: {format_date(self.now)}",
            f"Message-ID: <{secrets.token_hex(16)}@{host}>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            f"This is a test of the {name}.",
            "An administrator had it sent to see whether mail arrives over the",
            f"connection that {host} has with this server. Nothing need be done.",
        ]
        return "".join(f"{line}\r\n" for line in lines).encode()


async def send(message: TestMessage, opened: OpenHop) -> Task:
    """Send it in one transaction, and end the connection. Fails if a single recipient is refused."""
    content, begun = message.content(), time.monotonic()

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    transaction = MailTransaction(
        reverse_path=message.sender,
        recipients=[(address, "", "") for address in message.recipients],
        size=len(content),
        smtputf8=not message.is_ascii,
        header_8bit=not message.is_ascii,
    )
    try:
        outcome = await opened.connection.send(transaction, content, chunks)
    except ConnectionEnded as ended:
        seconds = time.monotonic() - begun
        what = advice.recipient_advice(ended.failure.reply.code)
        return Task(TEST_MESSAGE, TaskStatus.FAILED, ended.failure.text, what, seconds)
    opened.connection.quit()
    return _task(message, outcome, time.monotonic() - begun)


def _task(message: TestMessage, outcome: TransactionResult, seconds: float) -> Task:
    first, *others = (f"{recipient.address}: {recipient.reply.text}" for recipient in outcome.recipients)
    refused = outcome.refused
    detail = detail_of(f"from {message.sender} to {first}", *others)
    if not refused:
        return Task(TEST_MESSAGE, TaskStatus.SUCCEEDED, detail, seconds=seconds)
    what = advice.recipient_advice(refused[0].reply.code)
    return Task(TEST_MESSAGE, TaskStatus.FAILED, detail, what, seconds)
