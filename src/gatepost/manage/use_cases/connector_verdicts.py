"""Counts of what each connector did in the last days: counted once, and kept as long as the process runs.

Used by lists of connectors. A file of the trace is counted when it is first asked for, and what is added to it later;
one that nothing was added to since is not opened.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import apsw

from gatepost.analysis.rehearsal.verdicts import Verdicts, count_verdicts
from gatepost.store.sqlite.trace_files import day_of, file_state, trace_files
from gatepost.store.sqlite.trace_tally import tally_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.analysis.rehearsal.verdicts import ConnectorKey
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.settings.model import Settings
    from gatepost.store.sqlite.trace_files import TraceFile


_log = logging.getLogger(__name__)

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
    return gateway.kept(TraceVerdicts).of(keys, day_of(until - (days - 1) * _DAY), day_of(until))


class _Known(NamedTuple):
    """A file as it was counted. state: of the files on the disk then. rows: how many it had."""

    state: tuple[int, ...]
    rows: int
    verdicts: dict[ConnectorKey, Verdicts]


class TraceVerdicts:
    """The verdicts in a trace, by file. For any thread; who comes while another counts waits for it.

    Got by `Context.kept`.
    """

    def __init__(self, settings: Settings) -> None:
        self._directory = Path(settings.server.data_dir) / "trace"
        self._known: dict[TraceFile, _Known] = {}
        self._counting = Lock()

    def of(self, keys: Iterable[ConnectorKey], first: str, last: str) -> dict[ConnectorKey, Verdicts]:
        """The verdicts of connectors, of UTC days first to last ("2026-11-24"). A file that cannot be read has none."""
        with self._counting:
            wanted = [file for file in trace_files(self._directory) if first <= file.day <= last]
            for file in wanted:
                self._count(file)
            self._known = {file: self._known[file] for file in wanted if file in self._known}
            counted = [one.verdicts for one in self._known.values()]
        result = dict.fromkeys(keys, _NONE)
        for verdicts in counted:
            for key, before in result.items():
                if more := verdicts.get(key):
                    result[key] = before.plus(more)
        return result

    def _count(self, file: TraceFile) -> None:
        state, known = file_state(self._directory, file), self._known.get(file)
        if known is not None and known.state == state:
            return
        before = known.rows if known is not None else 0
        try:
            rows, kinds = tally_file(self._directory, file, before)
        except apsw.Error as error:
            _log.warning("the message trace: %s cannot be counted: %s", file.name, error)
            return
        verdicts = count_verdicts(kinds)
        for key, old in (known.verdicts if known is not None and rows >= before else {}).items():
            verdicts[key] = old.plus(verdicts.get(key, _NONE))
        self._known[file] = _Known(state, rows, verdicts)
