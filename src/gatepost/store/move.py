"""Move everything that a gateway stores into another engine (`gatepost store migrate`).

Marks (`store.move_mark`) decide which store is in use at each moment: both are closed while parts are copied and
compared, then the source is marked as left, and only then the target is opened. A move that was cut off anywhere is
begun again with the same two stores, and goes on. The source is not changed, but for its mark and for what the next
start of its gateway would do as well.

SRS keys, which each engine has in a form of its own, are a part of a move here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from gatepost.store.interface import Database, StoreFailure, failing
from gatepost.store.move_mark import MoveMark, MoveState, closed_text
from gatepost.store.move_parts import Digest, Key, MoveRecord, Part, UnnumberedPart, copy_part, digest_of
from gatepost.times import second_text


class MoveRefused(StoreFailure):
    """The stores cannot be moved as they are. The text says why and what to do; nothing was changed."""


class MoveDiffers(StoreFailure):
    """The copy is not the same as the source. What differs was removed from the target, to be copied again."""


class MoveSide(Protocol):
    """One of the two stores. place: for people. Every method raises StoreFailure."""

    place: str

    def mark(self) -> MoveMark | None:
        """Its mark."""

    def set_mark(self, mark: MoveMark | None) -> None:
        """Replace its mark, durably."""

    def check_idle(self) -> None:
        """Raise MoveRefused if a gateway uses it, or another move; hold it as far as the engine can."""

    def contents(self) -> str:
        """The names of stored things in it, for people; "" for none."""

    def check_source(self) -> None:
        """Raise StoreFailure if there is nothing in it to move, or it cannot be used. Changes nothing."""

    def check_target(self) -> None:
        """Raise StoreFailure if nothing can be moved into it. Changes nothing."""

    def prepare(self) -> None:
        """Make what is missing before it can be used, such as tables."""

    def configuration(self) -> Database:
        """The tables of its configuration."""

    def settle(self) -> None:
        """Make the queue what the next start would make of it: no process has any of it in its memory."""

    def parts(self) -> Sequence[Part]:
        """All parts, in the order in which they are copied; the same ones on every side."""

    def public_keys(self) -> list[bytes]:
        """Public keys that verify its evidence log, PEM."""

    def add_public_keys(self, keys: Sequence[bytes]) -> None:
        """Keep public keys of the other side."""

    def finish(self) -> None:
        """Prepare it for its first gateway, when all is there."""

    def close(self) -> None:
        """Let go of it."""


class Comparison(NamedTuple):
    """A part on both sides."""

    name: str
    source: Digest
    target: Digest

    @property
    def same(self) -> bool:
        """Whether both have the same."""
        return self.source == self.target


class MoveProgress(NamedTuple):
    """verb: "copied" or "compared". done, total: records of a part; total is about right."""

    verb: str
    name: str
    done: int
    total: int


class Move:
    """One move from `source` to `target`. clock: seconds since 1970."""

    def __init__(
        self,
        source: MoveSide,
        target: MoveSide,
        *,
        clock: Callable[[], float],
        on_progress: Callable[[MoveProgress], None],
    ) -> None:
        self._source = source
        self._target = target
        self._clock = clock
        self._on_progress = on_progress
        self.completed_before: float | None = None
        """When the move was completed, if `run` found it so: then it compared nothing."""

    def check(self) -> bool:
        """Whether a move that was cut off goes on. Raises MoveRefused; changes nothing."""
        source, target = self._source.mark(), self._target.mark()
        goes_on = self._judge(source, target)
        if source is not None and source.state is MoveState.LEFT:
            return True  # nothing is copied any more
        self._source.check_idle()
        self._target.check_idle()
        if target is None and (contents := self._target.contents()):
            raise MoveRefused(
                f"{self._target.place} is not empty: it has {contents}. Mail is moved only into an empty store: name "
                "another one, or empty it"
            )
        return goes_on

    def counts(self) -> list[tuple[str, int]]:
        """Each part that would be moved, and about how many records it has."""
        return [(part.name, part.count()) for part in self._source.parts()]

    def run(self) -> list[Comparison]:
        """Move, or go on with it; [] if it was complete before. Raises MoveRefused, MoveDiffers or StoreFailure."""
        self.check()
        source = self._source.mark()
        if source is None or source.state is not MoveState.LEFT:
            move = self._close_both(source)
            results = self._copied()
            self._source.set_mark(MoveMark(move, MoveState.LEFT, self._target.place, self._clock()))
        else:
            move, results = source.move, []
        target = self._target.mark()
        if target is not None and target.state is MoveState.ARRIVED:
            self.completed_before = target.at
        else:
            self._target.finish()
            self._target.set_mark(MoveMark(move, MoveState.ARRIVED, self._source.place, self._clock()))
        return results

    def _judge(self, source: MoveMark | None, target: MoveMark | None) -> bool:
        """Whether the marks say that this very move was begun before. Raises MoveRefused if they forbid it."""
        if source is not None and source.state is MoveState.ARRIVED:
            source = None  # of an earlier move, which made it what it is
        if source is not None and (source.state is MoveState.ARRIVING or source.other != self._target.place):
            raise MoveRefused(closed_text(source, self._source.place))
        if target is None and source is not None and source.state is MoveState.LEFT:
            raise MoveRefused(closed_text(source, self._source.place))
        if target is None or (source is not None and target.move == source.move):
            return source is not None
        if target.state is MoveState.ARRIVED:
            raise MoveRefused(
                f"{self._target.place} is not empty: {target.other} was moved into it on {second_text(target.at)}. "
                "Name another store, or empty it"
            )
        raise MoveRefused(f"{closed_text(target, self._target.place)}. To move into it, empty it first")

    def _close_both(self, source: MoveMark | None) -> str:
        """Close both stores, so that nobody begins to use one; returns the word of the move."""
        is_new = source is None or source.state is MoveState.ARRIVED
        move = secrets.token_hex(16) if source is None or is_new else source.move
        self._source.set_mark(MoveMark(move, MoveState.LEAVING, self._target.place, self._clock()))
        try:
            self._source.check_idle()  # who began meanwhile did not see the mark
            self._target.check_idle()
        except StoreFailure:
            if is_new:
                self._source.set_mark(source)
            raise
        self._target.set_mark(MoveMark(move, MoveState.ARRIVING, self._source.place, self._clock()))
        self._target.check_idle()  # it may be there only now
        return move

    def _copied(self) -> list[Comparison]:
        """Copy and compare all parts."""
        self._source.settle()
        pairs = list(zip(self._source.parts(), self._target.parts(), strict=True))
        for source, target in pairs:
            total = source.count()
            copy_part(source, target, lambda done: self._tell("copied", source.name, done, total))  # noqa: B023 - called at once
        self._target.add_public_keys(self._source.public_keys())
        results = []
        for source, target in pairs:
            total = source.count()
            tell = lambda done: self._tell("compared", source.name, done, total)  # noqa: B023, E731 - called at once
            results.append(Comparison(source.name, digest_of(source, tell), digest_of(target, tell)))
        self._check_same(results, [target for _, target in pairs])
        return results

    def _check_same(self, results: list[Comparison], targets: list[Part]) -> None:
        differ = []
        for result, target in zip(results, targets, strict=True):
            if not result.same:
                target.clear()
                differ.append(f"{result.name} ({result.source.records} there, {result.target.records} here)")
        if differ:
            raise MoveDiffers(
                f"the copy is not the same as the source in: {', '.join(differ)}. Both stores stay closed; run the "
                "command again to copy these anew"
            )

    def _tell(self, verb: str, name: str, done: int, total: int) -> None:
        self._on_progress(MoveProgress(verb, name, done, total))


def reopened(side: MoveSide, *, really: bool) -> MoveMark | None:
    """The mark that closes a store; taken away if `really`, so that a gateway may use it. Raises MoveRefused.

    None if no mark closes it.
    """
    mark = side.mark()
    if mark is None or not mark.closes:
        return None
    if mark.state is MoveState.ARRIVING:
        raise MoveRefused(closed_text(mark, side.place))
    if really:
        side.set_mark(None)
    return mark


SRS_KEYS: Final = "keys of rewritten reverse-paths (SRS)"


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
        with failing(self.name, OSError):
            self._keys.replace(records[0].values[0])

    def clear(self) -> None:
        """See `Part.clear`."""
        with failing(self.name, OSError):
            self._keys.remove()

    def _read(self) -> bytes | None:
        with failing(self.name, OSError):
            return self._keys.read()
