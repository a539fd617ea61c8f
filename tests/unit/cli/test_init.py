from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from gatepost import __version__
from gatepost.cli import _COMMANDS, main

LEAVES = [
    (),
    ("serve",),
    ("demo",),
    ("apply",),
    ("export",),
    ("queue",),
    ("queue", "list"),
    ("queue", "show"),
    ("queue", "retry"),
    ("queue", "hold"),
    ("queue", "release"),
    ("queue", "drop"),
    ("trace",),
    ("trace", "search"),
    ("trace", "show"),
    ("tls",),
    ("tls", "profiles"),
]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_explains_itself(words):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage: ")
    if not words or words not in {("queue",), ("trace",), ("tls",), ("demo",)}:
        assert "xit code" in result.stdout


def test_help_lists_every_command_with_its_line():
    text = CliRunner().invoke(main, ["-h"]).stdout
    for name, (_, _, line) in _COMMANDS.items():
        assert any(name in one and line[:40] in one for one in text.splitlines()), name


def test_a_command_that_is_not_there_is_wrong_use():
    result = CliRunner().invoke(main, ["nonsense"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "nonsense" in result.stderr


def test_the_version_is_told_without_settings():
    result = CliRunner().invoke(main, ["--config", "/nonexistent", "--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"gatepost {__version__}\n")


def test_help_loads_no_command():
    script = (
        "import sys; from click.testing import CliRunner; from gatepost.cli import main\n"
        "CliRunner().invoke(main, ['--help'])\n"
        "print([name for name in sys.modules if name.startswith('gatepost.') and name not in {'gatepost.cli', 'gatepost.cli.lazy'}])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_it_is_a_module_that_can_be_run():
    done = subprocess.run([sys.executable, "-m", "gatepost", "--version"], capture_output=True, check=True, text=True)
    assert done.stdout.startswith("gatepost ")
