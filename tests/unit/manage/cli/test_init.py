from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from gatepost import __version__
from gatepost.manage.cli import _COMMANDS, main

LEAVES = [
    (),
    ("serve",),
    ("demo",),
    ("status",),
    ("apply",),
    ("export",),
    ("import",),
    ("import", "exchange"),
    ("import", "postfix"),
    ("organization",),
    ("organization", "list"),
    ("organization", "show"),
    ("organization", "add"),
    ("organization", "set"),
    ("organization", "remove"),
    ("domain",),
    ("domain", "list"),
    ("domain", "show"),
    ("domain", "add"),
    ("domain", "set"),
    ("domain", "remove"),
    ("mailbox",),
    ("mailbox", "list"),
    ("mailbox", "show"),
    ("mailbox", "add"),
    ("mailbox", "set"),
    ("mailbox", "remove"),
    ("connector",),
    ("connector", "list"),
    ("connector", "show"),
    ("connector", "add"),
    ("connector", "set"),
    ("connector", "remove"),
    ("rule",),
    ("rule", "list"),
    ("rule", "show"),
    ("rule", "add"),
    ("rule", "set"),
    ("rule", "remove"),
    ("history",),
    ("history", "show"),
    ("check",),
    ("check", "partner"),
    ("check", "host"),
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

GROUPS = {
    (name,)
    for name in ("check", "queue", "trace", "tls", "demo", "organization", "domain", "mailbox", "connector", "rule")
}


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_explains_itself(words):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage: ")
    if not words or words not in GROUPS:
        assert "xit code" in " ".join(result.stdout.split())  # wherever the lines are wrapped


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
        "import sys; from click.testing import CliRunner; from gatepost.manage.cli import main\n"
        "CliRunner().invoke(main, ['--help'])\n"
        "loaded = [name for name in sys.modules if name.startswith('gatepost.')]\n"
        "known = {'gatepost.manage', 'gatepost.texts', 'gatepost.manage.cli'}\n"
        "known |= {f'gatepost.manage.cli.{one}' for one in ('lazy', 'output', 'remote_options')}\n"
        "print([name for name in loaded if name not in known])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"


def test_it_is_a_module_that_can_be_run():
    done = subprocess.run([sys.executable, "-m", "gatepost", "--version"], capture_output=True, check=True, text=True)
    assert done.stdout.startswith("gatepost ")
