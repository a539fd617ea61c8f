"""The trace counted for the pages of the reports: once, behind the pages, and further on as the trace grows.

A page never waits for the counting: it is told what was counted last, or that the counting goes on. One count runs at
a time, on a thread of its own; of so many questions (a time, an organization) the sums are kept, and a further look
reads only the rows that were added since. `administration.reports` asks.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw

from gatepost.administration.refusal import Kind, Refusal
from gatepost.reports.pictures import PictureCounter
from gatepost.store.trace_files import file_state, trace_files
from gatepost.store.trace_tally import tally_file

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.reports.pictures import TlsPictures
    from gatepost.reports.tls import Wanted
    from gatepost.store.trace_files import TraceFile

__all__ = ["Counted", "Question", "ReportCounts"]

_log = logging.getLogger(__name__)

FRESH: Final = 2.0  # seconds for which a count is good enough without another look
_KEPT: Final = 4  # questions whose sums are kept: some ten megabytes each where there are many partners
_WAITING: Final = 16  # questions that wait to be counted


class Question(NamedTuple):
    """What is counted. first, last: UTC days."""

    wanted: Wanted
    first: str
    last: str


class Counted(NamedTuple):
    """pictures: as of the time `at`, seconds since 1970. renewing: newer ones are being counted."""

    pictures: TlsPictures
    at: float
    renewing: bool


class _Start(NamedTuple):
    """How far a file was counted."""

    state: tuple[int, ...]
    rows: int


@dataclass(slots=True)
class _Known:
    """What is kept of a question. looked: when (monotonic) the trace was looked at last. failed: it could not be."""

    counter: PictureCounter
    files: dict[TraceFile, _Start] = field(default_factory=dict)
    pictures: TlsPictures | None = None
    at: float = 0.0
    looked: float = float("-inf")
    failed: bool = False


class ReportCounts:
    """The counts of one trace. For any thread. directory: of the trace.

    counting: held while somebody counts, who is the only one.
    """

    def __init__(self, directory: Path) -> None:
        self.counting = Lock()
        self._directory = directory
        self._known: OrderedDict[Question, _Known] = OrderedDict()
        self._asked: OrderedDict[Question, None] = OrderedDict()
        self._changed = Condition()
        self._running = False

    def of(self, question: Question, wait: float) -> Counted | None:
        """What is counted; None if it is not yet. wait: for so many seconds, if there is nothing fresh.

        Raises Refusal (UNREADABLE) if it cannot be counted.
        """
        asked = time.monotonic()

        def fresh() -> bool:
            known = self._known.get(question)
            return known is not None and known.looked > asked - FRESH

        with self._changed:
            if not fresh():
                self._ask(question)
                self._changed.wait_for(fresh, wait)
            known = self._known.get(question)
            if known is not None and known.failed:
                raise Refusal(Kind.UNREADABLE, "The message trace could not be counted; the gateway's log says why.")
            if known is None or known.pictures is None:
                return None
            return Counted(known.pictures, known.at, renewing=not fresh())

    def _ask(self, question: Question) -> None:
        """Have it counted. With the lock."""
        self._asked[question] = None
        while len(self._asked) > _WAITING:
            self._asked.popitem(last=False)
        if not self._running:
            self._running = True
            Thread(target=self._run, name="report counts", daemon=True).start()

    def _run(self) -> None:
        """Count what is asked for, until nothing is."""
        while True:
            with self._changed:
                if not self._asked:
                    self._running = False
                    return
                question, _ = self._asked.popitem(last=False)
                known = self._known.get(question) or _fresh(question)
            looked = time.monotonic()
            try:
                with self.counting:
                    known = self._counted(question, known)
                known.failed = False
            except Exception:  # noqa: BLE001 - whatever it was: others wait for this thread
                _log.exception("the message trace cannot be counted")
                known = _fresh(question)
                known.failed = True
            known.looked = looked
            with self._changed:
                self._known[question] = known
                self._known.move_to_end(question)
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
                self._changed.notify_all()

    def _counted(self, question: Question, known: _Known) -> _Known:
        """What was added since the last look; all, if something was taken away."""
        now = time.time()
        files = [file for file in trace_files(self._directory) if question.first <= file.day <= question.last]
        if not known.files.keys() <= set(files):
            known = _fresh(question)
        before, unreadable = dict(known.files), list[str]()
        for file in files:
            state, start = file_state(self._directory, file), known.files.get(file)
            if start is not None and start.state == state:
                continue
            after = start.rows if start is not None else 0
            try:
                rows, kinds = tally_file(self._directory, file, after)
            except apsw.Error as error:
                _log.warning("the message trace: %s cannot be counted: %s", file.name, error)
                unreadable.append(file.name)
                continue
            if rows < after:  # another file of that name
                return self._counted(question, _fresh(question))
            known.counter.add(file.day, kinds)
            known.files[file] = _Start(state, rows)
        if known.pictures is None or known.files != before or known.pictures.unreadable != tuple(unreadable):
            known.pictures = known.counter.pictures(unreadable)
        known.at = now
        return known


def _fresh(question: Question) -> _Known:
    return _Known(PictureCounter(*question))
