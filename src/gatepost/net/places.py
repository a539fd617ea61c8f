"""Places for work of one worker, counted by key: by client, domain or organization.

`Places` has a fixed number for each key. Where users share a total and any of them may keep its places for long,
`FairShares` says who may have one more; `FairLine` and `FairPlaces` are the line of those that may not yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Container, Hashable
from contextlib import asynccontextmanager

_TIMES = 3  # as many places as stay free: one user alone gets three quarters


class Places:
    """So many places for each key; tasks wait for one in their order. Keys without any task are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._semaphores: dict[Hashable, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def place(self, key: Hashable) -> AsyncIterator[None]:
        """A place, once there is one."""
        semaphore, users = self._semaphores.get(key) or (asyncio.Semaphore(self._most), 0)
        self._semaphores[key] = semaphore, users + 1
        try:
            async with semaphore:
                yield
        finally:
            semaphore, users = self._semaphores.pop(key)
            if users > 1:
                self._semaphores[key] = semaphore, users - 1

    def __len__(self) -> int:
        return len(self._semaphores)


class FairShares:
    """Count the places of each user; contains the users that may not have one more.

    A user has at most three times as many places as are free then, or one if any is free: alone it gets three
    quarters, and each of N that want all gets 3/(3N+1) as places are given back, so that some stay free for whoever
    comes next (the dynamic thresholds of Choudhury and Hahne, 1998). divided: false if there is one user, who may have
    all. free: the number of places that nobody has. Pure.
    """

    __slots__ = ("_held", "divided", "free")

    def __init__(self, total: int, *, divided: bool = True) -> None:
        self.free = total
        self.divided = divided
        self._held: dict[object, int] = {}

    def __contains__(self, user: object) -> bool:
        return (self.room(user) if self.divided else self.free) < 1

    def room(self, user: object) -> int:
        """The number of places that a user may have in addition; none if that is below 1."""
        free = self.free
        if not self.divided:
            return free
        held = self._held.get(user, 0)
        room = (_TIMES * free - held) // (_TIMES + 1)  # so many that held + room <= _TIMES * (free - room)
        return room if held else max(room, min(free, 1))

    def begin(self, user: Hashable, places: int = 1) -> None:
        """Count places that are taken, one or more; as many as there are, or beyond."""
        self._held[user] = self._held.get(user, 0) + places
        self.free -= places

    def end(self, user: Hashable, places: int = 1) -> None:
        """Count places that are given back."""
        self.free += places
        if held := self._held[user] - places:
            self._held[user] = held
        else:
            del self._held[user]


class FairLine[Item]:
    """Items that wait, by user; users take turns. full: users that get none now, such as a `FairShares`."""

    __slots__ = ("_full", "_waiting")

    def __init__(self, full: Container[Hashable]) -> None:
        self._full = full
        self._waiting: dict[Hashable, deque[Item]] = {}

    def __bool__(self) -> bool:
        """Whether any may have its turn."""
        return any(user not in self._full for user in self._waiting)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def stand(self, user: Hashable, item: Item) -> None:
        """Put an item at the end of those of its user."""
        self._waiting.setdefault(user, deque()).append(item)

    def next(self) -> tuple[Hashable, Item] | None:
        """Take out the item whose turn it is, with its user; None if there is none."""
        if not self._waiting:
            return None
        user = next((user for user in self._waiting if user not in self._full), None)
        if user is None:
            return None
        items = self._waiting.pop(user)
        item = items.popleft()
        if items:
            self._waiting[user] = items
        return user, item


class FairPlaces:
    """Give tasks of organizations their places, of which none can hold all (`FairShares`); they wait until they may."""

    __slots__ = ("_line", "_shares")

    def __init__(self, total: int) -> None:
        self._shares = FairShares(total)
        self._line: FairLine[asyncio.Future[None]] = FairLine(self._shares)

    @property
    def free(self) -> int:
        """The number of places that nobody has."""
        return self._shares.free

    @asynccontextmanager
    async def place(self, organization: str = "") -> AsyncIterator[None]:
        """A place, once there is one. organization: "" for work of nobody's, each of which is a user by itself."""
        user = organization or object()
        if user in self._shares:
            await self._wait(user)
        else:
            self._shares.begin(user)
        try:
            yield
        finally:
            self._end(user)

    async def _wait(self, user: Hashable) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line.stand(user, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it has a place, and the task does not want it any more
                self._end(user)
            raise

    def _end(self, user: Hashable) -> None:
        self._shares.end(user)
        # Where no place is free, nobody in the line may have one; to ask each of thousands takes a millisecond.
        while self._shares.free > 0 and (following := self._line.next()) is not None:
            next_user, turn = following
            if not turn.done():  # else its task was cancelled
                self._shares.begin(next_user)
                turn.set_result(None)
