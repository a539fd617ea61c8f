"""The changelog as a release cuts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import release  # noqa: E402 - of scripts

HEAD = "# Changelog\n\nFor operators.\n\n"
OLDER = "## 0.1.0 (2026-11-30)\n\n- the first\n"


def test_what_is_unreleased_becomes_the_version():
    text = f"{HEAD}## Unreleased\n\n### Fixed\n\n- a fault\n\n{OLDER}"
    cut = release.cut_changelog(text, "0.2.0", "2026-12-24")
    assert cut == f"{HEAD}## Unreleased\n\n## 0.2.0 (2026-12-24)\n\n### Fixed\n\n- a fault\n\n{OLDER}"


def test_the_first_release_has_nothing_below_it():
    cut = release.cut_changelog(f"{HEAD}## Unreleased\n\n- all\n", "0.1.0", "2026-12-24")
    assert cut == f"{HEAD}## Unreleased\n\n## 0.1.0 (2026-12-24)\n\n- all\n"


def test_a_section_that_is_written_already_gets_its_date():
    cut = release.cut_changelog(f"{HEAD}## Unreleased\n\n## 0.1.0\n\n- all\n", "0.1.0", "2026-12-24")
    assert cut == f"{HEAD}## Unreleased\n\n## 0.1.0 (2026-12-24)\n\n- all\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD + OLDER, "no section ## Unreleased"),
        (f"{HEAD}## Unreleased\n\n{OLDER}", "nothing that it changed"),
        (f"{HEAD}## Unreleased\n\n- more\n\n## 0.2.0\n\n- all\n", "move what is below Unreleased into ## 0.2.0"),
    ],
)
def test_what_cannot_be_cut_is_named(text, why):
    with pytest.raises(release.ReleaseError, match=why):
        release.cut_changelog(text, "0.2.0", "2026-12-24")


def test_the_version_is_named_in_the_files_that_a_release_changes():
    version = release.current_version()
    assert [name for name in release.NAMING if version not in (ROOT / name).read_text()] == []


@pytest.mark.parametrize(("older", "newer"), [("0.1.0", "0.1.1"), ("0.9.9", "0.10.0"), ("0.10.0", "1.0.0")])
def test_versions_are_compared_as_numbers(older, newer):
    assert release.parts(older) < release.parts(newer)
