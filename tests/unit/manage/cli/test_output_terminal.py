from __future__ import annotations

import io
import sys

import pytest

from gatepost.manage.cli.output import print_content, progress, wrapped, writes


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self):
        return True

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")


@pytest.mark.usefixtures("narrow")
def test_a_line_of_progress_replaces_the_last_one_and_stays_a_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress("x\x1b]0;title\x07" + "y" * 100)
    progress("")
    first, last = terminal.text().removeprefix("\r\x1b[K").split("\r\x1b[K")
    assert (first, last) == ("x?]0;title?" + "y" * 58, "")
    assert len(first) == 69


def test_a_pipe_gets_no_progress_and_whole_lines(capsys):
    progress("working")
    assert capsys.readouterr() == ("", "")
    assert wrapped("a word " * 40, "  ") == "a word " * 40


@pytest.mark.usefixtures("narrow")
def test_lines_are_folded_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    lines = wrapped("a-word " * 20, "  ").split("\n")
    assert len(lines) > 1
    assert all(line.startswith("  a-word") and len(line) <= 70 for line in lines[1:])


@pytest.mark.parametrize(("encoding", "able"), [("utf-8", True), ("ascii", False), ("no such one", False)])
def test_a_sign_that_output_cannot_show_is_known(monkeypatch, encoding, able):
    output = Terminal()
    if encoding != "utf-8":
        output = type("Output", (), {"encoding": encoding})()
    monkeypatch.setattr(sys, "stdout", output)
    assert writes("✓") is able


MAIL = "Subject: a\r\n\r\n\ttwo\x1b]52;c;AAAA\x07 \u009b2J caf\u00e9\x80\rover\u202ewritten\r\n".encode()


@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_a_message_does_nothing_to_a_terminal(monkeypatch, cut):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_content([MAIL[at : at + cut] for at in range(0, len(MAIL), cut)])
    shown = terminal.text()
    assert shown.split("\n")[0] == "Subject: a"
    assert "?]52;c;AAAA? ?2J café" in shown
    assert "over?written\n" in shown
    assert all(line.isprintable() for line in shown.split("\n"))


def test_a_pipe_gets_a_message_as_it_is(capfdbinary):
    print_content([MAIL[:20], MAIL[20:]])
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == MAIL
