"""Counts of what each connector did in the last days: counted once, and kept as long as the process runs.

Used by lists of connectors. A part of the trace (a day and writer) is counted when it is first asked for, and what is
added to it later; one that nothing was added to since is not read.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from gatepost.analysis.rehearsal.verdicts import ConnectorKey, Verdicts, count_verdicts
from gatepost.store.storage import Storage
from gatepost.store.trace import TracePart, tally_part
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.manage.use_cases.context import Gateway
    from gatepost.settings.model import Settings


RECENT_DAYS = 7
_DAY = 86_400.0
_NONE = Verdicts()


def recent_verdicts(
    gateway: Gateway, keys: Iterable[ConnectorKey], *, days: int = RECENT_DAYS, now: float | None = None
) -> dict[ConnectorKey, Verdicts]:
    """The verdicts of each of these connectors: of so many UTC days, today as far as it has gone. now: for tests.

    Who asks must see the connectors. Waits for the counting: some seconds for a million rows, the first time.
    """
    until = time.time() if now is None else now
    return gateway.kept(TraceVerdicts).of(keys, day_text(until - (days - 1) * _DAY), day_text(until))


class _Known(NamedTuple):
    """A part as it was counted. state: by `Trace.parts`, then. rows: how many it had."""

    state: object
    rows: int
    verdicts: dict[ConnectorKey, Verdicts]


class TraceVerdicts:
    """The verdicts in a trace, by part. For any thread; who comes while another counts waits for it.

    Got by `Context.kept`.
    """

    def __init__(self, settings: Settings) -> None:
        self._trace = Storage.of(settings).trace()
        self._known: dict[TracePart, _Known] = {}
        self._counting = Lock()

    def of(self, keys: Iterable[ConnectorKey], first: str, last: str) -> dict[ConnectorKey, Verdicts]:
        """The verdicts of connectors, of UTC days first to last ("2026-11-24"). A part that cannot be read has none.

        Raises StoreFailure where there is no telling parts.
        """
        with self._counting:
            wanted = self._trace.parts(first, last)
            for part, state in wanted.items():
                self._count(part, state)
            self._known = {part: self._known[part] for part in wanted if part in self._known}
            counted = [counts.verdicts for counts in self._known.values()]
        result = dict.fromkeys(keys, _NONE)
        for verdicts in counted:
            for key, before in result.items():
                if more := verdicts.get(key):
                    result[key] = before.plus(more)
        return result

    def _count(self, part: TracePart, state: object) -> None:
        known = self._known.get(part)
        if known is not None and known.state == state:
            return
        before = known.rows if known is not None else 0
        counted = tally_part(self._trace, part, before)
        if counted is None:
            return
        rows, kinds = counted
        verdicts = count_verdicts(kinds)
        for key, old in (known.verdicts if known is not None and rows >= before else {}).items():
            verdicts[key] = old.plus(verdicts.get(key, _NONE))
        self._known[part] = _Known(state, rows, verdicts)
