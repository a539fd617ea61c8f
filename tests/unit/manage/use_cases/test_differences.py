from __future__ import annotations

import msgspec
import pytest

from gatepost.manage.use_cases.differences import FieldChange, differences

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


def test_a_record_has_what_json_has():
    change = FieldChange("~", "organization.contoso.comment", "a", None)
    assert msgspec.to_builtins([change]) == [
        {"sign": "~", "field": "organization.contoso.comment", "before": "a", "after": None}
    ]
