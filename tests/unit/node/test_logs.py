from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from gatepost.node.logs import write_lines

# Logging is set up for a whole process, so each case has one of its own.
SCRIPT = """
import logging, sys
from gatepost.node.logs import set_up
logging.basicConfig(stream=sys.stdout)  # what somebody set up before is replaced
set_up(*sys.argv[1:])
log = logging.getLogger("gatepost.test")
log.debug("a detail")
log.info("grüße an %s", "alle")
log.error("two\\nlines")
log.error("%s", "red \\x1b[31m \\x9b2J \\u202e\\rx")
try:
    raise ValueError("no\\n2026-11-30T12:00:00.000Z info 1 gatepost.events: forged")
except ValueError:
    log.exception("it was read")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
"""
AT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

HOSTILE = "red \x1b[31m \x9b2J \u202e\rx"


def logged(*arguments):
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SCRIPT, *arguments], capture_output=True, check=True, encoding="utf-8"
    )
    assert done.stdout == ""
    return done.stderr


def test_lines_for_people():
    text = logged("info", "text")
    first, second, rest, hostile, *_ = text.splitlines()
    assert re.fullmatch(rf"{AT} info \d+ gatepost\.test: grüße an alle", first)
    assert re.fullmatch(rf"{AT} error \d+ gatepost\.test: two", second)
    assert rest == "    lines"
    assert hostile.endswith(" gatepost.test: red ?[31m ?2J ??x")
    assert "gatepost.test: it failed\n    Traceback (most recent call last):\n" in text
    assert [line for line in text.splitlines() if re.match(rf"{AT} .* gatepost\.events", line)] == []
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_pairs_for_machines():
    text = logged("info", "logfmt")
    assert all(line.isascii() and line.isprintable() for line in text.split("\n"))
    first, second, *_, last = [dict(pair.split("=", 1) for pair in shlex.split(line)) for line in text.splitlines()]
    assert (first["level"], first["logger"], second["message"]) == ("info", "gatepost.test", "two\\nlines")
    assert "ZeroDivisionError" in last["exception"]


def test_whole_lines_in_pieces_that_no_other_process_parts(monkeypatch):
    pieces = []
    monkeypatch.setattr("gatepost.node.logs._put", pieces.append)
    lines = [f"{number} {'x' * 500}" for number in range(40)] + ["y" * 9000, "\ud800"]
    write_lines(lines)
    assert b"".join(pieces) == "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [len(piece) > 4096 for piece in pieces].count(True) == 1


def test_nobody_reads(monkeypatch):
    monkeypatch.setattr("gatepost.node.logs._STDERR", 10**6)
    write_lines(["x"])


def test_one_json_object_a_line_for_machines():
    text = logged("info", "json")
    assert all(line.isascii() and line.isprintable() for line in text.split("\n"))
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["message"] for record in records] == [
        "grüße an alle",
        "two\nlines",
        HOSTILE,
        "it was read",
        "it failed",
    ]
    assert [record["level"] for record in records] == ["info", *["error"] * 4]
    for record in records:
        assert re.fullmatch(AT, record["at"])
        assert record["logger"] == "gatepost.test"
        assert record["process"] > 0
    assert "exception" not in records[0]
    assert records[-1]["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("level", "first"), [("debug", "a detail"), ("warning", "two\nlines"), ("error", "two\nlines")]
)
def test_only_what_is_grave_enough(level, first):
    assert json.loads(logged(level, "json").splitlines()[0])["message"] == first


def test_what_must_not_be_overlooked_is_red_on_a_terminal():
    code = "import logging; from gatepost.node.logs import set_up; set_up('info', 'text'); logging.critical('down')"
    parent, child = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], stderr=child, check=True, timeout=30)
        said = os.read(parent, 1000).decode()
    finally:
        os.close(parent)
        os.close(child)
    assert said.startswith("\x1b[31m")
    assert said.rstrip().endswith("root: down\x1b[0m")
