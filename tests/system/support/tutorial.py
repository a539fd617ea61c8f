"""The steps of docs/tutorial.md or another page, and a shell that runs them: what each shows is compared with the page.

Used with the command of this environment (`test_tutorial`) and with what the install paths give (`test_install_paths`).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from support.process import ROOT

from gatepost.testing.process import free_port

_PAGE = ROOT / "docs/tutorial.md"
_PORTS = ("2525", "2526", "8443", "8444")
_END = "-- end of step"
_ANY_LINES = r"(?:.*\n)*?"


def steps() -> list[tuple[str, str]]:
    """Each command of the tutorial, with the lines that follow it; the ports are free ones."""
    text = _PAGE.read_text()
    for port in _PORTS:
        text = text.replace(port, str(free_port()))
    found = commands(text)
    assert len(found) > 15
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a page's blocks, with the lines that follow it."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE):
        lines = re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n")
        found += [_split_off_command(part) for part in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]]
    return found


def _split_off_command(part: str) -> tuple[str, str]:
    """A command ends where its quotes and continued lines do."""
    lines = part.splitlines()
    for count in range(1, len(lines) + 1):
        command = "\n".join(lines[:count])
        if command.count('"') % 2 == 0 and not command.endswith("\\"):
            return command, "\n".join(lines[count:]).strip("\n")
    raise AssertionError(part)


def shows(said: str, shown: str) -> bool:
    """Whether the output has the lines that are shown, with anything for "…", and any lines for a line of it.

    Columns are as wide as the terminal and what stands in them, so any space is as good as another. A slow machine
    shows how long a step took.
    """
    parts = [_ANY_LINES if line == "…" else rf"{_written(line)}\n" for line in shown.splitlines()]
    return re.match("".join(parts), said) is not None


def _written(line: str) -> str:
    words = r"\s+".join(re.escape(word).replace("…", ".*?") for word in line.split())
    return rf"\s*{words}(?: \(\d+\.\d\d s\))?"


class Shell:
    """A shell that runs one command after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, command: str) -> str:
        """What the command prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho '{_END}'\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.rstrip("\n").endswith(_END):
                return "".join(lines) + line.rstrip("\n").removesuffix(_END)
            lines.append(line)
        raise AssertionError(f"the shell ended at: {command}\n{''.join(lines)}")

    def follow(self, command: str, shown: str) -> None:
        """Run a step of the page, which must show what the page says."""
        said = self.run(command)
        assert shows(said, shown), f"$ {command}\n{said}\n-- expected:\n{shown}\n{self.run(_LOGS)}"


_LOGS = 'for log in $(find . .. -maxdepth 2 -name "*.log"); do echo "== $log"; cat "$log"; done'


@contextmanager
def shell(
    command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Shell]:
    """A shell with job control, such as "bash -m"; what a step that failed left running ends with it."""
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        yield Shell(process)
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
            process.stdin.close()
        process.wait(timeout=60)
        if process.stdout is not None:
            process.stdout.close()
