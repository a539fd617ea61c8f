"""What the tasks that commit in PostgreSQL have in common, whatever a commit raises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.store.interface import MessageUnstorable, OutcomeUnknown, StoreFailure
from gatepost.store.postgres.commit_loop import CommitLoop
from gatepost.store.sqlite.work import Work


class Piece(Work):
    """error: what writing it raises."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.told: list[StoreFailure | None] = []

    def finish(self) -> None:
        self.told.append(self.failure)


class Commits(CommitLoop):
    """Writes a batch as one, as a database does: an error of one piece is that of all."""

    def __init__(self) -> None:
        super().__init__("commits", None, patience=1.0, closing=1.0)  # type: ignore[arg-type] # no connection is used
        self.postponed: list[tuple[list[Any], StoreFailure]] = []

    async def _turn(self) -> None:
        batch = list(self._work)
        self._work.clear()
        await self._do(batch)

    async def _write(self, batch: list[Work]) -> None:
        for piece in batch:
            if isinstance(piece, Piece) and piece.error is not None:
                raise piece.error
        for piece in batch:
            piece.finish()

    def _postpone(self, batch: list[Work], failure: StoreFailure) -> None:
        self.postponed.append((batch, failure))

    def _note_fault(self, error: Exception) -> None:
        raise AssertionError("a turn failed") from error

    def _log_fault(self) -> None:
        """Nothing to see."""


def end(*pieces: Piece) -> Commits:
    async def run() -> Commits:
        commits = Commits()
        commits._work.extend(pieces)
        commits.start()
        await commits._end()
        return commits

    return asyncio.run(run())


def test_only_the_piece_with_the_bad_value_fails() -> None:
    good, bad, other = Piece(), Piece(MessageUnstorable("bad")), Piece()
    commits = end(good, bad, other)
    assert (good.told, bad.told, other.told) == ([None], [bad.error], [None])
    assert commits.postponed == []


@pytest.mark.parametrize("error", [StoreFailure("away"), LookupError("ours")])
def test_what_fails_beside_a_bad_value_is_postponed_and_not_forgotten(error: Exception) -> None:
    bad, failing, last = Piece(MessageUnstorable("bad")), Piece(error), Piece()
    ((batch, failure),) = end(bad, failing, last).postponed
    assert batch == [failing, last]
    assert failure is error or isinstance(failure, OutcomeUnknown)
    assert bad.told == [bad.error]
