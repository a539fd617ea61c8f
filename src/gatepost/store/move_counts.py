"""Parts of a move (`store.move_parts`) that each engine has in a form of its own: counts of TLS sessions, SRS keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from gatepost.store.interface import StoreFailure
from gatepost.store.move_parts import MoveRecord, UnnumberedPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.protocols.tlsrpt.tally import Count
    from gatepost.store.move_parts import Key
    from gatepost.store.session_counts import SessionCounts

SESSION_COUNTS: Final = "counts of TLS sessions, by day and domain"
SRS_KEYS: Final = "keys of rewritten reverse-paths (SRS)"

_NEVER: Final = "9999-99-99"

_encode = msgspec.json.Encoder().encode


class SessionsPart(UnnumberedPart):
    """Implements `store.move_parts.Part`. A record is a domain of a day, with all that was counted of it."""

    name = SESSION_COUNTS

    def __init__(self, counts: SessionCounts) -> None:
        self._counts = counts

    def count(self) -> int:
        """See `Part.count`."""
        return sum(1 for day in self._counts.days() for _ in self._counts.domains(day))

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        for day in self._counts.days():
            for domain in self._counts.domains(day):
                yield MoveRecord((day, domain), tuple(sorted(self._counts.read(day, domain), key=_encode)))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        days = set(self._counts.days())
        return {(day, domain) for day in {key[0] for key in keys} & days for domain in self._counts.domains(day)}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. All or none of each day."""
        days: dict[str, list[Count]] = {}
        for record in records:
            days.setdefault(record.key[0], []).extend(record.values)
        for day, counts in days.items():
            if self._counts.write(day, counts):
                raise StoreFailure(f"{self.name}: not all of {day} found room")

    def clear(self) -> None:
        """See `Part.clear`."""
        try:
            self._counts.prune(_NEVER)
        except OSError as error:
            raise StoreFailure(f"{self.name}: {error.strerror}") from error


class KeyText(Protocol):
    """The SRS keys of a store as text (`store.srs_keys`). Raises StoreFailure or OSError."""

    def read(self) -> bytes | None:
        """The text, None if there is none."""

    def replace(self, text: bytes) -> None:
        """Store another one, durably."""

    def remove(self) -> None:
        """Have none."""


class SrsPart(UnnumberedPart):
    """Implements `store.move_parts.Part`. One record at most."""

    name = SRS_KEYS

    def __init__(self, keys: KeyText) -> None:
        self._keys = keys

    def count(self) -> int:
        """See `Part.count`."""
        return len(list(self.records()))

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        text = self._read()
        if text is not None:
            yield MoveRecord(("keys",), (text,))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        return set() if self._read() is None else set(keys)

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`."""
        try:
            self._keys.replace(records[0].values[0])
        except OSError as error:
            raise StoreFailure(f"{self.name}: {error.strerror or error}") from error

    def clear(self) -> None:
        """See `Part.clear`."""
        try:
            self._keys.remove()
        except OSError as error:
            raise StoreFailure(f"{self.name}: {error.strerror or error}") from error

    def _read(self) -> bytes | None:
        try:
            return self._keys.read()
        except OSError as error:
            raise StoreFailure(f"{self.name}: {error.strerror or error}") from error
