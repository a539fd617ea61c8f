"""Text that can drift does not: generated pages are current, and what the other pages name exists."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gatepost.connectors.model import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/check.md",
    "docs/drill.md",
    "docs/import.md",
    "docs/mail-flow.md",
    "docs/performance.md",
    "docs/rest.md",
]


def test_the_generated_pages_are_current():
    run = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_links_to_exist(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_the_examples_of_mail_flow_may_be_applied_together():
    lines = (ROOT / "docs/mail-flow.md").read_text().splitlines()
    written = "\n".join(line[4:] for line in lines if line.startswith("    "))
    own = '[[organization.contoso.accepted_domain]]\nname = "contoso.example"\n'
    (organization,) = parse(tomllib.loads(own + written)).organizations
    assert len(organization.mail_flow_rules) == written.count("mail_flow_rule]]") == 5


def test_the_modules_that_architecture_names_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`([a-z]+/[a-z_]+\.py)`", text)
    assert len(named) > 15
    places = [ROOT / "src" / "gatepost", ROOT]
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make ([a-z-]+)", text, re.MULTILINE):
        assert f"\n{target}:" in makefile
