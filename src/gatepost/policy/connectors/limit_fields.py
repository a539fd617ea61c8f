"""The fields that limit how much a connector, a user or a server may send, a part of `policy.connectors.records`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Range, Whole

_PerDay = Annotated[Whole, Range(0, 10_000_000)]
MaxConnections = Annotated[
    Whole,
    Range(0, 1000),
    Field(
        description="Connections to one next hop at the same time (the smart hosts together, or the MX hosts that "
        "domains share), including idle ones. 0: [queue] connections_per_destination, which is the upper limit in any "
        "case."
    ),
]
MaxMessagesPerMinute = Annotated[
    Whole,
    Range(0, 1_000_000),
    Field(
        description="Messages to one next hop in a minute, spread over it. What exceeds it waits; that is no failed "
        "attempt, and other mail passes it (docs/sending-limits.md). 0: [queue] messages_per_minute_per_destination."
    ),
]
MessagesPerDay = Annotated[
    _PerDay,
    Field(description="Messages that it may send in a day (UTC). 0: only the organization's limit."),
]
RecipientsPerDay = Annotated[
    _PerDay,
    Field(description="Recipients to which it may send in a day (UTC). 0: only the organization's limit."),
]
UserMessagesPerDay = Annotated[
    _PerDay,
    Field(
        description="Messages that each user who logs in may send in a day (UTC). A mailbox can have a lower limit. "
        "Only the gateway's owner can change it. 0: no limit."
    ),
]
UserRecipientsPerDay = Annotated[
    _PerDay,
    Field(description="The same for recipients: each recipient of each message counts."),
]
ServerMessagesPerDay = Annotated[
    _PerDay,
    Field(
        description="Messages that the servers of each on-premises inbound connector may send together in a day (UTC). "
        "A connector can have a lower limit. Only the gateway's owner can change it. 0: no limit."
    ),
]
ServerRecipientsPerDay = Annotated[
    _PerDay,
    Field(description="The same for recipients: each recipient of each message counts."),
]
Priority = Annotated[
    Whole,
    Range(0, 1000),
    Field(
        description="The gateway tries lower numbers first. Among equal numbers, the more specific domain wins. Keep "
        "the default unless you need an exception."
    ),
]
