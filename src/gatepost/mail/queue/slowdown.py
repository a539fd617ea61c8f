"""Send more slowly to a next hop that says it gets too much: half as much, and after a while more again. Pure.

Kept by `mail.queue.lane_budget` for all queues of a worker, each by what it sent itself. `asks_to_slow_down` reads it
from replies, as there is no code for it: 421 at any time (RFC 5321 section 3.8), or a passing failure whose words say
so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatepost.mail.model.slowed_next_hop import LEAST_RATE, MINUTE, SlowedNextHop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.protocols.smtp.replies import Reply


_CLOSING: Final = 421
_SHUTTING_DOWN: Final = re.compile(r"shutting down|restart|maintenance", re.IGNORECASE)
_TOO_MUCH: Final = re.compile(
    r"too (many|much) (connections?|messages?|mails?|e-?mails?|recipients from|requests|sessions|concurrent)"
    r"|rate.?limit|throttl|slow(ing)? down|server (is )?(too )?busy"
    r"|(exceed\w{0,9}|reached) .{0,40}(rate|limit|quota of messages)|limit exceeded"
    r"|unusual rate|temporarily deferred|concurrent connections",
    re.IGNORECASE,
)
# About one message or one mailbox, which says nothing of the other mail.
_OF_ONE: Final = ("4.2.", "4.3.4", "4.5.3")

_FIRST: Final = 20.0  # messages a minute that are taken as sent where it was less: the first half is not too little
_PART: Final = 16.0  # the rate falls to this part of what was too much, and no further
_ORDER: Final = 1.0  # seconds between messages that go out of turn
_PATIENCE: Final = 10.0  # seconds in which several refusals count as one
_STEP: Final = 30.0  # seconds without a refusal after which more is sent
_GROWTH: Final = 1.5
_FORGOTTEN: Final = 3600.0
_MOST: Final = 1000  # next hops


def asks_to_slow_down(reply: Reply) -> bool:
    """Whether a reply to an attempt means that the host gets too much from us."""
    if not reply.transient or reply.enhanced.startswith(_OF_ONE):
        return False
    text = " ".join(reply.lines)
    if reply.code == _CLOSING:
        return not _SHUTTING_DOWN.search(text)
    return _TOO_MUCH.search(text) is not None


class Meter:
    """Counts messages; `rate` is that of the last minute or so."""

    __slots__ = ("_before", "_count", "_minute")

    def __init__(self) -> None:
        self._minute = 0
        self._count = 0
        self._before = 0

    def count(self, now: float) -> None:
        """One message goes."""
        self._turn(now)
        self._count += 1

    def rate(self, now: float) -> float:
        """Messages a minute."""
        self._turn(now)
        return self._count + self._before * (1.0 - now % MINUTE / MINUTE)

    def _turn(self, now: float) -> None:
        minute = int(now // MINUTE)
        if minute != self._minute:
            self._before = self._count if minute == self._minute + 1 else 0
            self._minute, self._count = minute, 0


class Slowdowns:
    """Next hops that are sent less, a thousand at most. remembered: of an earlier process of this worker."""

    def __init__(self, remembered: Iterable[SlowedNextHop] = ()) -> None:
        self._slowed = {slowed.next_hop: slowed for slowed in remembered}
        self.changed = False

    def __bool__(self) -> bool:
        return bool(self._slowed)

    def of(self, next_hop: str) -> SlowedNextHop | None:
        """How a next hop is slowed, None if it is not."""
        return self._slowed.get(next_hop) if self._slowed else None

    def open(self, next_hop: str, now: float) -> None:
        """Let one message go now, as an administrator wants; of many orders, one each second."""
        known = self._slowed.get(next_hop)
        if known is not None and not 0.0 <= now - known.opened < _ORDER:
            known.next_at, known.opened = 0.0, now

    def listed(self, now: float) -> tuple[SlowedNextHop, ...]:
        """All, without those of which nothing was heard for an hour. For any thread."""
        return tuple(slowed for slowed in self._slowed.copy().values() if now - slowed.since < _FORGOTTEN)

    def refused(self, next_hop: str, rate: float, code: int, now: float) -> None:
        """A host said that it gets too much. rate: messages a minute that this worker sent to the next hop."""
        known = self._slowed.pop(next_hop, None)
        if known is None or now - known.since >= _FORGOTTEN:
            known = SlowedNextHop(next_hop, max(rate, _FIRST), max(rate, _FIRST), 0.0, now, code)
        if now - known.since >= _PATIENCE:
            known.rate = max(LEAST_RATE, known.before / _PART, known.rate / 2)
        known.since = known.at = now
        known.code = code
        self._slowed[next_hop] = known
        self.changed = True
        if len(self._slowed) > _MOST:
            del self._slowed[next(iter(self._slowed))]

    def answered(self, next_hop: str, now: float) -> None:
        """A host took part: after half a minute without a refusal it gets more, in the end as much as there is."""
        known = self._slowed.get(next_hop)
        if known is None or now - known.since < _STEP:
            return
        known.rate *= _GROWTH
        known.since = now
        self.changed = True
        if known.rate >= 2 * known.before:
            del self._slowed[next_hop]
