"""The evidence log, in any engine: what is written to it, and how it is read. `Storage.evidence` gives a gateway's own.

A copy on another machine, or a file of one, is read as `store.evidence_files.EvidenceDirectory`. Everything blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gatepost.events.evidence.chain import Signer, parse_line
from gatepost.events.evidence.heads import DayHead, HeadBook

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gatepost.events.evidence.entry import Privacy
    from gatepost.mail.model.trace_event import TraceEvent


class EvidenceDay(Protocol):
    """The entries of one writer and day. name: of their file, "2026-11-26.0.log". is_empty: a crash left nothing."""

    @property
    def day(self) -> str:
        """UTC."""

    @property
    def writer(self) -> str:
        """The writer of the chain."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def is_empty(self) -> bool:
        """Whether a crash came before its first entry."""

    def lines(self) -> Iterator[bytes]:
        """Its lines, each with its LF if it has one; what is longer than a line may be comes in pieces.

        Raises StoreFailure if it cannot be read to its end. What is added meanwhile may be seen or not.
        """


class EvidenceSource(Protocol):
    """A log to be read. name: for messages. Methods raise StoreFailure or OSError."""

    name: str

    def days(self, writer: str = "", *, since: str = "", until: str = "9999") -> Sequence[EvidenceDay]:
        """The days of a writer ("" for all) from `since` to `until`, by writer and day."""

    def head_lines(self) -> Iterator[bytes]:
        """The lines of the chain of heads; none if there is none yet."""

    def public_keys(self) -> list[bytes]:
        """The public keys that came with it, PEM."""


class ChainWriter(Protocol):
    """One writer's chain. Methods raise StoreFailure."""

    @property
    def unsigned(self) -> bool:
        """Whether there are entries that no checkpoint covers, as far as we know."""

    def append(self, events: Sequence[TraceEvent], now: float, *, dropped: int = 0, is_off: bool = False) -> None:
        """Add an entry for each event, durably. dropped: events of which there is none; is_off: of any from now on."""

    def checkpoint(self, now: float) -> None:
        """Sign where the chain stands, if that is not signed yet and there is a key."""

    def end_day(self, now: float) -> None:
        """Put away what is of days that are over: nothing is added to them."""


class HeadWriter(Protocol):
    """The chain of daily heads. Methods raise StoreFailure."""

    def sign_commands(self, now: float) -> None:
        """Sign what commands wrote, and put away their days that are over."""

    def make(self, now: float) -> list[DayHead]:
        """Sign the head of each day that is over and has none yet, oldest first; returns them."""

    def prune(self, before: float, now: float) -> list[str]:
        """Forget the days that ended before a time (seconds since 1970), and say so in the chain first.

        Returns the names of what was removed.
        """


class Evidence(EvidenceSource, Protocol):
    """A gateway's own log. directory: of this node alone, beside its keys."""

    directory: Path

    def worker_chain(self, worker: int, *, privacy: Privacy, signer: Signer) -> ChainWriter:
        """The chain of a worker of this node. For one thread."""

    def admin_chain(self, *, privacy: Privacy) -> ChainWriter:
        """The chain that commands continue, whoever they are. A gateway signs it later."""

    def sign_rest(self, now: float, *, signer: Signer) -> None:
        """Sign the ends of all chains of this node that are not signed yet, and of the commands'.

        Only when its processes have ended. Raises StoreFailure.
        """

    def heads(self, *, signer: Signer) -> HeadWriter:
        """The heads. For one thread; several nodes may make them at once."""


def read_heads(log: EvidenceSource) -> HeadBook:
    """Read the heads, unchecked; empty if there are none. Raises StoreFailure."""
    book = HeadBook()
    for raw in log.head_lines():
        book.take(parse_line(raw))
    return book
