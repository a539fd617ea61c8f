"""docs/tutorial.md, run as it stands: each command in one shell, and what it shows compared with the page.

Only ports, the folder and the account are those of the test. "…" in what a command shows stands for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.process import BIN, ROOT

from gatepost.testing.process import Folder, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/tutorial.md"
PORTS = ("2525", "2526", "8443", "8444")
END = "-- end of step"


def steps(text: str) -> list[tuple[str, str]]:
    """Each command of the page's blocks, with the lines that follow it."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE):
        lines = re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n")
        for part in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]:
            command, shown = split_off_command(part)
            found.append((command, shown))
    return found


def split_off_command(part: str) -> tuple[str, str]:
    """A command ends where its quotes and continued lines do."""
    lines = part.splitlines()
    for count in range(1, len(lines) + 1):
        command = "\n".join(lines[:count])
        if command.count('"') % 2 == 0 and not command.endswith("\\"):
            return command, "\n".join(lines[count:]).strip("\n")
    raise AssertionError(part)


def pattern(shown: str) -> re.Pattern[str]:
    """What the output is: the lines that are shown, with anything for "…", and any lines for a line of it.

    Columns are as wide as the terminal and what stands in them, so any space is as good as another.
    """
    parts = [_ANY_LINES if line == "…" else rf"{_written(line)}\n" for line in shown.splitlines()]
    return re.compile("".join(parts))


_ANY_LINES = r"(?:.*\n)*?"


def _written(line: str) -> str:
    words = r"\s+".join(re.escape(word).replace("…", ".*?") for word in line.split())
    return rf"\s*{words}"


@pytest.fixture
def folder() -> Iterator[Folder]:
    made = Folder("tutorial")
    yield made
    made.remove()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_every_step_shows_what_the_page_says(folder: Folder) -> None:
    text = PAGE.read_text()
    for port in PORTS:
        text = text.replace(port, str(free_port()))
    listed = steps(text)
    assert len(listed) > 15
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder.path)}
    environment |= {"GATEPOST_SERVER__USER": "root"} if os.geteuid() == 0 else {}
    environment.pop("GATEPOST_CONFIG", None)
    shell = subprocess.Popen(
        ["bash", "-m"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder.path,
        start_new_session=True,
    )
    try:
        for command, shown in listed:
            if command.startswith("kill"):
                assert undescribed(folder / "tutorial/ours/data") == []
            said = run(shell, command)
            assert pattern(shown).match(said), f"$ {command}\n{said}\n-- expected:\n{shown}\n{logs(folder)}"
    finally:
        close(shell)
    assert list(folder.path.iterdir()) == []


def undescribed(data: Path) -> list[str]:
    """What is in the data directory and not in docs/files-and-ports.md."""
    page = (ROOT / "docs/files-and-ports.md").read_text()
    described = {re.split(r"[/`]", cell)[0] for cell in re.findall(r"`([^`]+)`", page)}
    names = {path.name.removesuffix("-wal").removesuffix("-shm").removesuffix(".lock") for path in data.iterdir()}
    return sorted(names - described)


def run(shell: subprocess.Popen[str], command: str) -> str:
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{command}\necho '{END}'\n")
    shell.stdin.flush()
    lines: list[str] = []
    for line in shell.stdout:
        if line.rstrip("\n").endswith(END):
            return "".join(lines) + line.rstrip("\n").removesuffix(END)
        lines.append(line)
    raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")


def close(shell: subprocess.Popen[str]) -> None:
    """End the shell, and what a step that failed left running."""
    assert shell.stdin is not None
    with suppress(BrokenPipeError):
        shell.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        shell.stdin.close()
    shell.wait(timeout=60)
    if shell.stdout is not None:
        shell.stdout.close()


def logs(folder: Folder) -> str:
    return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(Path(folder.path).rglob("*.log")))
