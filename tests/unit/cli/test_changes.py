from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from gatepost.cli.changes import FieldChange, as_rows, differences, print_changes, report

CONTOSO = {
    "display_name": "Contoso",
    "mailbox": [{"address": "ann@contoso.example"}],
    "outbound_connector": [{"name": "bank", "tls_settings": "encryption-only"}, {"name": "lab"}],
}
BANK = "organization.contoso.outbound_connector['bank']"


def changed(**fields):
    after = {**CONTOSO, **fields}
    return {key: value for key, value in after.items() if value is not None}


CASES = {
    "nothing": (CONTOSO, CONTOSO, []),
    "one more field": (CONTOSO, changed(cleartext="never"), ['+ organization.contoso.cleartext: "never"']),
    "one field less": (CONTOSO, changed(display_name=None), ['- organization.contoso.display_name: "Contoso"']),
    "another value": (CONTOSO, changed(display_name="C"), ['~ organization.contoso.display_name: "Contoso" -> "C"']),
    "another order": (CONTOSO, changed(outbound_connector=CONTOSO["outbound_connector"][::-1]), []),
    "another mailbox": (
        CONTOSO,
        changed(mailbox=[{"address": "joe@contoso.example"}]),
        [
            '- organization.contoso.mailbox[\'ann@contoso.example\']: {"address": "ann@contoso.example"}',
            '+ organization.contoso.mailbox[\'joe@contoso.example\']: {"address": "joe@contoso.example"}',
        ],
    ),
    "another name": (
        CONTOSO,
        changed(outbound_connector=[{"name": "lab"}, {"name": "new", "tls_settings": "encryption-only"}]),
        [f'~ {BANK}.name: "bank" -> "new"'],
    ),
    "a part as it is stored": (
        CONTOSO,
        changed(mailbox=[*CONTOSO["mailbox"], {"a": [1], "address": "joe@contoso.example", "delivery": "lmtp"}]),
        [
            (
                "+ organization.contoso.mailbox['joe@contoso.example']: "
                '{"address": "joe@contoso.example", "a": [1], "delivery": "lmtp"}'
            ),
        ],
    ),
    "another name and field": (
        CONTOSO,
        changed(outbound_connector=[{"name": "lab"}, {"name": "new", "tls_settings": "opportunistic"}]),
        [
            f'- {BANK}: {{"name": "bank", "tls_settings": "encryption-only"}}',
            f'+ {BANK.replace("bank", "new")}: {{"name": "new", "tls_settings": "opportunistic"}}',
        ],
    ),
    "a new organization": (
        None,
        {"display_name": "C"},
        ['+ organization.contoso: "C"', '+ organization.contoso.display_name: "C"'],
    ),
    "a new empty organization": (None, {}, ['+ organization.contoso: ""']),
    "no more organization": ({}, None, ['- organization.contoso: ""']),
    "no more parts": (
        {"mailbox": [{"address": "ann@contoso.example"}]},
        None,
        [
            '- organization.contoso: ""',
            '- organization.contoso.mailbox[\'ann@contoso.example\']: {"address": "ann@contoso.example"}',
        ],
    ),
}


@pytest.mark.parametrize(("before", "after", "lines"), CASES.values(), ids=CASES)
def test_differences(before, after, lines):
    stored = {"organization": {} if before is None else {"contoso": before}}
    assert [str(one) for one in differences(stored, {"organization": {"contoso": after}})] == lines


def test_other_organizations_are_not_looked_at():
    assert differences({"organization": {"fabrikam": {}}}, {"organization": {}}) == []
    assert [str(one) for one in differences({}, {"organization": {"contoso": {}}})] == ['+ organization.contoso: ""']


CHANGE = FieldChange("~", "organization.contoso.comment", "a", "b\u202e")
REPORTS = {
    "changed": ([CHANGE], {"dry_run": False}, "1 change(s) applied as version 7"),
    "dry run": ([CHANGE], {"dry_run": True}, "1 change(s), not applied (--dry-run)"),
    "nothing": ([], {"dry_run": False}, "nothing to change; version 7 is in force"),
}


@pytest.mark.parametrize(("changes", "options", "last"), REPORTS.values(), ids=REPORTS)
def test_a_report(changes, options, last):
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json):
        report(changes, 7, as_json=as_json, **options)

    *lines, end = CliRunner().invoke(command).stdout.splitlines()
    assert end == last
    assert lines == ['~ organization.contoso.comment: "a" -> "b?"'] * len(changes)
    found = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert found == {"version": 7, **options, "changes": as_rows(changes)}


def test_lines_hold_no_control_characters(capsys):
    print_changes([FieldChange("+", "organization.contoso.comment", None, "x\x9b31m")])
    assert capsys.readouterr().out == '+ organization.contoso.comment: "x?31m"\n'
