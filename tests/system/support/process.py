"""The processes of the system tests: gatepost's commands, forked where that is enough, and addresses for servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import zlib
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from support.fork_server import fork_server

from gatepost.testing import process
from gatepost.testing.process import RunningProcess, worker

ROOT = Path(__file__).resolve().parents[3]
BIN = ROOT / ".venv" / "bin"
GATEPOST = str(BIN / "gatepost")
_REAL = os.environ.get("GATEPOST_REAL", "")

_real = bool(_REAL)
_started: set[Hashable] = set()  # what the tests of this file started as processes of their own

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))  # all processes of one run have the same
_NAME = re.compile(r"-{0,2}[a-z]+(-[a-z]+)*")  # of a command, an option, or one of few values; no address or file


def choose_start(file: Path) -> None:
    """How commands start for the tests of a file: forked from a process that has imported gatepost.

    With GATEPOST_REAL=1 each is a process that starts Python, as for users. With GATEPOST_REAL=half it is so in every
    other file, the same ones in each run, when the file starts such a command for the first time: this one with these
    options, on such settings.
    """
    global _real  # noqa: PLW0603 - of the file whose tests run
    place = sorted(file.parent.glob("test_*.py")).index(file)
    _real = place % 2 == 0 if _REAL == "half" else bool(_REAL)
    _started.clear()


def _starts_python(words: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    """Whether this command is a process of its own, and no fork."""
    if not _real or _REAL != "half":
        return _real
    kind = (*command_kind(words), frozenset((environment or {}).items() - os.environ.items()))
    is_first = kind not in _started
    _started.add(kind)
    return is_first


def command_kind(words: Sequence[str]) -> tuple[Hashable, ...]:
    """What a command line has in common with others that load the same modules: names, and which settings it finds."""
    script = words[1] if words[0] == "-c" else ""
    names = tuple(name for word in words if _NAME.fullmatch(name := word.partition("=")[0]))
    files = [Path(value) for option, value in pairwise(words) if option == "--config"]
    return script, names, *(_settings(file) for file in files)


def _settings(file: Path) -> Hashable:
    """The names of its settings, and which of them are switched off; its text, where that is none."""
    text = file.read_bytes() if file.is_file() else b""
    try:
        return _switched_on(tomllib.loads(text.decode()))
    except ValueError:
        return text


def _switched_on(value: Any) -> Hashable:
    if isinstance(value, dict):
        return frozenset((name, _switched_on(inner)) for name, inner in value.items())
    return frozenset(map(_switched_on, value)) if isinstance(value, list) else bool(value)


def loopback(rest: str, *, of_process: bool = False) -> str:
    """An address for servers on port 25, 53 or 443: loopback("3.10") is 127.X.3.10, where X belongs to this run alone.

    So two runs on one machine do not meet; nor do the files of one run, each of which has a third octet of its own.
    of_process: X belongs to this process of the run, for what several files share. GATEPOST_PORTS=even or odd
    keeps two runs apart for certain.
    """
    number = zlib.crc32(_RUN.encode()) + (worker() if of_process else 0)
    half = os.environ.get("GATEPOST_PORTS", "")
    return f"127.{1 + (number % 127 * 2 + (half == 'odd') if half else number % 254)}.{rest}"


def run_gatepost(
    *words: str | Path,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[bytes]:
    """`gatepost WORDS…` to its end, or with words of `-c SCRIPT …` what Python runs.

    given: its standard input. folder: where it runs. Raises subprocess.TimeoutExpired after `timeout` seconds, with
    what it said and where it was.
    """
    command = [sys.executable if words[0] == "-c" else GATEPOST, *map(str, words)]
    if _starts_python(command[1:], environment):
        return subprocess.run(
            command, input=given, capture_output=True, env=environment, cwd=folder, timeout=timeout, check=False
        )
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        source.write(given)
        source.seek(0)
        files = (source.fileno(), out.fileno(), error.fileno())
        process = fork_server().fork(command[1:], files, os.environ if environment is None else environment, folder)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            process.abort()
            error.seek(0)
            late.add_note(f"gatepost {' '.join(command[1:])}\n{error.read().decode(errors='replace')}")
            raise
        out.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(command, status, out.read(), error.read())


def script_command(source: str) -> list[str]:
    """The beginning of the command with which a `Child` runs a script, forked where that is enough."""
    return [sys.executable if _starts_python(["-c", source]) else GATEPOST, "-c", source]  # the fork server knows -c


class Script:
    """A script in Python, in a process that has imported gatepost already: a line to it, a line from it."""

    def __init__(self, source: str, *arguments: str) -> None:
        theirs, to_it = os.pipe()
        from_it, answers = os.pipe()
        self._process = fork_server().fork(["-c", source, *arguments], (theirs, answers, 2), os.environ)
        self.pid = self._process.pid
        os.close(theirs)
        os.close(answers)
        self._input, self._output = os.fdopen(to_it, "w"), os.fdopen(from_it)

    def ask(self, line: str) -> str:
        """The next line that it writes once it has read this one; "" if it has ended."""
        self._input.write(f"{line}\n")
        self._input.flush()
        return self.line()

    def line(self) -> str:
        """The next line that it writes; "" if it has ended."""
        return self._output.readline()

    def kill(self) -> None:
        """End it at once; harmless when it has ended."""
        self._process.kill()

    def close(self, timeout: float = 60) -> int:
        """Close its standard input and wait for its end; the exit status. Raises subprocess.TimeoutExpired."""
        with self._output, suppress(BrokenPipeError):
            self._input.close()
            return self._process.wait(timeout)
        return self._process.wait(timeout)


class Child(process.Child):
    """A server in a session of its own; gatepost's commands are forked, see `support.fork_server`."""

    def hang(self, *, hanging: bool) -> None:
        """Let all its processes stand still, or go on."""
        for pid in self.family():
            os.kill(pid, signal.SIGSTOP if hanging else signal.SIGCONT)

    def _start(self, output: int, environment: Mapping[str, str] | None) -> RunningProcess:
        words = self.command[1:]
        if self.command[0] != GATEPOST or (words[0] != "-c" and _starts_python(words, environment)):
            return super()._start(output, environment)
        with Path(os.devnull).open("rb") as nothing:
            files = (nothing.fileno(), output, output)
            return fork_server().fork(words, files, os.environ if environment is None else environment)
