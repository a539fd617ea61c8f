"""Copy one subject of a store into another engine, and compare both sides.

A part is a stream of records on either side: a key, and values that mean the same in each engine. Records are added in
their order, some megabytes in a transaction, so that a copy that was cut off goes on where it stopped, and nothing is
there twice. The order of records differs between engines, so what is compared is the sum of their hashes. Blocks.

The evidence log moves as the lines of each writer and day, and the heads. Lines are the same octets in either engine,
so the chains stay what they are: `evidence verify` finds no difference. Lines are only ever added behind those that
are there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatepost.store.evidence_log import EvidenceSource


_MOST: Final = 1000  # records of a transaction
_OCTETS: Final = 4 << 20  # octets of their texts and bodies, beyond which a transaction takes no more
_TOLD: Final = 1000  # records between two calls of on_progress
_MODULUS: Final = 1 << 256

type Key = tuple[Any, ...]


class MoveRecord(NamedTuple):
    """One record. key: unique in its part."""

    key: Key
    values: tuple[Any, ...]


class Digest(NamedTuple):
    """Number and hash of the records of a side. sha256: the sum of the SHA-256 of all records, hexadecimal."""

    records: int
    sha256: str


class Part(Protocol):
    """One subject on one side. name: in plain words, the same on both sides. Every method raises StoreFailure."""

    name: str

    def count(self) -> int:
        """About how many records there are, for people who wait."""

    def records(self) -> Iterator[MoveRecord]:
        """All records, without having them all in memory."""

    def present(self, keys: Sequence[Key], /) -> set[Key]:
        """Those of some keys whose records are there, whole."""

    def add(self, records: Sequence[MoveRecord]) -> None:
        """Add records durably, all or none; of one that is there already, nothing."""

    def clear(self) -> None:
        """Remove all records."""

    def sequence(self) -> int:
        """The highest number that was ever given to a record; 0 where numbers may come again."""

    def finish(self, number: int, /) -> None:
        """All records are there. number: of the other side's `sequence`: no new record gets one up to it."""


class UnnumberedPart:
    """Base of parts that give no numbers to their records."""

    def sequence(self) -> int:
        """See `Part.sequence`."""
        return 0

    def finish(self, _number: int, /) -> None:
        """See `Part.finish`."""


_encode = msgspec.msgpack.Encoder().encode


def copy_part(source: Part, target: Part, on_progress: Callable[[int], None]) -> None:
    """Add what the target lacks. on_progress: is told how many records are there by now. Raises StoreFailure."""
    done = 0
    for batch in batches(source.records()):
        known = target.present([record.key for record in batch])
        missing = [record for record in batch if record.key not in known]
        if missing:
            target.add(missing)
        done += len(batch)
        on_progress(done)
    target.finish(source.sequence())


def digest_of(part: Part, on_progress: Callable[[int], None]) -> Digest:
    """Read all records of a side. on_progress: is told how many were read. Raises StoreFailure."""
    count = total = 0
    for record in part.records():
        count += 1
        total = (total + int.from_bytes(hashlib.sha256(_encode(record)).digest())) % _MODULUS
        if count % _TOLD == 0:
            on_progress(count)
    on_progress(count)
    return Digest(count, f"{total:064x}")


def batches(records: Iterable[MoveRecord]) -> Iterator[list[MoveRecord]]:
    """Records in lists that a transaction can have."""
    batch: list[MoveRecord] = []
    octets = 0
    for record in records:
        batch.append(record)
        octets += sum(len(value) for value in record.values if isinstance(value, bytes | str))
        if len(batch) >= _MOST or octets >= _OCTETS:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch


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
