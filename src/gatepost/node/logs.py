"""What a process says on standard error: one line per event, for people or as JSON for machines.

Some of it is text of peers (addresses of lists in their certificates, errors about what they sent): no control
character of theirs gets to a terminal, and none of their line ends begins a line that looks like one of ours.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["set_up"]


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)  # in ASCII: everything else is escaped


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = "\n    ".join(_harmless(record.getMessage()))
        line = f"{at} {record.levelname.lower()} {record.process} {record.name}: {said}"
        return "\n".join([line, *_harmless(self.formatException(record.exc_info))]) if record.exc_info else line


def _harmless(text: str) -> list[str]:
    """Its lines, with "?" for control characters and marks of direction."""
    return ["".join(one if one.isprintable() else "?" for one in line) for line in text.split("\n")]


def set_up(level: str, style: str) -> None:
    """Log to standard error from `level` on. style: "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
