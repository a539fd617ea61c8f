"""Makes docs/rfcs.md, the page people read, from docs/rfcs.toml.

.venv/bin/python scripts/rfc_page.py            writes the page
.venv/bin/python scripts/rfc_page.py --check    exit 1 if the page is not the current one
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "rfcs.md"

_HEAD = """\
# RFCs

Made from [rfcs.toml](rfcs.toml) by `scripts/rfc_page.py`; do not edit. **yes**: what the RFC asks of a gateway is done.
**partial**: some of it. *planned*: nothing yet. *no*: left out on purpose. The modules are those to open first.
"""
_SHOWN = {"yes": "**yes**", "partial": "**partial**", "planned": "*planned*", "no": "*no*"}


def page(sections: list[dict[str, Any]]) -> str:
    """The page for the sections of rfcs.toml."""
    parts = [_HEAD]
    for section in sections:
        rows = "".join(map(_row, section["rfcs"]))
        parts.append(
            f"\n## {section['title']}\n\n| RFC | title | status | where | note |\n|--:|---|---|---|---|\n{rows}"
        )
    return "".join(parts)


def _row(rfc: dict[str, Any]) -> str:
    where = " ".join(f"[{name}]({_link(name)})" for name in rfc.get("modules", []))
    cells = (str(rfc["number"]), rfc["title"], _SHOWN[rfc["status"]], where, rfc.get("note", ""))
    return f"| {' | '.join(cells)} |\n"


def _link(module: str) -> str:
    return f"../src/gatepost/{module.replace('.', '/')}.py"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make docs/rfcs.md from docs/rfcs.toml.")
    parser.add_argument("--check", action="store_true", help="only say whether the page is the current one")
    check: bool = parser.parse_args().check
    with (DOCS / "rfcs.toml").open("rb") as file:
        text = page(tomllib.load(file)["section"])
    if not check:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print("docs/rfcs.md is not what docs/rfcs.toml says: run .venv/bin/python scripts/rfc_page.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
