"""The trace counted for the pages of the reports: once, behind the pages, and further on as the trace grows.

A page never waits for the counting (`manage.use_cases.background`). Of so many questions (a time, an organization) the
sums are kept, and a further look reads only the rows that were added since. `manage.use_cases.reports` asks.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.reports.pictures import PictureCounter
from gatepost.manage.use_cases.background import FRESH, BackgroundResults
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.store.storage import Storage
from gatepost.store.trace import tally_part

if TYPE_CHECKING:
    from gatepost.analysis.reports.pictures import TlsPictures
    from gatepost.analysis.reports.tls import Wanted
    from gatepost.manage.use_cases.background import BackgroundResult
    from gatepost.settings.model import Settings
    from gatepost.store.trace import TracePart


_log = logging.getLogger(__name__)

_WORTH: Final = 20.0  # an answer that took a second to find is good enough for so many
_KEPT: Final = 4  # questions whose sums are kept: some ten megabytes each where there are many partners


class CountRequest(NamedTuple):
    """A count over days. first, last: UTC days."""

    wanted: Wanted
    first: str
    last: str


class _Start(NamedTuple):
    """Progress of counting one part of the trace. state: by `Trace.parts`."""

    state: object
    rows: int


@dataclass(slots=True)
class _Sums:
    """Sums kept for one request."""

    counter: PictureCounter
    parts: dict[TracePart, _Start] = field(default_factory=dict)
    pictures: TlsPictures | None = None


class ReportCounts:
    """The counts of one trace, got by `Context.kept`. For any thread.

    fresh: seconds for which a count is good enough. counting: held while somebody counts, who is the only one.
    answers: whatever else is worked out behind pages, in turn with the counting.
    """

    def __init__(self, settings: Settings, fresh: float = FRESH) -> None:
        self.counting = Lock()
        self.answers = BackgroundResults(self.counting, worth=_WORTH)
        self._trace = Storage.of(settings).trace()
        self._behind = BackgroundResults(self.counting, kept=_KEPT, fresh=fresh)
        self._sums: OrderedDict[CountRequest, _Sums] = OrderedDict()

    def of(self, question: CountRequest, wait: float) -> BackgroundResult[TlsPictures] | None:
        """The counts, None if there are none yet. wait: seconds to wait, if there is nothing fresh.

        Raises Refusal (UNREADABLE) if it cannot be counted.
        """
        return self._behind.of(question, partial(self._pictures, question), wait)

    def _pictures(self, question: CountRequest) -> TlsPictures:
        """On the thread that counts. What fails is counted from the beginning the next time."""
        sums = self._sums.pop(question, None) or _none(question)
        try:
            sums, pictures = self._counted(question, sums)
        except Exception as error:
            _log.exception("the message trace cannot be counted")
            text = "The message trace could not be counted; the gateway's log says why."
            raise Refusal(RefusalKind.UNREADABLE, text) from error
        self._sums[question] = sums
        while len(self._sums) > _KEPT:
            self._sums.popitem(last=False)
        return pictures

    def _counted(self, question: CountRequest, known: _Sums) -> tuple[_Sums, TlsPictures]:
        """Count what was added since the last time; everything, if something was removed."""
        parts = self._trace.parts(question.first, question.last)
        if not known.parts.keys() <= parts.keys():
            known = _none(question)
        before, unreadable = dict(known.parts), list[str]()
        for part, state in parts.items():
            start = known.parts.get(part)
            if start is not None and start.state == state:
                continue
            after = start.rows if start is not None else 0
            counted = tally_part(self._trace, part, after, unreadable)
            if counted is None:
                continue
            rows, kinds = counted
            if rows < after:  # another part of that name
                return self._counted(question, _none(question))
            known.counter.add(part.day, kinds)
            known.parts[part] = _Start(state, rows)
        if known.pictures is None or known.parts != before or known.pictures.unreadable != tuple(unreadable):
            known.pictures = known.counter.pictures(unreadable)
        return known, known.pictures


def _none(question: CountRequest) -> _Sums:
    return _Sums(PictureCounter(*question))
