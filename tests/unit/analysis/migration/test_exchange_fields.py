"""What connectors of Exchange Online and of Exchange Server have in common."""

from __future__ import annotations

import pytest

from gatepost.analysis.migration.exchange_fields import address_spaces, convert_labels, plain
from gatepost.analysis.migration.exchange_json import ExchangeObject, Unreadable
from gatepost.analysis.migration.report import Finding, ImportResult, Part


def item(**properties):
    return ExchangeObject(
        "send", "exchange.json, object 1", {name.lower(): value for name, value in properties.items()}
    )


def part():
    return Part("outbound_connector", "outbound connector 'x'", {"name": "x"})


def differs(setting, detail):
    return Finding("outbound connector 'x'", ImportResult.DIFFERS, setting, detail)


@pytest.mark.parametrize(
    ("properties", "fields"),
    [
        ({}, {}),
        ({"Enabled": True, "Comment": None}, {}),
        ({"Enabled": None, "Comment": " \r\n "}, {}),
        ({"Enabled": False}, {"enabled": False}),
        ({"Enabled": "False", "Comment": "to the bank\r\n since\t2019 "},
         {"enabled": False, "comment": "to the bank since 2019"}),
        ({"Comment": "x" * 1000}, {"comment": "x" * 1000}),
    ],
)  # fmt: skip
def test_what_is_off_stays_off_and_comments_are_kept(properties, fields):
    made = part()
    convert_labels(item(**properties), made)
    assert (made.table, made.findings) == ({"name": "x"} | fields, [])


def test_a_comment_that_is_too_long_is_cut_with_a_word():
    made = part()
    convert_labels(item(Comment="x" * 1001), made)
    assert made.table["comment"] == "x" * 1000
    assert made.findings == [differs("Comment", "cut to 1000 characters")]


def test_whether_a_connector_is_on_is_not_guessed():
    with pytest.raises(Unreadable, match='Enabled is "perhaps", and true or false is needed'):
        convert_labels(item(Enabled="perhaps"), part())


COST = "the cost has no effect; order connectors by their priority"


@pytest.mark.parametrize(
    ("spaces", "domains", "costs"),
    [
        (None, [], []),
        (["b.example"], ["b.example"], []),
        (["SMTP:*.b.example;1", "smtp:c.example"], ["*.b.example", "c.example"], []),
        ("smtp:b.example;1, smtp:*;1", ["b.example", "*"], []),
        (["smtp:b.example;1", "b.example"], ["b.example"], []),
        (["smtp:b.example;10", "smtp:c.example;1"], ["b.example", "c.example"], ['"smtp:b.example;10"']),
        (["smtp:b.example;2", "smtp:b.example;3"], ["b.example"], ['"smtp:b.example;2"', '"smtp:b.example;3"']),
    ],
)
def test_an_address_space_is_its_domain_and_a_cost_is_told(spaces, domains, costs):
    made = part()
    assert address_spaces(item(AddressSpaces=spaces), made, "AddressSpaces") == domains
    assert made.findings == [differs("AddressSpaces", f"{shown}: {COST}") for shown in costs]


@pytest.mark.parametrize("space", ["smtp:b.example;cheap", "smtp:b.example;1;2", "b.example;1234567890", "b.example;"])
def test_an_address_space_of_another_form_is_not_guessed(space):
    with pytest.raises(Unreadable) as refused:
        address_spaces(item(AddressSpaces=["smtp:a.example;1", space]), part(), "AddressSpaces")
    assert str(refused.value) == f'AddressSpaces has "{space}", and a form such as smtp:*.b.example;1 is needed'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("  a  b ", "a b"),
        ("a\r\nb\tc", "a b c"),
        ("a\x1b[31mb\u202ec", "a [31mb c"),
        ("Grüße 😀", "Grüße 😀"),
    ],
)
def test_a_text_is_on_one_line_and_harmless_for_a_terminal(text, shown):
    assert plain(text) == shown
