"""Count the interpreter's instructions of a running gateway, function by function: what does a message cost?

    .venv/bin/python bench/instructions.py serve --config gatepost.toml    # in place of `gatepost serve`
    kill -USR1 WORKER                                                      # begin to count
    ... send messages ...
    kill -USR2 WORKER                                                      # end, and print the table

WORKER is the process id of a worker (`pgrep -P` of the supervisor's gives it first). The table goes to standard error:
instructions and calls of each module and function, those of all threads together. They are the same for every message
of a kind, whatever else the machine does. A counted gateway is about thirty times slower. What C code executes is not
counted: `valgrind --tool=callgrind` counts all (docs/performance.md).
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections import Counter
from types import CodeType
from typing import Final

TOOL: Final = 3
LINES: Final = 60


class InstructionCount:
    """What was executed and entered, by function."""

    def __init__(self) -> None:
        self.executed: Counter[CodeType] = Counter()
        self.entered: Counter[CodeType] = Counter()

    def watch(self) -> None:
        """Be ready to count in this process."""
        events = sys.monitoring.events
        sys.monitoring.use_tool_id(TOOL, "instructions")
        sys.monitoring.register_callback(TOOL, events.INSTRUCTION, self._executed)
        sys.monitoring.register_callback(TOOL, events.PY_START, self._entered)
        signal.signal(signal.SIGUSR1, lambda *_: self._begin())
        signal.signal(signal.SIGUSR2, lambda *_: self._end())

    def _executed(self, code: CodeType, _offset: int) -> None:
        self.executed[code] += 1

    def _entered(self, code: CodeType, _offset: int) -> None:
        self.entered[code] += 1

    def _begin(self) -> None:
        self.executed.clear()
        self.entered.clear()
        sys.monitoring.set_events(TOOL, sys.monitoring.events.INSTRUCTION | sys.monitoring.events.PY_START)

    def _end(self) -> None:
        sys.monitoring.set_events(TOOL, 0)
        modules: Counter[str] = Counter()
        for code, number in self.executed.items():
            modules[_module(code)] += number
        print(f"{self.executed.total()} instructions, {self.entered.total()} calls", file=sys.stderr)
        for name, number in modules.most_common(LINES):
            print(f"{number:12}  {name}", file=sys.stderr)
        for code, number in self.executed.most_common(LINES):
            print(f"{number:12} {self.entered[code]:9}x  {_module(code)} {code.co_qualname}", file=sys.stderr)


def _module(code: CodeType) -> str:
    return code.co_filename.rpartition("/src/")[2].rpartition("/site-packages/")[2]


def main() -> None:
    """Run gatepost, and count in the processes that it forks."""
    os.register_at_fork(after_in_child=InstructionCount().watch)
    sys.argv[0] = "gatepost"
    runpy.run_module("gatepost", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
