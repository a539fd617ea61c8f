"""Idle connections, each kept for mail under the same rules as it was opened under.

Used by `mail.outbound.deliverer`. A connection is found again only by an equal `Hop`: host, address, port, requirement,
client certificate, version of the configuration. So none is ever reused for a stricter requirement, nor for an older
one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from gatepost.mail.queue.hop_queue import hosts_of
from gatepost.net.sessions import MAX_AGE

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatepost.mail.outbound.hop import Hop, OpenHop


class ConnectionPool:
    """idle: seconds a connection rests before we say QUIT. messages: transactions of one connection. total: that rest.

    age: seconds after which a connection is ended, however busy it was: what it proved is that old. The
    longest resting one leaves when there are too many.
    """

    def __init__(self, *, idle: float = 30.0, messages: int = 100, total: int = 500, age: float = MAX_AGE) -> None:
        self._idle = idle
        self._messages = messages
        self._age = age
        self._total = total
        self._resting: dict[Hop, deque[OpenHop]] = {}
        self._order: dict[OpenHop, float] = {}  # until when it rests, by the loop's clock; longest resting first
        self._timer: asyncio.TimerHandle | None = None  # of one that rested longest when it was set
        self._generation = 0

    def __len__(self) -> int:
        return len(self._order)

    def holds(self, hop: Hop) -> bool:
        """Whether `take` would find one."""
        return hop in self._resting

    def make_room(self, hosts: Collection[str], most: int) -> None:
        """End the longest resting connections to some hosts until `most` are left."""
        resting = [opened for opened in self._order if opened.hop.host in hosts]
        for opened in resting[: max(len(resting) - most, 0)]:
            self._end(opened)

    def end_resting(self, next_hop: str) -> None:
        """End the resting connections to a set of hosts, as `mail.outbound.hosts.next_hop_name` names it.

        Whatever source address they have: they are opened again.
        """
        places = frozenset(hosts_of(next_hop).split(","))
        for opened in [opened for opened in self._order if _place(opened.hop) in places]:
            self._end(opened)

    def take(self, hop: Hop) -> OpenHop | None:
        """A connection opened for an equal hop, the last used first; it is the caller's until `give`."""
        resting = self._resting.get(hop)
        if not resting:
            return None
        return self._remove(resting[-1])

    def give(self, opened: OpenHop) -> None:
        """Keep a connection for the next message, or end it if it has served long enough or is of no use."""
        limit = min(self._messages, opened.connection.transactions_max or self._messages)
        old = opened.hop.generation != self._generation or time.monotonic() - opened.since >= self._age
        # A connection that went on unencrypted after a failed handshake serves one message: the next one tries TLS
        # first.
        if not opened.connection.usable or opened.connection.sent >= limit or old or opened.facts.handshake_error:
            opened.connection.quit()
            return
        self._resting.setdefault(opened.hop, deque()).append(opened)
        loop = asyncio.get_running_loop()
        self._order[opened] = loop.time() + self._idle
        if self._timer is None:
            self._timer = loop.call_later(self._idle, self._end_rested, loop)
        opened.connection.on_end = lambda: self._end(opened)
        if len(self._order) > self._total:
            self._end(next(iter(self._order)))

    def begin_generation(self, generation: int) -> None:
        """A new configuration is in force: end what rests, and what is in use once it comes back."""
        self._generation = generation
        self.close()

    def close(self) -> None:
        """End all resting connections."""
        for opened in list(self._order):
            self._end(opened)

    def _end_rested(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what has rested long enough. One timer is enough: who takes a connection need not stop it."""
        self._timer = None
        while self._order:
            opened, until = next(iter(self._order.items()))
            if until > loop.time():
                self._timer = loop.call_at(until, self._end_rested, loop)
                return
            self._end(opened)

    def _end(self, opened: OpenHop) -> None:
        self._remove(opened).connection.quit()

    def _remove(self, opened: OpenHop) -> OpenHop:
        del self._order[opened]
        opened.connection.on_end = None
        resting = self._resting[opened.hop]
        resting.remove(opened)
        if not resting:
            del self._resting[opened.hop]
        return opened


def _place(hop: Hop) -> str:
    return f"[{hop.host}]:{hop.port}" if ":" in hop.host else f"{hop.host}:{hop.port}"
