"""A next hop that is sent less, as it said that it gets too much.

Made by `mail.queue.slowdown`; `store.figures` has them for other processes, and for the next one of the worker.
"""

from __future__ import annotations

from typing import Final

import msgspec

MINUTE: Final = 60.0
LEAST_RATE: Final = 1.0
"""Messages a minute that a next hop is sent in any case."""

_LONG: Final = 200


class SlowedNextHop(msgspec.Struct):
    """A next hop that is sent less. rate: messages a minute of this worker. before: the rate that was too much.

    since: of the last change, at: of the last refusal; seconds since 1970. code: of the reply that said so. next_at:
    when the next message may go. opened: when one went out of turn last, as an administrator wanted.
    """

    next_hop: str
    rate: float
    before: float
    since: float
    at: float
    code: int
    next_at: float = 0.0
    opened: float = 0.0

    @property
    def reason(self) -> str:
        """Why mail waits, for the queue."""
        shown = f"{self.next_hop[:_LONG]}…" if len(self.next_hop) > _LONG else self.next_hop
        rate = f"{self.rate:.3g}"
        messages = "message" if rate == "1" else "messages"
        return f"slowed to {rate} {messages} a minute after {self.code} from {shown}"

    @property
    def most_in_memory(self) -> int:
        """Deliveries of one destination that are worth having in memory."""
        return max(2, int(self.rate / 6))

    @property
    def refill(self) -> float:
        """Seconds after which half of what is in memory has gone."""
        return max(1.0, self.most_in_memory / 2 * MINUTE / self.rate)

    def wait(self, now: float) -> float:
        """Seconds until the next message may go, 0.0 for now."""
        if self.next_at - now > 2 * MINUTE / LEAST_RATE:
            self.next_at = now  # the clock was put back
        return max(self.next_at - now, 0.0)

    def sent(self, now: float) -> None:
        """Plan the next message after one that goes now."""
        self.next_at = now + MINUTE / self.rate
