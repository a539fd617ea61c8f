"""Decide whether a recipient of a relayed domain exists, by what its source of recipients says.

Called by `policy.decisions.inbound` at RCPT TO, and by `mail.inbound.session` again once a source outside the
configuration has answered. Pure: nobody is asked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.policy.connectors.values import DomainType, RecipientValidation
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.grammar import Path


NO_MAILBOX = Reply(550, "5.1.1", ("Recipient address rejected: no such mailbox here",))
"""The refusal of an unknown recipient, whoever knows that: a stranger learns nothing of what is behind the gateway."""


@dataclass(frozen=True, slots=True)
class RecipientQuestion:
    """A recipient of a relayed domain that has no mailbox here. organization: whose domain it is."""

    organization: str
    domain: AcceptedDomain
    recipient: Path


def question_of(directory: Directory, recipient: Path) -> RecipientQuestion | None:
    """The question whether a recipient exists, None where every recipient is accepted or it has a mailbox here."""
    organization, domain = directory.organization_of(recipient.domain), directory.accepted_domain(recipient.domain)
    if organization is None or domain is None or domain.recipient_validation is RecipientValidation.NONE:
        return None
    if domain.type is not DomainType.INTERNAL_RELAY or directory.mailbox(recipient.text) is not None:
        return None
    return RecipientQuestion(organization.name, domain, recipient)


def judge_by_list(directory: Directory, question: RecipientQuestion) -> tuple[Reply | None, str]:
    """The refusal, None if the domain's own list has the recipient; and the reason."""
    source = f"the recipient list of {question.domain.name} (configuration {directory.version})"
    if directory.lists_recipient(question.domain, question.recipient):
        return None, f"{question.recipient.text} is in {source}"
    return NO_MAILBOX, f"{question.recipient.text} is not in {source}"
