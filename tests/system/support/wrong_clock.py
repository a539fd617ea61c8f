"""Runs gatepost with a clock of its own: ahead of the machine's by the seconds that stand in a file, at each moment.

Started by `support.gateway`; imports nothing of the tests.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def main() -> None:
    """Arguments: the file, and the words of the command."""
    with Path(sys.argv.pop(1)).open("rb") as file:
        ahead = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + struct.unpack("d", ahead)[0]
    time.time_ns = lambda: real_ns() + int(struct.unpack("d", ahead)[0] * 1e9)
    from gatepost.manage.cli import main as gatepost  # noqa: PLC0415 - not before there is another clock

    _replace_defaults(real, time.time)
    gatepost(prog_name="gatepost")


def _replace_defaults(old: Callable[[], float], new: Callable[[], float]) -> None:
    """A fork has imported gatepost before: its functions have the machine's clock as the default of a parameter."""
    for function in _functions():
        given = function.__defaults__ or ()
        function.__defaults__ = tuple(new if one is old else one for one in given)
        for name, value in (function.__kwdefaults__ or {}).items():
            if value is old:
                function.__kwdefaults__[name] = new


def _functions() -> Iterator[FunctionType]:
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("gatepost.")]
    for value in [value for module in modules for value in vars(module).values()]:
        found: list[Any] = [value, *vars(value).values()] if isinstance(value, type) else [value]
        yield from (one for one in found if isinstance(one, FunctionType))
