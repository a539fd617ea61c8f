"""The demands on a message's content before it leaves: encrypted, signed; and who makes them.

`policy.decisions.route` joins what the connector and the mail flow rules ask, `mail.outbound.smime` does it,
`policy.decisions.explain` tells it. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.policy.connectors.values import ContentProtection, Mode
from gatepost.policy.decisions.requirement import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.policy.connectors.records import OutboundConnector


class Demand(msgspec.Struct, frozen=True):
    """The sources of one demand. required: it must be met, or the message waits. rehearsed: they would demand it."""

    required: tuple[Source, ...] = ()
    rehearsed: tuple[Source, ...] = ()

    @classmethod
    def of(
        cls, kind: str, required: Iterable[str] = (), rehearsed: Iterable[str] = (), *, organization: str = ""
    ) -> Demand:
        """By the names of those who ask, all of one kind and organization (see `Source`)."""
        return cls(
            tuple(Source(kind, name, organization) for name in required),
            tuple(Source(kind, name, organization) for name in rehearsed),
        )

    def joined(self, other: Demand) -> Demand:
        """Combine two demands: all sources of both."""
        if not (other.required or other.rehearsed):
            return self
        return Demand((*self.required, *other.required), (*self.rehearsed, *other.rehearsed))

    def asking(self, own: str) -> tuple[str, ...]:
        """The organizations that require it, else those that would. own: the one whose mail it is."""
        return tuple(dict.fromkeys(source.organization or own for source in self.required or self.rehearsed))

    def record(self) -> dict[str, Any]:
        """For the trace and for machines; {} if nobody asks."""
        record: dict[str, Any] = {}
        if self.required:
            record["required_by"] = [str(source) for source in self.required]
        if self.rehearsed:
            record["rehearsed_by"] = [str(source) for source in self.rehearsed]
        return record


class ContentDemand(msgspec.Struct, frozen=True):
    """The demands on a message's content, whatever connection it leaves by: the conjunction of all sources."""

    encrypt: Demand = Demand()
    sign: Demand = Demand()

    def joined(self, other: ContentDemand) -> ContentDemand:
        """Combine the demands of both."""
        return ContentDemand(self.encrypt.joined(other.encrypt), self.sign.joined(other.sign))

    def record(self) -> dict[str, Any]:
        """For the trace and for machines; {} if nothing is asked."""
        both = {"encrypt": self.encrypt.record(), "sign": self.sign.record()}
        return {name: record for name, record in both.items() if record}


NO_DEMAND = ContentDemand()
"""The message goes as it is."""


def by_connector(connector: OutboundConnector | None, organization: str = "") -> ContentDemand:
    """The demands of an outbound connector on the content of mail that takes it. In rehearsal it only reports them.

    organization: the connector's, "" if it is the organization whose mail it is.
    """
    if connector is None or ContentProtection.SMIME not in {connector.encrypt, connector.sign}:
        return NO_DEMAND
    enforced, name = connector.mode is Mode.ENFORCE, (connector.name,)

    def demand(protection: ContentProtection) -> Demand:
        if protection is ContentProtection.NONE:
            return Demand()
        required, rehearsed = (name, ()) if enforced else ((), name)
        return Demand.of("connector", required, rehearsed, organization=organization)

    return ContentDemand(demand(connector.encrypt), demand(connector.sign))
