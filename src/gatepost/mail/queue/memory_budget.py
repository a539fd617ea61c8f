"""The limit of queue memory: deliveries that wait for a lane, and the bodies of all deliveries in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.net.places import FairShares

if TYPE_CHECKING:
    from gatepost.mail.model.message import Delivery


_DESTINATIONS = 4  # whose whole windows fit in that of their next hop


class QueueLimits(msgspec.Struct, frozen=True):
    """connections_per_destination: lanes to one next hop; connections: lanes in all.

    lane_wait: seconds that something waits before one more lane is begun. window_messages, window_per_destination:
    deliveries that wait in memory; what exceeds them waits in the store. window_bytes: of bodies; what exceeds it is
    read from the store when its turn comes.
    """

    connections_per_destination: int = 20
    lane_wait: float = 0.02
    window_messages: int = 20000
    window_per_destination: int = 1000
    window_bytes: int = 67108864
    connections: int = 1000


class MemoryBudget:
    """Counts what is in memory. bytes: of bodies, each counted once, for the organization that had it first.

    shares, body_shares: what organizations have of `window_messages` and of `window_bytes`: none fills them with mail
    for hosts that take their time.
    """

    __slots__ = ("_bodies", "_body_shares", "_limits", "_per_next_hop", "_shares")

    def __init__(
        self, limits: QueueLimits, shares: FairShares | None = None, body_shares: FairShares | None = None
    ) -> None:
        self._limits = limits
        self._per_next_hop = min(_DESTINATIONS * limits.window_per_destination, limits.window_messages)
        self._bodies: dict[int, tuple[int, str]] = {}  # message -> deliveries that share its body, and whose it is
        self._shares = shares or FairShares(limits.window_messages, divided=False)
        self._body_shares = body_shares or FairShares(limits.window_bytes, divided=False)

    @property
    def bytes(self) -> int:
        """The bytes of bodies in memory."""
        return self._limits.window_bytes - self._body_shares.free

    @property
    def waiting(self) -> int:
        """The number of deliveries that wait for a lane."""
        return self._limits.window_messages - self._shares.free

    def enter(self, organization: str, deliveries: int = 1) -> None:
        """Count deliveries that wait from now on, or will."""
        self._shares.begin(organization, deliveries)

    def leave(self, organization: str, deliveries: int = 1) -> None:
        """Count deliveries that do not wait any more."""
        self._shares.end(organization, deliveries)

    def room_at_next_hop(self, ready: int) -> int:
        """Return how many more deliveries may wait for a next hop that has `ready` of them."""
        return min(self._shares.free, self._per_next_hop - ready)

    def room(self, organization: str, ready: int, at_next_hop: int = 0) -> int:
        """Return how many more deliveries of a destination may wait.

        organization: that owns them. ready: that wait already. at_next_hop: that wait for its next hop, of all
        destinations. A destination that has none gets in beyond what others fill.
        """
        shared = self._per_next_hop * (1 if ready else 2) - at_next_hop
        return min(self._shares.room(organization), self._limits.window_per_destination - ready, shared)

    def keep_body(self, delivery: Delivery) -> None:
        """Count the body of a delivery that comes into memory, or let go of it if there are too many."""
        if delivery.body is None:
            return
        shared, organization = self._bodies.get(delivery.message.id, (0, delivery.organization))
        if not shared:
            if self._body_shares.room(organization) < len(delivery.body):
                delivery.body = None
                return
            self._body_shares.begin(organization, len(delivery.body))
        self._bodies[delivery.message.id] = shared + 1, organization

    def forget_body(self, delivery: Delivery) -> None:
        """A delivery leaves memory."""
        if delivery.body is None:
            return
        shared, organization = self._bodies.pop(delivery.message.id, (0, ""))
        if shared > 1:
            self._bodies[delivery.message.id] = shared - 1, organization
        elif shared:
            self._body_shares.end(organization, len(delivery.body))
        delivery.body = None
