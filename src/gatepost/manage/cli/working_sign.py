"""A line on a terminal while a command works for more than two seconds: "verifying … 7 s". Nothing in a pipe.

Around what takes long; gone before the command prints anything. What asks for input or prints as it goes has none.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from gatepost.manage.cli.language import _
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUIET: Final = 2.0  # seconds before the first line
_STEP: Final = 1.0  # and between two
_WORKING: Final = N_("working")
_CLEAR: Final = "\r\x1b[K"


@contextmanager
def working(what: str = _WORKING) -> Iterator[None]:
    """Show it until the end of the block. what: verb, as "verifying"."""
    if not sys.stderr.isatty():
        yield
        return
    ended = Event()
    shower = Thread(target=_show, args=(_(what), ended), daemon=True)
    shower.start()
    try:
        yield
    finally:
        ended.set()
        shower.join()


def _show(what: str, ended: Event) -> None:
    began, shown = time.monotonic(), False
    while not ended.wait(_STEP if shown else _QUIET):
        _write(f"{_CLEAR}{what} … {time.monotonic() - began:.0f} s")
        shown = True
    if shown:
        _write(_CLEAR)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
