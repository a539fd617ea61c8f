"""Each case is a process: that it ends is what is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import atexit, sys, threading, time
from gatepost.manage.cli import run

class Remains:
    def __del__(self):
        print("taken apart")

kept = Remains()
def main(prog_name):
    {}
run.main = main
run.run()
"""


def run(body: str, **options) -> subprocess.CompletedProcess[str]:
    script = _SCRIPT.format(body)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": buffered} | options
    return subprocess.run([sys.executable, "-c", script], check=False, text=True, **options)


@pytest.mark.parametrize(
    ("body", "status", "output"),
    [
        ("print('x' * 100_000, end=''); sys.exit(3)", 3, "x" * 100_000),
        ("sys.exit()", 0, ""),
        ("atexit.register(print, 'registered'); sys.exit(1)", 1, "registered\n"),
        (  # the interpreter waits for it
            "threading.Thread(target=lambda: (time.sleep(0.1), print('waited for'))).start(); sys.exit(4)",
            4,
            "waited for\ntaken apart\n",
        ),
        ("sys.monitoring.use_tool_id(sys.monitoring.PROFILER_ID, 'one'); sys.exit(5)", 5, "taken apart\n"),
        ("sys.stdout = None; sys.exit(6)", 6, ""),
    ],
    ids=["output", "no status", "registered", "a thread", "a profiler", "no output"],
)
def test_the_process_ends_as_python_ends_it_and_takes_nothing_apart(body: str, status: int, output: str) -> None:
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (status, output, "")


ANSWER = "import click; from gatepost.manage.cli.lazy import _output\n    with _output(): click.echo('answer')"
ANSWERS = [ANSWER, "sys.stdout.write('answer')", "sys.stdout.buffer.write(b'answer')"]


@pytest.mark.parametrize("body", ANSWERS, ids=["echoed", "written", "octets"])
def test_an_answer_that_cannot_be_written_is_told_and_is_no_no(body: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(f"{body}\n    sys.exit()", stdout=full)
    assert done.returncode == 3
    assert done.stderr.startswith("standard output: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("body", ANSWERS, ids=["echoed", "written", "octets"])
def test_a_closed_output_is_told_and_its_number_is_no_files(body: str) -> None:
    opened = "__import__('os').open('/proc/self/status', 0) > 2 or sys.exit(9)"
    done = run(f"{opened}\n    {body}\n    sys.exit()", stdout=None, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr.partition(";")[0].strip()) == (3, "standard output: Bad file descriptor")


def test_who_reads_no_more_is_told_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = run(ANSWER, stdout=pipe)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_closed_input_is_empty() -> None:
    done = run("print(repr(sys.stdin.read())); sys.exit()", stdin=None, preexec_fn=lambda: os.close(0))
    assert (done.returncode, done.stdout) == (0, "''\n")


def test_a_text_as_status_is_printed() -> None:
    done = run("sys.exit('no such thing')")
    assert (done.returncode, done.stderr) == (1, "no such thing\n")


def test_another_exception_is_shown() -> None:
    done = run("raise OSError('gone')")
    assert done.returncode == 1
    assert "OSError: gone" in done.stderr


def test_output_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w", encoding="ascii") as full:
        done = run("print('x'); sys.exit(0)", stdout=full)
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
