"""Count what users and own servers send in a day, and refuse what is beyond their limits.

One for each worker. The event loop counts in memory and never waits; a thread adds the counts to the shared table every
two seconds and reads those of other workers and nodes. So together they may let through what they take in two seconds
beyond a limit, and a crash forgets as much. While the table cannot be used, each worker counts alone. Where nobody has
a limit, the counts are for the alarm `sending-unusual` alone: they are written every half minute, and none are read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors.values import Mode
from gatepost.policy.decisions.daily_limits import (
    DailyLimit,
    DailyUsage,
    Lifted,
    has_senders,
    judge,
    limit_of,
    limits_anybody,
)
from gatepost.store.interface import StoreFailure
from gatepost.store.sending_usage import SenderUsage, UsageTable
from gatepost.times import day_text
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.protocols.smtp.replies import Reply


_INTERVAL: Final = 2.0
_UNLIMITED: Final = 15  # times that, where nobody has a limit
_LONGEST_WAIT: Final = 10.0
_DAYS: Final = 36 * 86400.0  # that are kept: a letter on the first Monday of each month comes after 35

_log = logging.getLogger(__name__)

type _Key = tuple[str, str, str]  # day, organization, subject


class Charge:
    """The recipients of one message, counted as soon as they are taken; given back if the message is not."""

    __slots__ = ("_counts", "_key", "_lock", "recipients")

    def __init__(self, lock: threading.Lock, counts: dict[_Key, list[int]], key: _Key) -> None:
        self._lock = lock
        self._counts = counts
        self._key = key
        self.recipients = 0

    def add(self) -> None:
        """One recipient more; the first one is a message, too."""
        with self._lock:
            count = self._counts[self._key]
            count[0] += self.recipients == 0
            count[1] += 1
        self.recipients += 1

    def cancel(self) -> None:
        """The message was not taken."""
        if self.recipients:
            with self._lock:
                count = self._counts[self._key]
                count[0] -= 1
                count[1] -= self.recipients
            self.recipients = 0


class SendingUsage:
    """table: of the site. clock: seconds since 1970. interval: seconds between two writes.

    everybody: count those who have no limit as well.
    """

    def __init__(
        self,
        table: UsageTable,
        clock: Callable[[], float] = time.time,
        *,
        interval: float = _INTERVAL,
        everybody: bool = True,
    ) -> None:
        self._everybody = everybody
        self._limited = False  # somebody has a limit
        self._table = table
        self._clock = clock
        self._interval = interval
        self._known: dict[_Key, SenderUsage] = {}
        self._counts: defaultdict[_Key, list[int]] = defaultdict(lambda: [0, 0])  # not in the table yet
        self._leaving: dict[_Key, tuple[int, ...]] = {}  # on its way to the table
        self._breaches: dict[_Key, SenderUsage] = {}
        self._revision = 0
        self._day = ""
        self._lock = threading.Lock()
        self._ending = False
        self._wake = threading.Event()
        self._was_read = threading.Event()  # the table was read once, or could not be
        self._thread: threading.Thread | None = None
        self._failing = False

    def use(self, directory: Directory) -> None:
        """Begin to count, if somebody has a limit, or may send without one."""
        before, self._limited = self._limited, limits_anybody(directory)
        if self._limited and not before:
            self._wake.set()
        if self._thread is None and (self._limited or (self._everybody and has_senders(directory))):
            self._thread = threading.Thread(target=self._run, name="sending usage", daemon=True)
            self._thread.start()

    def wait_until_read(self, seconds: float) -> None:
        """Block until the table was asked for the first time, `seconds` at most: a restart forgets no limit."""
        if self._thread is not None and self._limited:
            self._was_read.wait(seconds)

    def admit(
        self, directory: Directory, session: SessionFacts, verdict: InboundVerdict, charge: Charge | None
    ) -> tuple[InboundVerdict, Charge | None]:
        """The verdict on a recipient that would be taken, with its sender's limit worked in; and the count.

        charge: of the recipients before it.
        """
        limit = limit_of(directory, session, verdict.attribution) if self._thread is not None else None
        if limit is None or session.node or not (limit.is_set or self._everybody):
            return verdict, charge
        key = (day_text(self._clock()), limit.organization, limit.subject)
        reply = judge(limit, self._with_one_more(key, charge), self._lifted(key)) if limit.is_set else None
        if reply is not None:
            self._breached(key, reply.text)
            verdict = _refused(verdict, limit, reply)
        if verdict.accepted:
            charge = charge or Charge(self._lock, self._counts, key)
            charge.add()
        return verdict, charge

    def close(self) -> None:
        """Write what was counted and end the thread."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._table.close()

    def _with_one_more(self, key: _Key, charge: Charge | None) -> DailyUsage:
        with self._lock:
            known = self._known.get(key)
            counts = [self._counts.get(key, (0, 0)), self._leaving.get(key, (0, 0))]
        messages, recipients = (sum(numbers) for numbers in zip(*counts, strict=True))
        if known is not None:
            messages, recipients = messages + known.messages, recipients + known.recipients
        return DailyUsage(messages + (charge is None or not charge.recipients), recipients + 1)

    def _lifted(self, key: _Key) -> Lifted:
        known = self._known.get(key)
        return Lifted(known.lifted) if known is not None else Lifted.NOTHING

    def _breached(self, key: _Key, text: str) -> None:
        """Tell the site of the first breach of a day."""
        known = self._known.get(key)
        if key not in self._breaches and (known is None or not known.breached):
            self._breaches[key] = SenderUsage(*key, breached=self._clock(), breach=text)

    # on the thread

    def _run(self) -> None:
        wait = 0.0
        while not self._ending:
            if self._exchange():
                wait = self._interval if self._limited else self._interval * _UNLIMITED
            else:
                wait = min(max(wait, self._interval) * 2, _LONGEST_WAIT)
            self._was_read.set()
            self._wake.wait(wait)
            self._wake.clear()
        self._exchange()

    def _exchange(self) -> bool:
        """Add what was counted to the table, and read what others did. False: it cannot be used now."""
        now = self._clock()
        day = day_text(now)
        with self._lock:
            self._leaving = {key: (*count,) for key, count in self._counts.items() if any(count)}
            self._counts.clear()
        breaches, written = dict(self._breaches), False
        try:
            if day != self._day:  # before anything is added, which would be added again
                self._begin_day(day, now)
            self._write(breaches)
            written = True
            revision = self._revision if day == self._day else 0
            rows, revision = self._table.since(day, revision) if self._limited else ([], revision)
        except StoreFailure as failure:
            self._keep(written=written)
            if not self._failing:
                _log.error("what users and servers sent today is counted by each worker alone: %s", failure)
            self._failing = True
            return False
        known = dict(self._known) if day == self._day else {}
        known |= {(row.day, row.organization, row.subject): row for row in rows}
        with self._lock:
            self._known, self._leaving = known, {}
        self._day, self._revision, self._failing = day, revision, False
        for key in breaches:
            del self._breaches[key]
        return True

    def _begin_day(self, day: str, now: float) -> None:
        self._table.prune(day_text(now - _DAYS))
        if self._everybody:
            self._table.note_day(day)

    def _write(self, breaches: dict[_Key, SenderUsage]) -> None:
        rows = [SenderUsage(*key, messages, recipients) for key, (messages, recipients) in self._leaving.items()]
        if rows or breaches:
            self._table.add([*rows, *breaches.values()])

    def _keep(self, *, written: bool) -> None:
        """What could not be written is written the next time; what was written, and not read again, counts as known."""
        with self._lock:
            for key, (messages, recipients) in self._leaving.items():
                if written:
                    known = self._known.get(key) or SenderUsage(*key)
                    self._known[key] = replace(
                        known, messages=known.messages + messages, recipients=known.recipients + recipients
                    )
                else:
                    count = self._counts[key]
                    count[0] += messages
                    count[1] += recipients
            self._leaving = {}


def _refused(verdict: InboundVerdict, limit: DailyLimit, reply: Reply) -> InboundVerdict:
    """The verdict beyond a limit; of a connector in rehearsal it is only reported."""
    connector = verdict.attribution.connector
    if connector is not None and connector.mode is Mode.REHEARSE:
        reason = f"would_refuse: {reply.text}: not applied, as the connector is in rehearsal"
        return replace(
            verdict,
            reasons=(*verdict.reasons, reason),
            would_refuse=verdict.would_refuse or reply,
            would_refuse_connector=verdict.would_refuse_connector or connector.name,
        )
    return replace(verdict, accepted=False, reply=reply, reasons=(*verdict.reasons, f"{limit.reason}, and has done so"))
