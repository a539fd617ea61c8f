"""Decide whether a recipient of a relayed domain exists, by what its source of recipients says.

Called by `policy.decisions.inbound` at RCPT TO, and by `mail.inbound.session` again once a source outside the
configuration has answered. Pure: nobody is asked here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import DomainType, RecipientValidation, ValidationUnavailable
from gatepost.policy.decisions.refusals import NO_MAILBOX
from gatepost.protocols.ldap.messages import LdapResult, ResultCode
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.smtp.grammar import Path


_UNAVAILABLE = Reply(451, "4.4.3", ("Recipient cannot be verified now, try again later",))

# Of other 5xx replies to RCPT some are about the client, the session or the size: they say nothing of the recipient.
_UNKNOWN_CODES = frozenset({550, 551, 553, 554, 556})
_UNKNOWN_STATUS = ("5.1.", "5.2.1")

# Active Directory refers to these parts of itself in every search below a domain's root.
_HAS_NO_RECIPIENTS = re.compile(r"ldaps?://[^/]*/(DC=(Domain|Forest)DnsZones|CN=Configuration)(,|$)", re.IGNORECASE)


class RecipientQuestion(msgspec.Struct, frozen=True):
    """Whether a recipient of a relayed domain exists that has no mailbox here.

    organization: whose domain it is. is_from_null: the message has the null reverse-path. keys: addresses in lower case
    of which the source must know one; the recipient's own alone if there is none.
    """

    organization: str
    domain: AcceptedDomain
    recipient: Path
    is_from_null: bool = False
    keys: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of which the source must know one."""
        return self.keys or (self.recipient.text.lower(),)

    @property
    def may_ask(self) -> bool:
        """Whether the source may be asked for it, beyond what is remembered.

        A message with the null reverse-path is never returned to anybody, so nothing is gained by asking, and a storm
        of forged notices, or of others' questions, sets off none of ours.
        """
        return not (self.is_from_null and self.domain.recipient_validation is RecipientValidation.CALLOUT)


class RecipientAnswer(msgspec.Struct, frozen=True):
    """The answer of a source about a recipient.

    exists: None if it gave no answer. source: who said so, and what. is_down: it answers about nobody now.
    """

    exists: bool | None
    source: str
    is_down: bool = False


def no_such_mailbox(directory: Directory, recipient: Path) -> bool:
    """Whether the recipient's domain is authoritative with mailboxes, and it is none of them."""
    if not directory.has_mailboxes(recipient.domain):
        return False
    domain = directory.accepted_domain(recipient.domain)
    if domain is None or domain.type is not DomainType.AUTHORITATIVE:
        return False
    return directory.mailbox(recipient.text) is None


def question_of(directory: Directory, reverse_path: Path, recipient: Path) -> RecipientQuestion | None:
    """The question whether a recipient exists, None where every recipient is accepted or it has a mailbox here."""
    organization, domain = directory.organization_of(recipient.domain), directory.accepted_domain(recipient.domain)
    if organization is None or domain is None or domain.recipient_validation is RecipientValidation.NONE:
        return None
    if domain.type is not DomainType.INTERNAL_RELAY or directory.mailbox(recipient.text) is not None:
        return None
    keys = directory.recipient_keys(domain, recipient)
    return RecipientQuestion(organization.name, domain, recipient, is_from_null=not reverse_path.text, keys=keys)


def judge_by_list(directory: Directory, question: RecipientQuestion) -> tuple[Reply | None, str]:
    """The refusal, None if the domain's own list has the recipient; and the reason.

    Where the domain has another source, the list stands beside it: whom it does not have is asked of the source.
    """
    source = f"the recipient list of {question.domain.name} (configuration {directory.version})"
    if directory.lists_recipient(question.domain, question.recipient):
        return None, f"{question.recipient.text} is in {source}"
    return NO_MAILBOX, f"{question.recipient.text} is not in {source}"


def answer_of_callout(host: str, reply: Reply) -> RecipientAnswer:
    """The answer in a server's reply to RCPT: unknown only where it says that of the recipient itself."""
    source = f"callout to {host}, which said {reply.text}"
    if reply.transient:
        return RecipientAnswer(exists=None, source=source)
    unknown = reply.enhanced.startswith(_UNKNOWN_STATUS) if reply.enhanced else reply.code in _UNKNOWN_CODES
    if reply.positive or unknown:
        return RecipientAnswer(exists=reply.positive, source=source)
    # It may be for the null reverse-path alone: a group, for instance, that takes mail of its members only.
    return RecipientAnswer(exists=True, source=f"{source}, which does not mean that it is unknown")


def answer_of_directory(
    outcome: LdapResult, server: str, *, found: bool, references: Sequence[str] = (), is_empty: bool = False
) -> RecipientAnswer:
    """The answer in the result of a search. found: whether there was an entry. references: to other servers.

    is_empty: a search for whatever recipient found none either, as where the gateway may not read the entries.

    A result other than success says nothing of the recipient: the base that is named may not exist, or the gateway may
    not read it. Nor does a search that found nothing and refers to a part of the directory on another server.
    """
    source = f"the directory at {server}"
    if found:
        return RecipientAnswer(exists=True, source=f"{source} has an entry with it")
    elsewhere = next((reference for reference in references if not _HAS_NO_RECIPIENTS.match(reference)), "")
    if outcome.code == ResultCode.SUCCESS and elsewhere:
        said = f"has no entry with it and refers to {elsewhere}, which is not asked; ask a server that has all entries"
        return RecipientAnswer(exists=None, source=f"{source} {said}")
    if outcome.code == ResultCode.SUCCESS and is_empty:
        hint = "check base_dn, search_filter and what bind_dn may read"
        return RecipientAnswer(exists=None, source=f"{source} shows no recipient at all; {hint}", is_down=True)
    if outcome.code == ResultCode.SUCCESS:
        return RecipientAnswer(exists=False, source=f"{source} has no entry with it")
    return RecipientAnswer(exists=None, source=f"{source} answered {outcome.text}")


def judge_answer(question: RecipientQuestion, answer: RecipientAnswer, age: float) -> tuple[Reply | None, str]:
    """The refusal, None if the recipient is accepted; and the reason. age: of the answer, in seconds."""
    address = question.recipient.text
    since = f", {format_duration(round(age))} ago" if age >= 1 else ""
    if answer.exists is not None:
        return None if answer.exists else NO_MAILBOX, (
            f"{address} {'exists' if answer.exists else 'does not exist'}: {answer.source}{since}"
        )
    if question.domain.recipient_validation_unavailable is ValidationUnavailable.ACCEPT:
        return None, f"{address} is accepted unchecked: {answer.source}"
    return _UNAVAILABLE, f"it is not known whether {address} exists: {answer.source}"


def judge_unasked(question: RecipientQuestion) -> str:
    """The reason why a recipient is accepted without a question."""
    return (
        f"{question.recipient.text} is accepted unchecked: no callout is made for the null reverse-path, as nothing is "
        "returned to it"
    )


def foretell(question: RecipientQuestion) -> str:
    """The reason that `explain` gives, where nobody is asked."""
    if not question.may_ask:
        return judge_unasked(question)
    how = question.domain.recipient_validation
    return f"whether {question.recipient.text} exists is asked at RCPT TO ({how}), unless the answer is remembered"
