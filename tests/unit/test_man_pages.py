"""Man pages are made of the help texts: a page for each command, which troff reads without a warning."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.manage.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, ROOT / "scripts/man_pages.py", folder], check=True)
    return {path.name: path for path in folder.iterdir()}


def test_every_command_has_a_page(pages):
    names = {f"gatepost-{name}.1" for name in main.list_commands(None)}
    assert set(pages) == names | {"gatepost.1", "gatepost.toml.5"}
    assert r"\fB\-\-config FILE\fP" in pages["gatepost-serve.1"].read_text()
    assert ".SS gatepost connector drill" in pages["gatepost-connector.1"].read_text()
    assert r"\fBhostname\fP" in pages["gatepost.toml.5"].read_text()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_troff_reads_them(pages):
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", *pages.values()], capture_output=True, check=True)
    assert done.stderr == b""
