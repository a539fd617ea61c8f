"""`make env` leaves the environment alone while what it is made of stays the same: tests may be running in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("run", "acme", "all", "otel", "pdf", "postgres", "sso", "dev")
MADE_OF = (*(f"requirements/{name}.txt" for name in LOCKS), "pyproject.toml", "scripts/find_python.sh")


@pytest.fixture
def clone(tmp_path):
    """A folder with the Makefile, an environment, and no Python that another could be made with."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in MADE_OF:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n# {name}\necho asked >>asked; exit 1\n")
        file.chmod(0o755)
    contents = hashlib.sha256(b"".join((tmp_path / name).read_bytes() for name in MADE_OF)).hexdigest()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.stamp").write_text(f"{contents}  -\n")
    os.utime(tmp_path / ".venv/.stamp", (0, 0))
    return tmp_path


def make_env(clone):
    """Whether it was to be made anew."""
    done = subprocess.run(["make", "env"], cwd=clone, capture_output=True, text=True, check=False, timeout=60)
    is_new = (clone / "asked").exists()
    assert is_new == (done.returncode != 0), done.stderr
    assert (clone / ".venv/.stamp").exists()
    return is_new


@pytest.mark.parametrize("name", MADE_OF)
def test_a_file_that_is_written_again_changes_nothing(clone, name):
    (clone / name).write_bytes((clone / name).read_bytes())
    assert not make_env(clone)


@pytest.mark.parametrize("name", MADE_OF)
def test_one_that_changes_makes_it_anew(clone, name):
    with (clone / name).open("a") as file:
        file.write("# changed\n")
    assert make_env(clone)
