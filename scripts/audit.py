"""Asks for known vulnerabilities of what is delivered (make audit): pip-audit, and what its answer is worth.

pip-audit ends with 0, and says that it knows of no vulnerability, where its advisories have no answer for a package, as
at a mirror that has packages only. Here such a package counts as not audited, and ends the run with 3.

.venv/bin/python scripts/audit.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements/all.txt"
NEXT = (
    "Nothing is known about what was not audited. Run `make audit` where PyPI itself can be reached (a mirror may have "
    "no advisories), or set PIP_AUDIT_VULNERABILITY_SERVICE=osv where OSV can"
)


class Audit(NamedTuple):
    """vulnerable: a line for each package with an advisory. skipped: packages that the service had no answer for."""

    audited: int
    vulnerable: tuple[str, ...]
    skipped: tuple[str, ...]


def read_report(text: str) -> Audit | None:
    """What pip-audit says with --format json; None where that is no report."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    skipped = tuple(package["name"] for package in packages if "skip_reason" in package)
    audited = [package for package in packages if "skip_reason" not in package]
    return Audit(len(audited), tuple(_line(package) for package in audited if package["vulns"]), skipped)


def _line(package: dict[str, Any]) -> str:
    advisories = ", ".join(
        f"{vulnerability['id']} (fixed in {', '.join(vulnerability['fix_versions']) or 'no version'})"
        for vulnerability in package["vulns"]
    )
    return f"{package['name']} {package['version']}: {advisories}"


def conclusion(audit: Audit | None) -> tuple[int, str]:
    """The exit status and what is printed: 0 audited and nothing known, 1 vulnerable, 3 not everything was audited."""
    if audit is None or not audit.audited:
        return 3, f"audit: NOT AUDITED: the advisories of no package could be had. {NEXT}."
    lines = [f"audit: {line}" for line in audit.vulnerable]
    if audit.skipped:
        lines.append(f"audit: NOT AUDITED: {', '.join(audit.skipped)}. {NEXT}.")
    elif not audit.vulnerable:
        lines.append(f"audit: {audit.audited} packages, no known vulnerability.")
    return (1 if audit.vulnerable else 3 if audit.skipped else 0), "\n".join(lines)


def main() -> int:
    uv = str(Path(sys.executable).with_name("uv"))
    tool = [uv, "tool", "run", "--quiet", "pip-audit", "--disable-pip", "--require-hashes", "--format", "json"]
    done = subprocess.run([*tool, "--requirement", LOCK], cwd=ROOT, capture_output=True, text=True, check=False)
    audit = read_report(done.stdout)
    status, text = conclusion(audit)
    if audit is None:
        print(done.stderr.strip()[-2000:], file=sys.stderr)
    print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
