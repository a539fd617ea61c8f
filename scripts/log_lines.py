"""The page docs/log-lines.md: every line that the source writes to the log, beside those about messages.

Used by `scripts/docs.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[1] / "src" / "gatepost"
LEVELS = {"critical": 0, "error": 1, "exception": 1, "warning": 2, "info": 3}
MEANINGS = ("critical", "error", "warning", "info")
PLACE = re.compile(r"%[-#0 +]*[\d.]*[sdrfx]")

HEAD = """\
# Log lines

What the gateway writes to its log beside the lines about messages ([monitoring.md](monitoring.md#log)). Generated from
the code. "…" stands for what differs each time, "(and a traceback)" for a fault that should be reported. The logger is
the module that writes the line, as the log has it.

| level | meaning |
|---|---|
| critical | mail stops, or does not go as it should, until somebody acts |
| error | something does not work; mail goes on |
| warning | something is not as it should be, and may pass |
| info | what happened |
"""


class Line(NamedTuple):
    """One call of a logger."""

    level: int
    text: str
    logger: str


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    found = sorted(set(lines()))
    for number, level in enumerate(MEANINGS):
        rows = [f"| {line.text} | `{line.logger}` |" for line in found if line.level == number]
        parts += [f"## {level}", "", "| line | logger |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def lines() -> Iterator[Line]:
    """Every line with a text of its own; one that only passes a text on is described where that is made."""
    for path in sorted(SOURCE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "_log" not in source:  # most modules: to walk through them all took half of what docs.py takes
            continue
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="_log"), attr=method), args=[ast.Constant(value=str(text)), *_]
                ) if method in LEVELS and PLACE.sub("", text).strip(" :\n"):
                    shown = PLACE.sub("…", text).replace("%%", "%").replace("|", "\\|").replace("\n", " ")
                    fault = " (and a traceback)" if method == "exception" else ""
                    logger = ".".join(("gatepost", *path.relative_to(SOURCE).with_suffix("").parts))
                    yield Line(LEVELS[method], f"`{shown}`{fault}", logger)
