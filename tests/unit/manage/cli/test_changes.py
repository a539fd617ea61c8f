from __future__ import annotations

import json

import click
import msgspec
import pytest
from click.testing import CliRunner

from gatepost.manage.cli.changes import print_changes, print_warnings, report
from gatepost.manage.cli.options import json_option
from gatepost.manage.use_cases.change_shapes import ChangeReport
from gatepost.manage.use_cases.differences import FieldChange

CHANGE = FieldChange("~", "organization.contoso.comment", "a", "b\u202e")
REPORTS = {
    "changed": ([CHANGE], {"dry_run": False}, "1 change applied as version 7"),
    "dry run": ([CHANGE], {"dry_run": True}, "1 change, not applied (--dry-run)"),
    "nothing": ([], {"dry_run": False}, "nothing to change; version 7 is in force"),
}


@pytest.mark.parametrize(("changes", "options", "last"), REPORTS.values(), ids=REPORTS)
def test_a_report(changes, options, last):
    outcome = ChangeReport(7, changes=changes, warnings=["w"], standing=["s"], notes=["n"], **options)

    @click.command()
    @json_option
    def command():
        report(outcome)

    result = CliRunner().invoke(command)
    *lines, end = result.stdout.splitlines()
    assert result.stderr == "warning: w\nnote: n\n"
    assert end == last
    assert lines == ['~ organization.contoso.comment: "a" -> "b?"'] * len(changes)
    found = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert found == msgspec.to_builtins(outcome)


def test_lines_hold_no_control_characters(capsys):
    print_changes([FieldChange("+", "organization.contoso.comment", None, "x\x9b31m")])
    assert capsys.readouterr().out == '+ organization.contoso.comment: "x?31m"\n'


@pytest.mark.parametrize(
    ("number", "lines", "last"), [(1, 2, "warning, as before: s0"), (23, 22, "3 more warnings, as before")]
)
def test_warnings_as_before_are_some_of_them(number, lines, last, capsys):
    standing = [f"s{place}" for place in range(number)]
    print_warnings(ChangeReport(7, False, [], ["w"], standing, []), standing=True)
    said = capsys.readouterr().err.splitlines()
    assert (said[0], len(said), said[-1]) == ("warning: w", lines, last)


def test_warnings_that_differ_in_the_name_alone_are_one(capsys):
    many = [f"inbound connector 'bank {number}' of contoso: it's wrong" for number in range(9)]
    print_warnings(ChangeReport(7, False, [], [many[0], "other", *many[1:]], [], []), standing=False)
    assert capsys.readouterr().err.splitlines() == [
        "warning: inbound connector 'bank 0' of contoso: it's wrong",
        "  the same of 8 more: 'bank 1', 'bank 2', 'bank 3'",
        "warning: other",
    ]
