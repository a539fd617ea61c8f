"""The evidence log as parts of a move (`store.move_parts`): the lines of each writer and day, and the heads.

Lines are the same octets in either engine, so the chains stay what they are: `evidence verify` finds no difference.
Lines are only ever added behind those that are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gatepost.store.move_parts import MoveRecord, UnnumberedPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.store.evidence_log import EvidenceSource
    from gatepost.store.move_parts import Key

LINES: Final = "entries of the evidence log"
HEADS: Final = "heads of the evidence log"


class EvidenceSink(Protocol):
    """Takes a log, line by line, durably. Every method raises StoreFailure."""

    def stored(self, day: str, writer: str) -> int:
        """The number of whole lines of a writer and day."""

    def append(self, day: str, writer: str, before: int, lines: Sequence[bytes]) -> None:
        """Add lines behind those that are there. before: how many that are."""

    def stored_heads(self) -> int:
        """The number of whole lines of heads."""

    def append_heads(self, lines: Sequence[bytes]) -> None:
        """Add lines of heads behind those that are there."""

    def add_key(self, pem: bytes) -> None:
        """Keep a public key that is not known yet."""

    def clear_lines(self) -> None:
        """Remove all lines of days."""

    def clear_heads(self) -> None:
        """Remove all lines of heads."""


class _EvidencePart(UnnumberedPart):
    def __init__(self, log: EvidenceSource, sink: EvidenceSink) -> None:
        self._log = log
        self._sink = sink


class LinesPart(_EvidencePart):
    """Implements `store.move_parts.Part`. A record is a line: its writer, day and place among the lines of both."""

    name = LINES

    def count(self) -> int:
        """See `Part.count`."""
        return sum(self._sink.stored(day.day, day.writer) for day in self._log.days())

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`: writers one after the other, each from its first day."""
        for day in self._log.days():
            for place, line in enumerate(day.lines(), 1):
                yield MoveRecord((day.writer, day.day, place), (line,))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        stored = {(writer, day): self._sink.stored(day, writer) for writer, day, _ in keys}
        return {key for key in keys if key[2] <= stored[key[:2]]}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. All or none of each day."""
        days: dict[tuple[str, str], list[bytes]] = {}
        first: dict[tuple[str, str], int] = {}
        for (writer, day, place), (line,) in records:
            days.setdefault((writer, day), []).append(line)
            first.setdefault((writer, day), place)
        for (writer, day), lines in days.items():
            self._sink.append(day, writer, first[writer, day] - 1, lines)

    def clear(self) -> None:
        """See `Part.clear`."""
        self._sink.clear_lines()


class HeadsPart(_EvidencePart):
    """Implements `store.move_parts.Part`. A record is a line of the chain of heads, by its place."""

    name = HEADS

    def count(self) -> int:
        """See `Part.count`."""
        return self._sink.stored_heads()

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        for place, line in enumerate(self._log.head_lines(), 1):
            yield MoveRecord((place,), (line,))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        stored = self._sink.stored_heads()
        return {key for key in keys if key[0] <= stored}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`."""
        self._sink.append_heads([record.values[0] for record in records])

    def clear(self) -> None:
        """See `Part.clear`."""
        self._sink.clear_heads()
