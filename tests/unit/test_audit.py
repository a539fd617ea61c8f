"""scripts/audit.py: what pip-audit reports, and that an audit of nothing is no success."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

import audit

WELL = {"name": "h11", "version": "0.16.0", "vulns": []}
SKIPPED = {"name": "click", "skip_reason": "Dependency not found on PyPI and could not be audited: click (8.5.1)"}
BAD = {
    "name": "jinja2",
    "version": "3.1.6",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.7"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([WELL], 0, "audit: 1 packages, no known vulnerability."),
        ([WELL, BAD], 1, "audit: jinja2 3.1.6: PYSEC-1 (fixed in 3.1.7), PYSEC-2 (fixed in no version)"),
        ([WELL, SKIPPED], 3, "audit: NOT AUDITED: click. Nothing is known"),
        ([BAD, SKIPPED], 1, "audit: NOT AUDITED: click."),
        ([SKIPPED], 3, "audit: NOT AUDITED: the advisories of no package could be had."),
        ([], 3, "audit: NOT AUDITED: the advisories of no package could be had."),
    ],
)
def test_conclusion(packages: list[dict[str, object]], status: int, says: str) -> None:
    exit_status, text = audit.conclusion(audit.read_report(json.dumps({"dependencies": packages, "fixes": []})))
    assert (exit_status, says in text) == (status, True), text


@pytest.mark.parametrize("text", ["", "No known vulnerabilities found", "[]", "{}"])
def test_what_is_no_report_is_no_success(text: str) -> None:
    status, said = audit.conclusion(audit.read_report(text))
    assert (status, "NOT AUDITED" in said) == (3, True)
