from __future__ import annotations

import shlex
import tomllib

import pytest

TEXT = """
[organization.contoso]
message_expiration = "12h"
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "postmaster@contoso.example" }]
[[organization.contoso.outbound_connector]]
name = "bank out"
enabled = false
recipient_domains = ["bank.example", "*.bank.example"]
tls_settings = "domain-validation"
tls_domain = "*.bank.example"
client_certificate = { chain = "/a b.pem", key = "/k.pem" }
[[organization.contoso.inbound_connector]]
name = "bank out"
sender_domains = ["bank.example"]
[[organization.contoso.mail_flow_rule]]
name = "secrets"
header_name = "Subject"
header_contains = ["a, b", "it's"]
require_tls = true
"""
SHOWN = [
    ("organization", "show", "contoso"),
    ("domain", "show", "contoso.example"),
    ("mailbox", "show", "postmaster@contoso.example"),
    ("connector", "show", "bank out", "--direction", "outbound"),
    ("connector", "show", "bank out", "--direction", "inbound"),
    ("rule", "show", "secrets"),
]


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(TEXT))
    return home


def test_every_field_is_shown_with_its_value_and_whether_it_was_written(base):
    rows = {row["field"]: row for row in base.table(*SHOWN[3])}
    assert rows["recipient_domains"] == {
        "field": "recipient_domains",
        "value": "bank.example, *.bank.example",
        "set": "written",
    }
    assert rows["client_certificate"]["value"] == "chain=/a b.pem, key=/k.pem"
    assert rows["enabled"] == {"field": "enabled", "value": "false", "set": "written"}
    assert rows["use_mx_record"] == {"field": "use_mx_record", "value": "true", "set": "default"}
    assert rows["priority"]["value"] == "100"
    assert rows["profile"] == {"field": "profile", "value": "", "set": "default"}


def test_fields_are_explained(base):
    rows = base.table(*SHOWN[4], "--fields")
    assert all(row["meaning"] for row in rows)
    assert rows[2]["meaning"] == "rehearse: the gateway reports what the connector would refuse, and accepts it."


def test_an_organization_shows_its_parts_by_name(base):
    rows = {row["field"]: row["value"] for row in base.table(*SHOWN[0], "--fields")}
    assert rows["message_expiration"] == "12h"
    assert rows["mailbox"] == "postmaster@contoso.example"
    base.call("organization", "add", "big")
    heading = "[[organization.big.accepted_domain]]"
    base.call("apply", "-f", base.write("\n".join(f'{heading}\nname = "d{n}.example"' for n in range(23))))
    rows = base.table("organization", "show", "big", "--fields")
    (row,) = [row for row in rows if row["field"] == "accepted_domain"]
    assert row["value"].endswith("d19.example and 3 more")
    assert row["meaning"] == "23 in all"


@pytest.mark.parametrize("shown", SHOWN, ids=" ".join)
def test_for_machines(base, shown):
    found = base.json(*shown)
    assert list(found)[:2] in (["kind", "organization"], ["kind", "name"])
    for field in found["fields"]:
        assert list(field) == ["field", "value", "written", "meaning"]
        if field["written"] and field["field"] in found["table"]:
            assert found["table"][field["field"]] == field["value"]


def test_an_organization_as_toml_can_be_applied(base):
    text = base.call(*SHOWN[0], "--toml").stdout
    assert tomllib.loads(text) == tomllib.loads(TEXT)
    assert base.call("apply", "-f", base.write(text)).stdout == "nothing to change; version 1 is in force\n"


@pytest.mark.parametrize("shown", SHOWN[1:], ids=" ".join)
def test_a_part_as_toml_says_that_it_is_a_part(base, shown):
    text = base.call(*shown, "--toml").stdout
    assert text.startswith("# A part of organization contoso. ")
    (part,) = tomllib.loads(text)["organization"]["contoso"].values()
    (whole,) = tomllib.loads(TEXT)["organization"]["contoso"][base.json(*shown)["kind"]]
    assert part == [whole]


def test_the_commands_make_it_anew(base):
    before = base.config()[1]
    lines = [base.call(*shown, "--command").stdout for shown in SHOWN]
    base.call("organization", "remove", "contoso")
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "gatepost"
        base.call(*("again" if word == "contoso" else word for word in words))  # the name itself is not used again
    assert base.config()[1] == {"organization": {"again": before["organization"]["contoso"]}}
