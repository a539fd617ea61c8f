"""Log to standard error: one line per event, for people, or as JSON or logfmt for machines.

Some of it is text of peers (addresses of lists in their certificates, errors about what they sent): no control
character of theirs gets to a terminal, and none of their line ends begins a line that looks like one of ours. Lines
about single messages are made by `events.log_lines` and come here whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from gatepost.events.log_lines import logfmt
from gatepost.times import rfc3339

_STDERR = 2
_PIPE = 4096  # octets that a pipe takes in one piece (pipe(7), PIPE_BUF)


class _Structured(logging.Formatter):
    """write: makes a line of names and values."""

    def __init__(self, write: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": rfc3339(record.created, "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._write(line)


_WRITTEN: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "json": json.dumps,  # in ASCII: everything else is escaped
    "logfmt": logfmt,
}


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = rfc3339(record.created, "milliseconds")
        said = _harmless(record.getMessage())
        if record.exc_info:  # its text may be a peer's, too
            said += _harmless(self.formatException(record.exc_info))
        return f"{at} {record.levelname.lower()} {record.process} {record.name}: {'\n    '.join(said)}"


class _Terminal(_Text):
    """A text format that shows critical lines in red."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"\x1b[31m{text}\x1b[0m" if record.levelno >= logging.CRITICAL else text


def _harmless(text: str) -> list[str]:
    """Its lines, with "?" for control characters and marks of direction."""
    return ["".join(character if character.isprintable() else "?" for character in line) for line in text.split("\n")]


def set_up(level: str, style: str) -> None:
    """Log to standard error from `level` on. style: "text", "json" or "logfmt"."""
    handler = logging.StreamHandler(sys.stderr)
    if style in _WRITTEN:
        handler.setFormatter(_Structured(_WRITTEN[style]))
    else:
        handler.setFormatter(_Terminal() if sys.stderr.isatty() else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def write_lines(lines: list[str]) -> None:
    """Put many lines on standard error, in pieces that a pipe takes whole, so that no other process's come between.

    Blocks if nobody reads: call it on a thread. What cannot be written is lost, as logging's own lines are.
    """
    piece: list[bytes] = []
    size = 0
    for line in lines:
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        if size + len(data) > _PIPE and piece:
            _put(b"".join(piece))
            piece, size = [], 0
        piece.append(data)
        size += len(data)
    _put(b"".join(piece))


def _put(data: bytes) -> None:
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(_STDERR, view) :]
