"""Records which lines of one module follow which, for `own_coverage`, by local events of sys.monitoring.

coverage's own tracer is told of every line that Python runs, in pytest and hypothesis too, and so doubles what the
tests cost; its `sysmon` core cannot measure branches before Python 3.14. What is recorded here is in coverage's terms:
an arc (a, b) says that line b ran after line a of the same call, and a negative number is the function's first line,
for its entry and its exit. Judging what is missing stays with coverage.
"""

from __future__ import annotations

import sys
from pathlib import Path
from sys import monitoring
from types import CodeType
from typing import Any

import coverage

_TOOL = monitoring.COVERAGE_ID
_EVENTS = monitoring.events
_OF_MODULE = _EVENTS.LINE | _EVENTS.PY_RETURN


def record(module: Path) -> set[tuple[int, int]]:
    """The arcs of a module, in all threads, from now until the process ends: the set grows as they are taken."""
    file, arcs = str(module), set[tuple[int, int]]()
    # The last line of each call that runs, by the identity of its frame: a reference to the frame of a generator would
    # keep it from being closed. A new call may get the identity of one that an exception ended.
    last: dict[int, int] = {}
    caller = sys._getframe  # noqa: SLF001 - the events name the code, not the call

    def begin(code: CodeType, _offset: int) -> Any:
        """Code of other files is not asked about again."""
        if code.co_filename != file:
            return monitoring.DISABLE
        if monitoring.get_local_events(_TOOL, code) != _OF_MODULE:
            monitoring.set_local_events(_TOOL, code, _OF_MODULE)
        last[id(caller(1))] = -code.co_firstlineno
        return None

    def enter_line(code: CodeType, line: int) -> None:
        frame = id(caller(1))
        arcs.add((last.get(frame, -code.co_firstlineno), line))
        last[frame] = line

    def end(code: CodeType, _offset: int, _value: object) -> None:
        line = last.pop(id(caller(1)), None)
        if line is not None:
            arcs.add((line, -code.co_firstlineno))

    monitoring.use_tool_id(_TOOL, "own_coverage")
    monitoring.register_callback(_TOOL, _EVENTS.PY_START, begin)
    monitoring.register_callback(_TOOL, _EVENTS.LINE, enter_line)
    monitoring.register_callback(_TOOL, _EVENTS.PY_RETURN, end)
    monitoring.set_events(_TOOL, _EVENTS.PY_START)
    return arcs


def save(module: Path, arcs: set[tuple[int, int]], data: Path) -> None:
    """Write what coverage reads; no file where the module was never imported."""
    if arcs:
        measured = coverage.CoverageData(basename=str(data))
        measured.add_arcs({str(module): arcs})
        measured.write()
