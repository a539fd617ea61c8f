from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

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
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
"""
AT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"

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
    assert "gatepost.test: it failed\nTraceback (most recent call last):\n" in text
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_one_json_object_a_line_for_machines():
    text = logged("info", "json")
    assert all(line.isascii() and line.isprintable() for line in text.split("\n"))
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["message"] for record in records] == ["grüße an alle", "two\nlines", HOSTILE, "it failed"]
    assert [record["level"] for record in records] == ["info", "error", "error", "error"]
    for record in records:
        assert re.fullmatch(AT, record["at"])
        assert record["logger"] == "gatepost.test"
        assert record["process"] > 0
    assert "exception" not in records[0]
    assert records[3]["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("level", "first"), [("debug", "a detail"), ("warning", "two\nlines"), ("error", "two\nlines")]
)
def test_only_what_is_grave_enough(level, first):
    assert json.loads(logged(level, "json").splitlines()[0])["message"] == first
