"""Lint the limits of what connectors, users and servers may send. Called by `policy.connectors.lint`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.values import ConnectorType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization


def lint_limits(organization: Organization) -> Iterator[str]:
    """Limits that have no effect, a sentence each."""
    for mailbox in organization.mailboxes:
        label = f"mailbox {mailbox.address} of {organization.name}"
        ceiling = organization.user_messages_per_day, organization.user_recipients_per_day
        yield from _daily(mailbox, label, ceiling, "user")
    for connector in organization.inbound_connectors:
        label = f"inbound connector {connector.name!r} of {organization.name}"
        if connector.connector_type is ConnectorType.ON_PREMISES:
            ceiling = organization.server_messages_per_day, organization.server_recipients_per_day
            yield from _daily(connector, label, ceiling, "server")
        elif connector.messages_per_day or connector.recipients_per_day:
            yield f"{label}: messages_per_day and recipients_per_day act on on-premises connectors only; leave them out"


def _daily(part: Mailbox | InboundConnector, label: str, ceiling: tuple[int, int], kind: str) -> Iterator[str]:
    for noun, own, most in zip(
        ("messages", "recipients"), (part.messages_per_day, part.recipients_per_day), ceiling, strict=True
    ):
        if most and own >= most:
            yield (
                f"{label}: {noun}_per_day = {own} has no effect, as {kind}_{noun}_per_day of the organization is {most}"
            )
    if part.messages_per_day and 0 < part.recipients_per_day < part.messages_per_day:
        yield f"{label}: messages_per_day has no effect, as recipients_per_day is lower"
