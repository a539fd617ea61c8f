from __future__ import annotations

import io
import json
import sys

import click
import pytest
from click.testing import CliRunner

from gatepost.manage.cli.options import gateway_options
from gatepost.manage.cli.output import print_json, print_records, print_rows, print_table, printable, printed_json
from gatepost.manage.use_cases.times import stamp as moment

TEXTS = [
    ("plain", "plain"),
    ("grüße 漢字", "grüße 漢字"),
    ("", ""),
    (42, "42"),
    ("a\tb\r\nc", "a?b??c"),
    ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
    ("\x07\x00\x7f\x9b", "????"),
    ("right\u202eleft", "right?left"),
    ("\ud800", "?"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_text_of_a_peer_does_no_harm_to_a_terminal(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, ""), (0.0, ""), (1_795_528_800.9, "2026-11-24 14:00:00Z"), (1, "1970-01-01 00:00:01Z")]
)
def test_moments(seconds, text):
    assert moment(seconds) == text


def test_json_is_one_document_that_reads_back(capsys):
    value = {"b": [1, None, True], "a": "grüße"}
    print_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert "grüße" in text
    assert text.endswith("}\n")


HOSTILE = ["\x1b[2J", "\x9b2J", "\u202eevil", "a\u2028b", "\ud800", "\x7f", "\U000e0041", "\ufeff", "r\r\nn"]


@pytest.mark.parametrize("text", HOSTILE)
def test_json_of_a_peers_text_does_no_harm_to_a_terminal_and_reads_back(capsys, text):
    print_json({text: [f"gr\xfc\xdfe {text}"]})
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(shown) == {text: [f"gr\xfc\xdfe {text}"]}
    assert "gr\xfc\xdfe" in shown


@pytest.mark.parametrize("command", ["queue list", "version"])
def test_who_pipes_a_table_by_hand_reads_what_is_for_programs(capsys, monkeypatch, command):
    with_json = command == "queue list"
    options = [click.Option(["--json"], is_flag=True)] if with_json else []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with click.Context(click.Command("list", params=options)):
        print_table(["a", "b"], [["1", "x" * 500]])
    said = capsys.readouterr()
    assert said.out == f"a\tb\n1\t{'x' * 500}\n"
    assert said.err == f"(columns are separated by tabs{'; --json is for programs' if with_json else ''})\n"


ROWS = [("a", 1), ("longer than its column", "x\ty")]


def test_in_a_pipe_values_are_separated_by_tabs(capsys):
    print_table(("name", "value"), ROWS)
    assert capsys.readouterr().out == "name\tvalue\na\t1\nlonger than its column\tx?y\n"


def test_on_a_terminal_columns_are_aligned(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(("name", "value"), ROWS)
    assert capsys.readouterr().out == (
        "NAME                    VALUE\na                       1\nlonger than its column  x?y\n"
    )


@pytest.mark.parametrize(
    ("encoding", "columns", "shown"),
    [("utf-8", 60, "y" * 79 + "…"), ("ascii", 60, "y" * 77 + "..."), ("utf-8", 120, "y" * 107 + "…"),
     ("utf-8", 200, "y" * 150)],
)  # fmt: skip
def test_on_a_terminal_a_last_column_without_end_is_cut(monkeypatch, encoding, columns, shown):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(out, "isatty", lambda: True)
    print_table(("name", "reply"), [("x" * 10, "y" * 150), ("a", "short")])
    lines = out.buffer.getvalue().decode(encoding).splitlines()
    assert lines == ["NAME        REPLY", f"{'x' * 10}  {shown}", "a           short"]


@pytest.mark.parametrize(("terminal", "text"), [(False, "name\tvalue\n"), (True, "NAME  VALUE\n")])
def test_no_rows_leave_the_heading(capsys, monkeypatch, terminal, text):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_table(("name", "value"), [])
    assert capsys.readouterr().out == text


OUTPUTS = {
    "a result": (lambda: printed_json({"a": 1}) or click.echo("said"), {"a": 1}, "said\n"),
    "rows of a use case": (lambda: print_rows(("b",), iter([{"a": 1}]), lambda row: [row["a"]]), [{"a": 1}], "b\n1\n"),
    "rows as they are": (
        lambda: print_records(("a", "b"), iter([(1, ("x", "y"))])),
        [{"a": 1, "b": ["x", "y"]}],
        "a\tb\n1\tx y\n",
    ),
}


@pytest.mark.parametrize(("output", "value", "text"), OUTPUTS.values(), ids=OUTPUTS)
def test_what_a_command_prints_is_json_where_it_has_the_option(output, value, text):
    command = click.command()(gateway_options(output))
    assert json.loads(CliRunner().invoke(command, ["--json"]).stdout) == value
    assert CliRunner().invoke(command).stdout == text
