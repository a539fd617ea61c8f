"""What TLS sessions leave behind: the client's sessions to resume, and the chains that a server's tickets have lost.

Owned by the contexts of `net.engine`, one of each a context. Both are bounded; losing an entry costs a full
handshake, or a chain that ends at its leaf, never more.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from OpenSSL import SSL

__all__ = ["ChainMemory", "SessionCache"]


class SessionCache:
    """The newest session for each key; the least recently used goes when `limit` is reached.

    A session in memory keeps the whole chain of its first, full handshake; written to DER it would keep the leaf alone.
    """

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[str, str], SSL.Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: tuple[str, str]) -> SSL.Session | None:
        """The session to offer, which stays in the cache: tickets may be used by several connections at once."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def keep(self, key: tuple[str, str], session: SSL.Session) -> None:
        """Remember `session` in place of the one before."""
        self._entries[key] = session
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
