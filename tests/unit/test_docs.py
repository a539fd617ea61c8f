"""Text that can drift does not: generated pages are current, and what the other pages name exists."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gatepost.policy.connectors.model import parse

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
    "docs/threat-model.md",
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


def _named_tests(cell: str) -> list[str]:
    """Files and functions of tests that a cell of the threat model names, as they are written there."""
    plain = re.sub(r"`", "", cell)
    return re.findall(r"(?:[\w/]+(?:\.py)?::)?(?:[\w/]+/)?test_\w+", plain)


def _has_test(name: str) -> bool:
    file, _, function = name.removesuffix(".py").rpartition("::") if "::" in name else ("", "", name)
    found = [*(ROOT / "tests").rglob("test_*.py")]
    if not file:  # a file, or a function wherever it stands
        place = function.removeprefix("tests/").removesuffix(".py")
        if any(str(one.relative_to(ROOT / "tests").with_suffix("")).endswith(place) for one in found):
            return True
    else:
        place = file.removeprefix("tests/").removesuffix(".py")
        found = [one for one in found if str(one.relative_to(ROOT / "tests").with_suffix("")).endswith(place)]
    return any(re.search(rf"^(async )?def {function}\(", one.read_text(), re.MULTILINE) for one in found)


def test_each_attack_of_the_threat_model_has_a_test_that_is_there():
    lines = (ROOT / "docs/threat-model.md").read_text().splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")][1:]
    assert len(rows) > 30
    assert [row for row in rows if len(row) != 4] == []
    assert [row[1] for row in rows if not _named_tests(row[3])] == []
    assert [name for row in rows for name in _named_tests(row[3]) if not _has_test(name)] == []


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
