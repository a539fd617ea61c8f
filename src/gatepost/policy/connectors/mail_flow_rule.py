"""The fields of a mail flow rule, for `policy.connectors.records`; `policy.connectors.mail_flow` does what it says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import AddressPattern, Form, HeaderName, Label, Range, Switch, Text, Whole
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.record_fields import (
    JournalDirectionField,  # noqa: TC001 - pydantic reads the annotation
    JournalFormField,  # noqa: TC001 - as above
    JournalTo,  # noqa: TC001 - as above
)
from gatepost.policy.connectors.values import ContentProtection, JournalDirection, JournalForm, Mode


class MailFlowRule(Record):
    """A rule that routes, protects, journals or quarantines messages that meet all of its conditions.

    The gateway checks the rules for each recipient, in the order of priority and name. If several apply, the first
    route_via_connector counts, and require_tls, encrypt, sign, journal_to and quarantine of all.
    """

    name: Label = Field(description="A name that is unique among the mail flow rules of the organization.")
    enabled: Switch = Field(default=True, description="A disabled rule has no effect.")
    mode: Mode = Field(default=Mode.ENFORCE, description="rehearse: the gateway only reports what the rule would do.")
    priority: Annotated[Whole, Range(0, 1000)] = Field(
        default=100, description="The gateway applies lower numbers first."
    )
    senders: tuple[AddressPattern, ...] = Field(
        default=(),
        description='Reverse-paths to which the rule applies. Empty: all. "*" includes the null reverse-path.',
    )
    except_senders: tuple[AddressPattern, ...] = Field(
        default=(), description="Reverse-paths to which the rule does not apply."
    )
    recipients: tuple[AddressPattern, ...] = Field(
        default=(), description="Recipients to which the rule applies. Empty: all."
    )
    except_recipients: tuple[AddressPattern, ...] = Field(
        default=(), description="Recipients to which the rule does not apply."
    )
    header_name: HeaderName = Field(
        default="", description="The message must have a header field of this name. Empty: any message."
    )
    header_contains: tuple[Text, ...] = Field(
        default=(),
        description="The header field must contain one of these texts, in upper or lower case. Empty: any content.",
    )
    route_via_connector: Annotated[str, Field(max_length=64), Form("name of an outbound connector")] = Field(
        default="", description="Route the message through this outbound connector of the organization."
    )
    require_tls: Switch = Field(
        default=False,
        description="Send the message only over TLS, to any next hop. Further requirements of the connector still "
        "apply.",
    )
    encrypt: ContentProtection = Field(
        default=ContentProtection.NONE,
        description="smime: encrypt the content to the recipient's certificate, with any connector.",
    )
    sign: ContentProtection = Field(
        default=ContentProtection.NONE,
        description="smime: sign the content as the sign setting of a connector does, with any connector.",
    )
    journal_to: JournalTo = ""
    journal_form: JournalFormField = JournalForm.REPORT
    journal_direction: JournalDirectionField = JournalDirection.ALL
    quarantine: Switch = Field(
        default=False,
        description="Hold the message in the organization's quarantine (docs/quarantine.md) when it arrives. Once it "
        "is released, the rule does not hold it again.",
    )
    stop_rule_processing: Switch = Field(
        default=False, description="Stop processing more rules. A rule in rehearsal does not stop others."
    )
    comment: Text = Field(default="", description="A note without effect.")

    @property
    def acts(self) -> bool:
        """Whether it does anything to a message that meets its conditions."""
        protects = self.require_tls or ContentProtection.SMIME in {self.encrypt, self.sign}
        return protects or self.quarantine or bool(self.route_via_connector or self.journal_to)
