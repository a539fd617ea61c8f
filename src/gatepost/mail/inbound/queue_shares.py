"""The share of the queue that each organization may have where room for it is short.

Made by `node.limits`; `mail.inbound.decisions` and `mail.inbound.transaction` ask for each recipient and message. Far
from the free-space mark nothing is counted. Near it, the mail in the queue is counted from time to time, on a thread,
and at once where others took a quarter of the room since. The rule for all that organizations share says who may add
more (`net.places.FairShares`): whoever has at most three times as much as stays free. So mail that one of them cannot
get rid of leaves room for that of others. Bodies that arrive count as well: whoever sends large ones and never ends
them fills the disk, too.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gatepost.events.machine_report import NEARLY_FULL
from gatepost.mail.model.queue_share import QueueShare
from gatepost.net.places import FairShares
from gatepost.net.tasks import SingleTask
from gatepost.policy.connectors.units import measured_size
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.policy.connectors.directory import Directory


LOOK_SECONDS: Final = 1.0
"""Between two looks at the room."""

_REST: Final = 20  # times as long as a count took, until the next: a twentieth of one core at most
_FALLEN: Final = 0.75  # of the room at a count: for whom other workers took the rest is not known, so it is made again
_AGAIN: Final = 10.0  # seconds after a count that failed, or found that not half of the queue's size is used
_LEAST: Final = 1 << 20  # octets that somebody must be allowed, or a body would be sent in vain
_SHOWN: Final = 600.0  # seconds for which a refusal is told of: room comes and goes
_PART: Final = 20  # whoever has less than a twentieth of the queue is not told of, so that at most twenty are
_OF_MARK: Final = 4  # nor is whoever has less than a fourth of the mark

_log = logging.getLogger(__name__)


class QueueSpace(msgspec.Struct, frozen=True):
    """mark: `store.free_space`, octets; 0 for none. size: `store.queue_size`, octets; 0 if the queue has no limit.

    shared: octets; room for three times as many is short, or as `mark` if that is more.
    """

    mark: int
    size: int = 0
    shared: int = 0


class Arriving(Protocol):
    """A message whose body arrives."""

    bytes_seen: int

    @property
    def organization(self) -> str:
        """Whose mail it is."""

    def give_up(self, reason: str) -> None:
        """Free what is on disk of it, and defer the message at its end."""


class QueueShares:
    """held: octets in the queue by organization; blocks, and may raise StoreFailure. room: see `Store.room`.

    clock: seconds, never back.
    """

    def __init__(
        self,
        held: Callable[[], Mapping[str, int]],
        room: Callable[[], float],
        space: QueueSpace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._held = held
        self._room = room
        self._space = space
        self._clock = clock
        self._several = False
        self._counting = SingleTask("shares")
        self._due = 0.0
        self._counted_at = math.inf  # the room there was when a count began
        self._known: Counter[str] = Counter()  # what was counted last
        self._since: Counter[str] = Counter()  # what this worker has given to the store since that count began
        self._arriving: dict[Arriving, tuple[str, int]] = {}  # with what was counted of whom when it was divided last
        self._whole: dict[Arriving, tuple[str, int]] = {}  # that have arrived, and are not in the store yet
        self._octets: Counter[str] = Counter()  # of each, all counted
        self._total = 0  # octets in the queue, as they were divided last
        self._shares: FairShares | None = None  # None where there is room enough
        self._full: frozenset[str] = frozenset()
        self._refused: dict[str, tuple[float, QueueShare]] = {}  # with when that was so last

    def use(self, directory: Directory) -> None:
        """Divide among the organizations of these resources: one that is alone may have all."""
        self._several = len(directory.organizations) > 1

    def look(self) -> None:
        """See whether room is short, and who has too much. To be called every `LOOK_SECONDS`; does not block."""
        room, now = self._short_room(), self._clock()
        if room < math.inf or self._space.size:
            if not self._counting.is_running and (now >= self._due or self._has_fallen(room)):
                self._counted_at = room
                self._counting.begin(self._count)
            self._divide(room)
        else:
            self._shares, self._full = None, frozenset()
            if now >= self._due:  # until then it is not counted again, and room comes and goes
                self._known, self._since = Counter(), Counter()
            self._arriving = dict.fromkeys(self._arriving, ("", 0))
        for name in [name for name, (at, _) in self._refused.items() if now >= at + _SHOWN]:
            del self._refused[name]
            _log.info("mail of %s is no longer refused for what it has in the queue", name)

    def refusal(self, organization: str) -> str:
        """Why no mail of an organization is taken now, "" if it is."""
        return self._reason(organization) if organization in self._full else ""

    def begin(self, message: Arriving) -> None:
        """The body of a message begins to arrive."""
        self._arriving[message] = "", 0

    def end(self, message: Arriving) -> None:
        """It does not arrive any more, or is not taken after all. Idempotent."""
        counted = self._arriving if message in self._arriving else self._whole
        name, octets = counted.pop(message, ("", 0))
        if octets and self._shares is not None:
            self._shares.end(name, octets)
            self._octets[name] -= octets

    def take(self, message: Arriving, size: int) -> str:
        """Count a message that has arrived, of so many octets; or why it is not taken, "" if it is."""
        self.end(message)
        shares, organization = self._shares, message.organization
        if shares is None:
            return ""
        if shares.room(organization) < size:
            self._note(organization)
            return self._reason(organization)
        shares.begin(organization, size)
        self._whole[message] = organization, size
        self._octets[organization] += size
        return ""

    def kept(self, message: Arriving) -> None:
        """It goes to the store: nobody refuses it any more, as scanners may do with one that was taken."""
        name, octets = self._whole.pop(message, ("", 0))
        if octets and self._shares is not None:
            self._since[name] += octets

    def refused(self) -> tuple[QueueShare, ...]:
        """The organizations with much mail there that is refused, or was in the last ten minutes. From any thread."""
        return tuple(share for _, share in self._refused.copy().values())

    async def _count(self) -> None:
        begun, before = self._clock(), self._since.copy()
        try:
            self._known = Counter(await asyncio.to_thread(self._held))
        except StoreFailure as failure:
            _log.warning("it is not known whose mail is in the queue: %s", failure)
            self._due = self._clock() + _AGAIN
        else:
            self._since -= before
            now, is_far = self._clock(), self._known.total() < self._space.size // 2
            self._due = now + max(_AGAIN if is_far else LOOK_SECONDS, _REST * (now - begun))
            if self._shares is not None:  # a second is much mail
                self._divide(self._short_room())

    def _has_fallen(self, room: float) -> bool:
        """Whether others took much of the room since the last count began."""
        return room > 0 and room + self._since.total() < _FALLEN * self._counted_at < math.inf

    def _short_room(self) -> float:
        """See `Store.room`; infinity where it is not short."""
        room = self._room()
        short = (NEARLY_FULL - 1) * max(self._space.mark, self._space.shared)
        return room if self._several and room < short else math.inf

    def _divide(self, room: float) -> None:
        self._arriving = {message: (message.organization, message.bytes_seen) for message in self._arriving}
        self._octets = octets = self._known + self._since
        for name, size in (*self._arriving.values(), *self._whole.values()):
            octets[name] += size
        self._total = total = octets.total()
        free = min(room, self._space.size - total) if self._space.size else room
        self._shares = shares = FairShares(int(free) + total, divided=self._several)
        for name, size in octets.items():
            shares.begin(name, size)
        self._full = frozenset(name for name in octets if shares.room(name) < _LEAST)
        for name in self._full:
            self._note(name)
        for message, (name, size) in tuple(self._arriving.items()):
            if name in self._full and size > _LEAST:
                message.give_up(self._reason(name))
                del self._arriving[message]

    def _note(self, organization: str) -> None:
        """Its mail is refused. One with little mail there is not told of: others, or other files, took the room."""
        octets, total = self._octets[organization], self._total
        if not organization or octets < max(total // _PART, self._space.mark // _OF_MARK):
            return
        if organization not in self._refused:
            _log.warning("mail is refused: %s", self._reason(organization))
        self._refused[organization] = self._clock(), QueueShare(organization, octets, octets / max(total, octets, 1))

    def _reason(self, organization: str) -> str:
        size = measured_size(self._octets[organization])
        return (
            f"there are {size} of mail of {organization} in the queue, which has too little room left: other "
            "organizations' mail comes first, and the client must try again later"
        )
