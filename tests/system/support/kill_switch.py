"""Runs gatepost so that it kills itself exactly before or after a step, which is a function of its own.

The process that a test starts wraps the functions and then runs the command: nothing of this is in the product. Which
step is armed stands in a file that all processes of the gateway have mapped, as no confined process could open one: an
octet for each step, 0 once it was reached. Started by `support.kill_points`; imports nothing of the tests.
"""

from __future__ import annotations

import functools
import inspect
import json
import mmap
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

ALONE: Final = 1  # the process that reaches the step dies
ALL: Final = 2  # it stands still until whoever armed the step kills all: a confined process sends others no signal


class Switch:
    """One step. holding: what must be true of its arguments for it to count: "self.messages", "path.name=keys"."""

    def __init__(self, memory: mmap.mmap, number: int, moment: str, holding: list[str]) -> None:
        self._memory = memory
        self._number = number
        self._moment = moment
        parts = [term.partition("=") for term in holding]
        self._holding = [(attrgetter(f"arguments.{name}"), value) for name, _, value in parts]

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which now kills."""
        signature = inspect.signature(function)

        def reached(moment: str, *args: Any, **options: Any) -> None:
            if moment != self._moment or not self._memory[self._number]:
                return
            call = _Call(signature.bind(*args, **options).arguments)
            if all(str(of(call)) == value if value else of(call) for of, value in self._holding):
                deadly = signal.SIGSTOP if self._memory[self._number] == ALL else signal.SIGKILL
                self._memory[self._number] = 0
                os.kill(os.getpid(), deadly)
                while True:  # the signal may reach another thread first, and this one must not go on meanwhile
                    signal.pause()

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            reached("before", *args, **options)
            result = function(*args, **options)
            reached("after", *args, **options)
            return result

        @functools.wraps(function)
        async def awaited(*args: Any, **options: Any) -> Any:
            reached("before", *args, **options)
            result = await function(*args, **options)
            reached("after", *args, **options)
            return result

        return awaited if inspect.iscoroutinefunction(function) else wrapped


class _Call:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = type("Arguments", (), arguments)


def main() -> None:
    """Arguments: the file, the steps as JSON, and the words of the command."""
    file, steps, *words = sys.argv[1:]
    with Path(file).open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 0)
    for number, (step, moment, holding) in enumerate(json.loads(steps)):
        module, _, path = step.partition(":")
        *outer, name = path.split(".")
        owner: Any = functools.reduce(getattr, outer, import_module(module))
        setattr(owner, name, Switch(memory, number, moment, holding).wrap(getattr(owner, name)))
    from gatepost.manage.cli import main as gatepost  # noqa: PLC0415 - not before its functions are wrapped

    gatepost(words, prog_name="gatepost")
