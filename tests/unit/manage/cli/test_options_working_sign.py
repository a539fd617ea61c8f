from __future__ import annotations

import io
import time

import pytest

from gatepost.manage.cli import connector_validate, connector_validate_many, options
from gatepost.manage.cli.options import working


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stream(monkeypatch):
    """Standard error; a second is a hundredth of one."""
    monkeypatch.setattr(options, "_QUIET", 0.02)
    monkeypatch.setattr(options, "_STEP", 0.01)

    def use(made):
        monkeypatch.setattr("sys.stderr", made)
        return made

    return use


def test_a_terminal_sees_that_work_goes_on(stream):
    terminal = stream(Terminal())
    with working("verifying"):
        end = time.monotonic() + 30
        while terminal.getvalue().count("\r\x1b[K") < 3 and time.monotonic() < end:
            time.sleep(0.01)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines[0] == ""
    assert lines[1] == "verifying … 0 s"
    assert len(lines) > 3
    assert lines[-1] == "", "the line is gone before anything is printed"


def test_what_is_quick_shows_nothing(stream, monkeypatch):
    monkeypatch.setattr(options, "_QUIET", 60.0)
    terminal = stream(Terminal())
    with working():
        pass
    assert terminal.getvalue() == ""


def test_a_pipe_gets_nothing(stream):
    pipe = stream(io.StringIO())
    with working():
        time.sleep(0.1)
    assert pipe.getvalue() == ""


def failing():
    with working():
        time.sleep(0.1)
        raise SystemExit(3)


def test_the_line_is_gone_when_a_command_fails(stream):
    terminal = stream(Terminal())
    with pytest.raises(SystemExit):
        failing()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_who_follows_a_validation_sees_its_progress_and_not_this_line():
    for command in (connector_validate, connector_validate_many):
        assert command._WAIT < options._QUIET
