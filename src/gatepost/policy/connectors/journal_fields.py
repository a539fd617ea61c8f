"""The fields of organizations and mail flow rules about journaling, a part of `policy.connectors.records`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Form
from gatepost.policy.connectors.names import mail_address
from gatepost.policy.connectors.values import JournalDirection, JournalForm


def _optional_address(value: str) -> str:
    return mail_address(value) if value else value


_Address = Annotated[str, AfterValidator(_optional_address), Form("mail address, or nothing")]

JournalTo = Annotated[
    _Address,
    Field(
        description="Journal mailbox: a copy of each message goes to this address. Name a mailbox of the "
        "organization, or an address to which a connector forces verified TLS (docs/journaling.md). Empty: no journal."
    ),
]
JournalFormField = Annotated[
    JournalForm,
    Field(
        description="report: a journal report with sender and all recipients, the message attached unchanged. copy: "
        "the message itself in a new envelope, without the list of recipients."
    ),
]
JournalDirectionField = Annotated[
    JournalDirection,
    Field(
        description="Which mail is journaled. incoming: from others. outgoing: to others. internal: from the "
        "organization to itself. external: incoming and outgoing."
    ),
]
JournalFailuresTo = Annotated[
    _Address,
    Field(
        description="Where a journal copy goes that the journal mailbox refuses, or that expires; the same rules apply "
        "to it as to journal_to. Empty: the copy stays in the queue and raises an alarm. The sender is never notified."
    ),
]
