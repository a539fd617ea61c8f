from __future__ import annotations

import shlex
import subprocess

import pytest

from gatepost.texts import last_argument


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("relay", "relay"),
        ("to the bank", "'to the bank'"),
        ("-x", "-- -x"),
        ("--config=/tmp/x y", "-- '--config=/tmp/x y'"),
        ("", "''"),
    ],
)
def test_a_name_is_one_word_and_no_option(name, text):
    assert last_argument(name) == text


@pytest.mark.parametrize("name", ["it's $(id)", "`id`", 'a"b; id', "a\\'b; id #", "$HOME", "'", "*", "!1"])
def test_a_shell_runs_nothing_of_a_name(name):
    line = f"printf %s {last_argument(name)}"
    assert shlex.split(line)[-1] == name
    assert subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout == name
