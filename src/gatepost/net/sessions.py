"""TLS session state: the client's sessions to resume, and the chains that a server's tickets have lost.

Owned by the contexts of `net.engine`, and by `net.tickets`. Both are bounded; losing an entry costs a full
handshake, or a chain that ends at its leaf, never more.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from OpenSSL import SSL


MAX_AGE: Final = 900.0
"""Seconds after its full handshake for which a session may be resumed, on either side."""


class KeptSession(msgspec.Struct, frozen=True):
    """session: None where it was forgotten. born: when its full handshake was, by the clock of the cache."""

    session: SSL.Session | None
    born: float


class SessionCache:
    """The newest session for each key; the least recently used goes when `limit` is reached.

    A session in memory keeps the whole chain of its first, full handshake; written to DER it would keep the leaf alone.
    Because what resumes it shows that chain again, it is used for `MAX_AGE` seconds after that handshake and no longer:
    each resumption gets a new ticket, and the old chain would else be shown for ever. clock: seconds, never going back.
    """

    __slots__ = ("_entries", "_limit", "clock")

    def __init__(self, limit: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self.clock = clock
        self._entries: OrderedDict[tuple[str, str], KeptSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: tuple[str, str]) -> KeptSession | None:
        """The session to offer, which stays in the cache: tickets may be used by several connections at once."""
        entry = self._entries.get(key)
        if entry is None or entry.session is None or self.clock() - entry.born >= MAX_AGE:
            return None
        self._entries.move_to_end(key)
        return entry

    def keep(self, key: tuple[str, str], session: SSL.Session, born: float) -> None:
        """Remember `session` in place of the one before, unless that is younger or was forgotten since."""
        known = self._entries.get(key)
        if known is not None and (born < known.born or (known.session is None and born == known.born)):
            return
        self._put(key, KeptSession(session, born))

    def forget(self, key: tuple[str, str]) -> None:
        """Resume nothing for this key that began before now: neither what is kept, nor what still runs."""
        self._put(key, KeptSession(None, self.clock()))

    def _put(self, key: tuple[str, str], entry: KeptSession) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)


class ChainMemory:
    """Chains that clients presented in full handshakes, by their leaf, bounded in bytes.

    A ticket proves the leaf; the other certificates only help to build a path and prove nothing by themselves, so that
    those of an earlier connection serve as well.
    """

    __slots__ = ("_bytes", "_chains", "_limit")

    def __init__(self, limit: int = 4 * 1024 * 1024) -> None:
        self._limit = limit
        self._bytes = 0
        self._chains: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def keep(self, chain: tuple[bytes, ...]) -> None:
        """Remember a chain; one without intermediates has nothing to remember."""
        if len(chain) < 2:
            return
        self._bytes += _size(chain) - _size(self._chains.pop(chain[0], ()))
        self._chains[chain[0]] = chain
        while self._bytes > self._limit:
            self._bytes -= _size(self._chains.popitem(last=False)[1])

    def complete(self, chain: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The chain seen earlier with this leaf, else `chain` itself."""
        known = self._chains.get(chain[0]) if chain else None
        if known is None:
            return chain
        self._chains.move_to_end(chain[0])
        return known


def _size(chain: tuple[bytes, ...]) -> int:
    return sum(map(len, chain))
