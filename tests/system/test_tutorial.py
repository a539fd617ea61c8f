"""docs/tutorial.md, run as it stands: each command in one shell, and what it shows compared with the page.

Only ports, the folder and the account are those of the test. "…" in what a command shows stands for anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.process import BIN, ROOT
from support.tutorial import shell, steps

from gatepost.testing.process import Folder


@pytest.fixture
def folder() -> Iterator[Folder]:
    made = Folder("tutorial")
    yield made
    made.remove()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_every_step_shows_what_the_page_says(folder: Folder) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder.path)}
    environment |= {"GATEPOST_SERVER__USER": "root"} if os.geteuid() == 0 else {}
    environment.pop("GATEPOST_CONFIG", None)
    with shell(["bash", "-m"], environment, folder.path) as opened:
        for command, shown in steps():
            if command.startswith("kill"):
                assert undescribed(folder / "tutorial/ours/data") == []
            opened.follow(command, shown)
    assert list(folder.path.iterdir()) == []


def undescribed(data: Path) -> list[str]:
    """What is in the data directory and not in docs/files-and-ports.md."""
    page = (ROOT / "docs/files-and-ports.md").read_text()
    described = {re.split(r"[/`]", cell)[0] for cell in re.findall(r"`([^`]+)`", page)}
    names = {path.name.removesuffix("-wal").removesuffix("-shm").removesuffix(".lock") for path in data.iterdir()}
    return sorted(names - described)
