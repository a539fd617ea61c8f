from __future__ import annotations

import tomllib

import pytest

from gatepost.manage.use_cases.name_lookup import INBOUND, MAILBOX, OUTBOUND, choose_part
from gatepost.manage.use_cases.part_record import (
    fields_of,
    organization_command,
    organization_record,
    organization_toml,
    part_command,
    part_record,
    part_toml,
    table_of,
)
from gatepost.policy.connectors.model import parse

BANK = {"name": "bank out", "recipient_domains": ["bank.example"], "priority": 5}
DOCUMENT = {
    "organization": {
        "contoso": {
            "display_name": "Contoso Ltd",
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [{"address": "ann@contoso.example"}],
            "outbound_connector": [BANK],
            "inbound_connector": [{"name": "in", "sender_domains": ["bank.example"]}],
        }
    }
}
RESOURCES = parse(DOCUMENT)
(CONTOSO,) = RESOURCES.organizations
PART = choose_part(RESOURCES, OUTBOUND, "bank out")


def test_a_part_for_machines():
    record = part_record(PART)
    assert list(record) == ["kind", "organization", "name", "fields", "table"]
    assert (record["kind"], record["organization"], record["name"]) == ("outbound_connector", "contoso", "bank out")
    assert record["table"] == table_of(PART.record) == BANK


def test_every_field_has_its_value_and_whether_it_was_written():
    fields = {one["field"]: one for one in fields_of(PART.record)}
    assert (fields["priority"]["value"], fields["priority"]["written"]) == (5, True)
    assert (fields["enabled"]["value"], fields["enabled"]["written"]) == (True, False)
    assert all(one["meaning"] for one in fields.values())
    assert "mailbox" not in {one["field"] for one in fields_of(CONTOSO)}  # a list of parts


def test_files_read_back_as_what_they_are_of():
    assert tomllib.loads(organization_toml(CONTOSO)) == DOCUMENT
    text = part_toml(PART)
    assert text.startswith("# A part of organization contoso.")
    assert tomllib.loads(text) == {"organization": {"contoso": {"outbound_connector": [BANK]}}}


COMMANDS = [
    (
        OUTBOUND,
        "bank out",
        "gatepost connector add outbound 'bank out' --organization contoso priority=5 recipient_domains=bank.example",
    ),
    (INBOUND, "in", "gatepost connector add inbound in --organization contoso sender_domains=bank.example"),
    (MAILBOX, "ann@contoso.example", "gatepost mailbox add ann@contoso.example --organization contoso"),
]


@pytest.mark.parametrize(("kind", "name", "command"), COMMANDS)
def test_the_command_that_would_add_it(kind, name, command):
    said = part_command(choose_part(RESOURCES, kind, name))
    assert sorted(said.split(" ")) == sorted(command.split(" "))  # whatever the order of the fields


def test_an_organization_for_machines_and_as_a_command():
    record = organization_record(CONTOSO)
    assert list(record) == ["kind", "name", "fields", "parts", "table"]
    assert record["parts"]["mailbox"] == ["ann@contoso.example"]
    assert record["table"] == DOCUMENT["organization"]["contoso"]
    assert organization_command(CONTOSO) == "gatepost organization add contoso 'display_name=Contoso Ltd'"
