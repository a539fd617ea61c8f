"""Accepted domains: the fields of one. A part of `policy.connectors.records`; nobody is asked for a recipient here.

Who knows the recipients of a domain is decided by `policy.decisions.recipient_validation`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors import fields
from gatepost.policy.connectors.recipient_directory import RecipientDirectory  # noqa: TC001 - pydantic reads it
from gatepost.policy.connectors.recipient_graph import RecipientGraph  # noqa: TC001 - pydantic reads it
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import DomainType, PublishedSts, RecipientValidation, ValidationUnavailable


class AcceptedDomain(Record):
    """A domain for which the organization accepts mail."""

    name: fields.NamePattern = Field(
        description='The domain. With type = "internal-relay" also "*.domain": the domain and all its subdomains.'
    )
    type: DomainType = Field(
        default=DomainType.AUTHORITATIVE,
        description="authoritative: all recipients of the domain have a mailbox here; as soon as there is one "
        "mailbox, the gateway refuses other recipients. internal-relay: an outbound connector delivers to "
        "recipients without a mailbox here.",
    )
    recipient_validation: RecipientValidation = Field(
        default=RecipientValidation.NONE,
        description='With type = "internal-relay": how the gateway checks, before it accepts a message, that a '
        "recipient without a mailbox here exists. It refuses unknown recipients with 550 5.1.1. none: it accepts "
        "every recipient; if the server behind it refuses one, the sender gets a notice, which may hit somebody whose "
        "address was forged. list: the addresses in recipients. file: the addresses in recipients_file. ldap: "
        "the gateway asks the directory in recipient_directory, and remembers the answer. graph: it asks Microsoft "
        "Graph as recipient_graph says, and remembers the answer. callout: the gateway asks the server behind it "
        "(RCPT), by the connector that would deliver and under its TLS requirement, and remembers the answer.",
    )
    recipients: tuple[fields.MailAddress, ...] = Field(
        default=(),
        description='With recipient_validation = "list": every address of the domain that exists behind this gateway. '
        "With another source: addresses that exist although the source does not know them; it is not asked for "
        "them. Mailboxes of the gateway are known without it. Upper and lower case are treated alike, and the "
        "organization's subaddress_separator applies.",
    )
    recipients_file: Annotated[
        fields.FilePath,
        fields.Owned(lambda value: fields.Access.MACHINE if value else None, "write the addresses in recipients"),
    ] = Field(
        default="",
        description='With recipient_validation = "file": a file with every address of the domain that exists behind '
        'this gateway, one a line; "#" begins a comment. It is read again when it changes. Only the gateway\'s owner '
        "can name it.",
    )
    recipient_directory: RecipientDirectory | None = Field(
        default=None,
        description='With recipient_validation = "ldap": the LDAP directory, such as Active Directory or OpenLDAP, '
        "that has the addresses. Only the gateway's owner can write it.",
    )
    recipient_graph: RecipientGraph | None = Field(
        default=None,
        description='With recipient_validation = "graph": the app registration in Microsoft Entra ID with which the '
        "gateway looks recipients up in Microsoft Graph.",
    )
    recipient_validation_unavailable: ValidationUnavailable = Field(
        default=ValidationUnavailable.DEFER,
        description='With recipient_validation = "file", "ldap", "graph" or "callout": what to do with a recipient '
        "while nobody can be asked, or the file cannot be read. defer: ask the sender to try again (451). accept: "
        "accept the recipient unchecked, and record that in the trace.",
    )
    verified: fields.Switch = Field(
        default=True,
        description="Whether the organization has proved that the domain is its own. false: the domain is pending and "
        "has no effect on mail. Administrators of the whole gateway can set this. A domain that a "
        "tenant's administrator adds stays pending until `gatepost domain verify` finds its TXT record.",
    )
    mta_sts: PublishedSts = Field(
        default=PublishedSts.NOT_PUBLISHED,
        description="The MTA-STS policy that the gateway serves for the domain (RFC 8461). testing: senders only "
        "report what enforce would block. none: withdraws a published policy; keep it for at least the "
        "max_age of the old policy.",
    )
    mta_sts_mx: tuple[fields.NamePattern, ...] = Field(
        default=(),
        description='MX hosts in the served policy, such as "mx.a.example" or "*.a.example". Empty: the gateway\'s own '
        "name.",
    )
    mta_sts_max_age: Annotated[fields.Duration, fields.Range(86400, 31557600, format_duration)] = Field(
        default=604800, description="How long senders may cache the served policy."
    )
