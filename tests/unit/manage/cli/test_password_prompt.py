from __future__ import annotations

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from gatepost.manage.cli import password_prompt
from gatepost.manage.cli.password_prompt import prompt_password


def ask(given, *, from_stdin):
    @click.command()
    def command():
        click.echo(f"<{prompt_password('--stdin', from_stdin=from_stdin)}>")

    return CliRunner().invoke(command, input=given)


@pytest.mark.parametrize(
    ("given", "password"),
    [("correct horse\n", "correct horse"), (" two \r\nlines\n", " two "), ("", ""), ("x" * 5000, "x" * 4096)],
)
def test_a_line_of_standard_input(given, password):
    assert ask(given, from_stdin=True).stdout == f"<{password}>\n"


def test_without_a_terminal_nobody_is_asked():
    result = ask("correct horse\n", from_stdin=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pass it on standard input with --stdin" in result.stderr


def test_on_a_terminal_it_is_asked_twice_and_not_shown(monkeypatch):
    monkeypatch.setattr(password_prompt, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    result = ask("one\nother\nsame\nsame\n", from_stdin=False)
    assert result.stdout == "<same>\n"
    assert "do not match" in result.stderr
    assert "one" not in result.stderr
