"""The fields of a mail flow rule, for `policy.connectors.records`; `policy.connectors.mail_flow` does what it says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import (
    AddressPattern,
    Form,
    HeaderName,
    Label,
    Range,
    Record,
    Switch,
    Text,
    Whole,
)
from gatepost.policy.connectors.values import ContentProtection, Mode


class MailFlowRule(Record):
    """A rule for messages that meet every condition: another route, or protection on any route.

    Rules are looked at in the order of priority and name, for each recipient. Several that apply add up: the first
    route_via_connector counts, and require_tls, encrypt and sign of any.
    """

    name: Label = Field(description="Unique among the mail flow rules of the organization.")
    enabled: Switch = Field(default=True, description="A disabled rule has no effect.")
    mode: Mode = Field(default=Mode.ENFORCE, description="rehearse: what the rule would do is only reported.")
    priority: Annotated[Whole, Range(0, 1000)] = Field(default=100, description="Lower numbers are looked at first.")
    senders: tuple[AddressPattern, ...] = Field(
        default=(), description='Reverse-paths. Empty: any. "*" takes in the null reverse-path too.'
    )
    except_senders: tuple[AddressPattern, ...] = Field(default=(), description="Reverse-paths it does not hold for.")
    recipients: tuple[AddressPattern, ...] = Field(default=(), description="Recipients. Empty: any.")
    except_recipients: tuple[AddressPattern, ...] = Field(default=(), description="Recipients it does not hold for.")
    header_name: HeaderName = Field(
        default="", description="The message must have a header field of this name. Empty: any message."
    )
    header_contains: tuple[Text, ...] = Field(
        default=(),
        description="Words, one of which the field must contain, whatever the case. Empty: the field must be there.",
    )
    route_via_connector: Annotated[str, Field(max_length=64), Form("name of an outbound connector")] = Field(
        default="", description="The message goes by this outbound connector of the organization."
    )
    require_tls: Switch = Field(
        default=False,
        description="The message leaves only over TLS, whoever the next hop is; what a connector demands besides, "
        "stays.",
    )
    encrypt: ContentProtection = Field(
        default=ContentProtection.NONE,
        description="smime: the content leaves only encrypted to the recipient's certificate, by whatever connector.",
    )
    sign: ContentProtection = Field(
        default=ContentProtection.NONE,
        description="smime: the content is signed as a connector's sign says, by whatever connector it leaves.",
    )
    stop_rule_processing: Switch = Field(
        default=False, description="No further rule is looked at. A rule in rehearsal stops none."
    )
    comment: Text = Field(default="", description="For people; no effect.")
