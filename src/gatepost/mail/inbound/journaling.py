"""Give an accepted message the deliveries of its journal copies, so that one transaction of the store has all of them.

Called by `mail.inbound.transaction`. Only what comes into the site here is journaled: another node journaled what it
hands over, and what this gateway writes itself never passes here, so a report is not journaled. A copy that its mailbox
sends back is refused as a loop.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gatepost.mail.model.message import Delivery, Journal, Message, Recipient, sent_as
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.decisions.forwarding import expand
from gatepost.policy.decisions.journaling import JournaledMail, JournaledRecipient, header_names, journal_copies
from gatepost.protocols.message.fields import field_values
from gatepost.protocols.message.journal_report import MARK
from gatepost.protocols.smtp.grammar import GrammarError, parse_address
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.inbound.deliveries import AcceptedRecipient
    from gatepost.mail.inbound.service import InboundService
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.journaling import JournalCopy
    from gatepost.protocols.smtp.server.events import MailEvent


_MARK = MARK.lower()
_MARKS = 10  # journals that a report tells of


def copies_of(
    directory: Directory, mail: MailEvent, recipients: Sequence[AcceptedRecipient], header: bytes
) -> tuple[tuple[JournalCopy, ...], bool]:
    """The journal copies of a message, and whether it is itself one that its mailbox sent back.

    header: the header section, as it will be stored.
    """
    journals = directory.journals
    if journals is None:
        return (), False
    journaled = _journaled(directory, mail, recipients)
    names = header_names(journals, journaled)
    if not names:
        return (), False
    fields = field_values(header, {*names, _MARK})
    copies = journal_copies(journals, journaled, Content(fields))
    marks = {address.strip().lower() for address in fields.get(_MARK, ())}
    if marks:
        before = tuple(sorted(filter(_is_address, marks)))[:_MARKS]
        copies = tuple(replace(copy, before=before) for copy in copies)
    return copies, any(copy.address.lower() in marks for copy in copies)


def _is_address(mark: str) -> bool:
    """Whether it may stand in a report. Anyone can write such a field."""
    try:
        return parse_address(mark).text.isascii()
    except GrammarError:
        return False


def _journaled(directory: Directory, mail: MailEvent, recipients: Sequence[AcceptedRecipient]) -> JournaledMail:
    verdict = recipients[0].verdict
    sender = verdict.organization if verdict.direction == "originating" else ""
    return JournaledMail(
        sender,
        mail.path.text,
        tuple(
            JournaledRecipient(
                recipient.event.path.text,
                owner.name if (owner := directory.organization_of(recipient.event.path.domain)) is not None else "",
                tuple(target.path.text for target in recipient.targets if target.forwarded_by),
            )
            for recipient in recipients
        ),
    )


def journal_deliveries(
    service: InboundService, directory: Directory, message: Message, copies: Sequence[JournalCopy]
) -> Iterator[Delivery]:
    """A delivery of the message for each copy, and for each place to which the journal mailbox forwards."""
    for copy in copies:
        for target in expand(directory, parse_address(copy.address)).targets:
            journal = Journal(
                str(copy.form),
                copy.address,
                message.reverse_path,
                copy.author,
                f"=_{secrets.token_hex(16)}",
                copy.lines,
                message.smtputf8,
                copy.rules,
                before=copy.before,
            )
            recipient = Recipient(target.path.text, "NEVER", forwarded_by=target.forwarded_by, journal=journal)
            yield Delivery(
                service.store.new_id(),
                sent_as(message, [recipient], copy.organization),
                f"{copy.organization}/{target.path.domain}",
                [recipient],
                expires_at=message.received + service.expiration(copy.organization),
            )
