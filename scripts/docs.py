"""Writes the pages that are generated: docs/settings.md, docs/resources.md, docs/tls.md (rfc_page.py has its own).

.venv/bin/python scripts/docs.py            write them
.venv/bin/python scripts/docs.py --check    exit 1 and name those that are not current
"""

from __future__ import annotations

import sys
from pathlib import Path

from gatepost.connectors import describe as resources
from gatepost.settings import describe as settings
from gatepost.tls.profile import PROFILES, published

DOCS = Path(__file__).resolve().parents[1] / "docs"


def tls_page() -> str:
    """The published list of cipher suites, in the columns of Microsoft's document."""
    lines = [
        "# TLS profiles",
        "",
        "Generated from what handshakes are made of; `gatepost tls profiles` prints the same.",
    ]
    for profile in PROFILES.values():
        lines += ["", f"## {profile.name}: {profile.min_version} to {profile.max_version}", ""]
        lines += [f"Groups: `{profile.groups}`", ""]
        lines += ["| # | name | key exchange/strength | forward secrecy | cipher/strength | authentication/strength |"]
        lines += ["|---|---|---|---|---|---|"]
        for number, suite in enumerate(published(profile), 1):
            secrecy = "yes" if suite.forward_secrecy else "no"
            cells = (str(number), suite.name, suite.key_exchange, secrecy, suite.cipher, suite.authentication)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    return {
        DOCS / "settings.md": settings.markdown(),
        DOCS / "resources.md": resources.markdown(),
        DOCS / "tls.md": tls_page(),
    }


def main() -> int:
    """0: written or current. 1: something is not current."""
    check = "--check" in sys.argv[1:]
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(DOCS.parent)} is not current: run `make docs`")
        else:
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
