"""docs/rfcs.toml says what the code can: known words, modules that exist, and a page made from it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTIONS: list[dict[str, Any]] = tomllib.loads((ROOT / "docs/rfcs.toml").read_text())["section"]
RFCS: list[dict[str, Any]] = [rfc for section in SECTIONS for rfc in section["rfcs"]]


def named(rfc: dict[str, Any]) -> str:
    return f"rfc{rfc['number']}"


@pytest.mark.parametrize("rfc", RFCS, ids=named)
def test_each_rfc_is_described(rfc: dict[str, Any]) -> None:
    assert set(rfc) <= {"number", "title", "status", "modules", "note"}
    assert rfc["title"]
    assert rfc["status"] in {"yes", "partial", "planned", "no"}
    if rfc["status"] in {"partial", "no"}:
        assert rfc["note"], "the note says what is missing, or why"


@pytest.mark.parametrize("rfc", RFCS, ids=named)
def test_what_is_done_has_modules_and_they_exist(rfc: dict[str, Any]) -> None:
    modules = rfc.get("modules", [])
    assert bool(modules) == (rfc["status"] in {"yes", "partial"})
    assert [name for name in modules if not (ROOT / "src/gatepost" / f"{name.replace('.', '/')}.py").exists()] == []


def test_each_rfc_stands_once() -> None:
    numbers = [rfc["number"] for rfc in RFCS]
    assert sorted(set(numbers)) == sorted(numbers)


def test_the_page_is_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts/rfc_page.py", "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
