"""The hash chain of one writer in PostgreSQL: the lines of `store.evidence_chain`, in a table.

A writer's row is its lock: whoever adds entries holds it to the end of the transaction. A worker's process takes the
chain with a new epoch; one that it took it from, and that still runs somewhere, cannot write to it any more. No entry
is added to a day that has its head, whatever the clock of a node says.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.events.evidence.chain import Place, Signer
from gatepost.store.evidence_end import ChainEnd, day_after
from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.server import DatabaseServer, reported
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from gatepost.events.evidence.entry import Privacy
    from gatepost.mail.model.trace_event import TraceEvent


_log = logging.getLogger(__name__)

_BATCH: Final = 3000  # entries that are sent at once: some megabytes
_ENTRY: Final = ("writer", "place", "line")  # named, since a newer version may have added a column

MAKE_CHAIN: Final = (
    "INSERT INTO evidence_chain (writer, epoch, place, number, head, signed, day) VALUES ($1, 0, 0, 0, $2, 0, '')"
    " ON CONFLICT (writer) DO NOTHING"
)
_TAKE: Final = "UPDATE evidence_chain SET epoch = epoch + 1 WHERE writer = $1 RETURNING epoch"
_ROW: Final = "SELECT epoch, place, number, head, signed, day FROM evidence_chain WHERE writer = $1 FOR UPDATE"
_HEADED: Final = "SELECT max(day) FROM evidence_head"
_ADVANCE: Final = (
    "UPDATE evidence_chain SET epoch = $2, place = $3, number = $4, head = $5, signed = $6, day = $7 WHERE writer = $1"
)
SET_DAY: Final = (
    "INSERT INTO evidence_day (day, writer, first_place, last_place, number, head) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (day, writer) DO UPDATE SET last_place = excluded.last_place, number = excluded.number,"
    " head = excluded.head"
)


class _Row(NamedTuple):
    """What the table says of a chain."""

    epoch: int
    place: int
    number: int
    head: str
    signed: int
    day: str

    @property
    def end(self) -> Place:
        """Its last entry."""
        return Place(self.number, self.head)


class _Attempt(NamedTuple):
    """What was to be stored when no answer came. end: where the chain stood then, if it was."""

    end: Place
    signed: int
    events: int
    dropped: int


class PostgresChain:
    """Implements `store.evidence_log.ChainWriter`. For one thread.

    connection: lends one, with the tables made. shared: several processes continue the chain, as commands do; of any
    other the process that has it is believed, not the table. signer: None where nothing can be signed.
    """

    def __init__(
        self,
        connection: Callable[[], AbstractContextManager[tuple[DatabaseServer, Any]]],
        writer: str,
        *,
        node: str,
        privacy: Privacy | None = None,
        signer: Signer | None = None,
        shared: bool = False,
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._signer = signer
        self._shared = shared
        self._end = ChainEnd(node=node, writer=writer, privacy=privacy)
        self._epoch = 0
        self._signed = 0
        self._known = False  # whether `_end` and `_signed` are the chain's
        self._attempt: _Attempt | None = None
        self._stored = 0, 0  # events and dropped ones that are stored, though nobody heard of it

    @property
    def unsigned(self) -> bool:
        """See `ChainWriter.unsigned`."""
        return self._end.place.number > self._signed

    def append(self, events: Sequence[TraceEvent], now: float, *, dropped: int = 0, is_off: bool = False) -> None:
        """See `ChainWriter.append`."""
        self._work(lambda connection: self._append(connection, events, now, dropped, is_off=is_off))
        self._stored = 0, 0

    def checkpoint(self, now: float) -> None:
        """See `ChainWriter.checkpoint`."""
        if self._signer is not None:
            self._work(lambda connection: self._checkpoint(connection, now))

    def end_day(self, now: float) -> None:
        """Nothing: lines of days that are over lie where they are, and their head keeps others from being added."""

    def _work(self, work: Callable[[Any], Any]) -> None:
        with self._connection() as (server, connection):
            server.run(lambda: self._transaction(connection, work), f"evidence of writer {self._writer}")

    async def _transaction(self, connection: Any, work: Callable[[Any], Any]) -> None:
        """All or nothing. What was joined in vain is forgotten, but for where it would have led."""
        place, signed = self._end.place, self._signed
        try:
            with reported(f"evidence of writer {self._writer}"):
                if not self._epoch and not self._shared:
                    await connection.execute(MAKE_CHAIN, self._writer, place.head)
                    self._epoch = await connection.fetchval(_TAKE, self._writer)
                await self._settle_attempt(connection)
                async with connection.transaction():
                    await work(connection)
            self._attempt = None
        except BaseException:
            self._end.place, self._signed = place, signed
            raise
        finally:
            self._end.lines.clear()

    async def _settle_attempt(self, connection: Any) -> None:
        """Learn what became of entries whose commit was not answered; the lock waits for a commit that still runs."""
        attempt = self._attempt
        if attempt is None:
            return
        async with connection.transaction():
            values = await connection.fetchrow(_ROW, self._writer)
        if values is not None and _Row(*values).end == attempt.end:
            self._end.place, self._signed = attempt.end, attempt.signed
            events, dropped = self._stored
            self._stored = events + attempt.events, dropped + attempt.dropped
        self._attempt = None

    async def _append(
        self, connection: Any, events: Sequence[TraceEvent], now: float, dropped: int, *, is_off: bool
    ) -> None:
        row = await self._locked(connection)
        stored = self._stored
        events, dropped = events[stored[0] :], dropped - stored[1]
        if not events and not dropped and not is_off:
            return
        writing = await self._begun(connection, row, now)
        if is_off:
            self._end.gap(now, "off", 0)
        if dropped:
            self._end.gap(now, "dropped", dropped)
        for first in range(0, len(events), _BATCH):
            self._end.events(events[first : first + _BATCH])
            await writing.store(connection, self._end)
        await writing.store(connection, self._end)
        await self._advance(connection, row, writing, len(events), dropped)

    async def _checkpoint(self, connection: Any, now: float) -> None:
        row = await self._locked(connection)
        if self._signer is None or not self.unsigned:
            return
        writing = await self._begun(connection, row, now)
        self._end.checkpoint(now, self._signer)
        self._signed = self._end.place.number
        await writing.store(connection, self._end)
        await self._advance(connection, row, writing, 0, 0)

    async def _locked(self, connection: Any) -> _Row:
        """The row of the chain, which is ours to the end of the transaction. Raises StoreFailure."""
        values = await connection.fetchrow(_ROW, self._writer)
        if values is None:
            await connection.execute(MAKE_CHAIN, self._writer, Place().head)
            values = await connection.fetchrow(_ROW, self._writer)
        row = _Row(*values)
        if row.epoch > self._epoch and not self._shared:
            raise StoreFailure(
                f"evidence of writer {self._writer}: another process writes this chain, and this one may not any more: "
                "two nodes have one name ([server] node), or this one was replaced"
            )
        if self._shared or not self._known:
            self._end.place, self._signed, self._known = row.end, row.signed, True
        elif row.end != self._end.place:
            self._complain(row.end.number)
        return row

    def _complain(self, stored: int) -> None:
        """stored: the last entry that the table has."""
        number = self._end.place.number
        if stored < number:
            _log.error(
                "evidence: the database lost entries %d to %d of %s, which it had stored: a standby that lacked them "
                "was promoted, or an earlier state was restored. Mail that was accepted then may be missing, too",
                stored + 1,
                number,
                self._writer,
            )
        else:
            _log.error("evidence: the chain of %s was changed after entry %d", self._writer, number)

    async def _begun(self, connection: Any, row: _Row, now: float) -> _Writing:
        """The day that takes entries now, begun if it has none: never one whose head is made."""
        day = max(day_text(now), row.day)
        headed = await connection.fetchval(_HEADED) or ""
        if day <= headed:
            day = day_after(headed)
        if day != row.day:
            self._end.begin(day, now)
        return _Writing(self._writer, day, row.place)

    async def _advance(self, connection: Any, row: _Row, writing: _Writing, events: int, dropped: int) -> None:
        number, head = self._end.place
        day = writing.day
        await connection.execute(SET_DAY, day, self._writer, row.place + 1, writing.place, number, head)
        epoch = row.epoch if self._shared else self._epoch
        await connection.execute(_ADVANCE, self._writer, epoch, writing.place, number, head, self._signed, day)
        if not self._shared:
            self._attempt = _Attempt(self._end.place, self._signed, events, dropped)


class _Writing:
    """Lines on their way into the table. place: of the last one."""

    def __init__(self, writer: str, day: str, place: int) -> None:
        self._writer = writer
        self.day = day
        self.place = place

    async def store(self, connection: Any, end: ChainEnd) -> None:
        """Send what was joined."""
        records = [(self._writer, place, line) for place, line in enumerate(end.lines, self.place + 1)]
        if records:
            await connection.copy_records_to_table("evidence_entry", records=records, columns=_ENTRY)
            self.place += len(records)
            end.lines.clear()
