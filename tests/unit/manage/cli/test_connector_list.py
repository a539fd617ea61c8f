from __future__ import annotations

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

BASE = """
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
[[organization.contoso.inbound_connector]]
name = "hq"
connector_type = "on-premises"
tls_sender_certificate_name = "*.contoso.example"
sender_ip_addresses = ["192.0.2.1"]
[[organization.contoso.inbound_connector]]
name = "branch"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.7", "2001:db8::7"]
[[organization.contoso.inbound_connector]]
name = "bank-in"
sender_domains = ["bank.example", "*.bank.example"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "mail.bank.example"
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["198.51.100.0/24"]
min_tls_version = "TLSv1.3"
[[organization.contoso.outbound_connector]]
name = "hq"
connector_type = "on-premises"
route_all_messages_via_on_premises = true
all_accepted_domains = true
smart_hosts = ["hq.contoso.example"]
tls_settings = "domain-validation"
[[organization.contoso.outbound_connector]]
name = "Bank out"
mode = "rehearse"
recipient_domains = ["bank.example"]
tls_settings = "domain-validation"
tls_domain = "*.bank.example"
min_tls_version = "TLSv1.2"
[[organization.contoso.outbound_connector]]
name = "special"
enabled = false
mode = "rehearse"
is_transport_rule_scoped = true
recipient_domains = ["*"]
[organization.fabrikam]
inbound_connector = [{ name = "all", sender_domains = ["*"], require_tls = false }]
"""
GATEWAY, PARTNER, SERVER = "This gateway", "Partner organization", "Your organization's email server"
ROWS = [
    ("enabled", "inbound", "hq", "contoso", SERVER, GATEWAY, "*.contoso.example, 192.0.2.1", "nothing"),
    ("enabled", "inbound", "branch", "contoso", SERVER, GATEWAY, "192.0.2.7, 2001:db8::7", "nothing"),
    (
        "enabled",
        "inbound",
        "bank-in",
        "contoso",
        PARTNER,
        GATEWAY,
        "bank.example, *.bank.example",
        "TLSv1.3 or newer, certificate mail.bank.example, address in 198.51.100.0/24",
    ),
    (
        "enabled",
        "outbound",
        "hq",
        "contoso",
        GATEWAY,
        SERVER,
        "all mail, accepted domains",
        "domain-validation, the next hop's name",
    ),
    (
        "rehearsal",
        "outbound",
        "Bank out",
        "contoso",
        GATEWAY,
        PARTNER,
        "bank.example",
        "domain-validation, *.bank.example, TLSv1.2 or newer",
    ),
    ("disabled", "outbound", "special", "contoso", GATEWAY, PARTNER, "mail flow rules, *", "opportunistic"),
    ("enabled", "inbound", "all", "fabrikam", PARTNER, GATEWAY, "*", "nothing"),
]


@pytest.fixture
def base(home):
    home.call("apply", "-f", home.write(BASE))
    return home


def test_the_list(base):
    rows = base.table("connector", "list")
    assert [tuple(row.values()) for row in rows] == [(*row, "never") for row in ROWS]


def test_json_is_what_rest_answers(base):
    (row,) = [row for row in base.json("connector", "list") if row["name"] == "special"]
    assert (row["mode"], row["validated"]) == ("rehearse", None)
    assert (row["domains"], row["requires"]) == (["mail flow rules", "*"], ["opportunistic"])


def test_less_of_it(base):
    assert [row["name"] for row in base.table("connector", "list", "--direction", "outbound")] == [
        "hq",
        "Bank out",
        "special",
    ]
    assert [row["name"] for row in base.table("connector", "list", "--organization", "fabrikam")] == ["all"]
    assert base.table("connector", "list", "--organization", "fabrikam", "--direction", "outbound") == []
    assert "no organization 'x'" in base.call("connector", "list", "--organization", "x", code=2).stderr


def test_how_the_last_validation_ended(base):
    record = {"at": 1_795_528_800.0, "outcome": "failed", "configuration": 1, "hosts": []}
    CheckRecords(Storage(SQLITE, base.data), VALIDATIONS, "contoso").keep("outbound", "bank out", record)
    found = {row["name"]: row["validated"] for row in base.table("connector", "list", "--direction", "outbound")}
    assert found == {"hq": "never", "Bank out": "failed 2026-11-24 14:00:00Z", "special": "never"}
    (row,) = [row for row in base.json("connector", "list") if row["name"] == "Bank out"]
    assert row["validated"] == {"at": 1_795_528_800.0, "outcome": "failed", "configuration": 1}


def test_one_connector(base):
    rows = {row["field"]: row["value"] for row in base.table("connector", "show", "BANK-in")}
    assert rows["connector_type"] == "partner"
    assert "could be each of" in base.call("connector", "show", "hq", code=2).stderr
    assert "there is no connector 'x'" in base.call("connector", "show", "x", code=2).stderr
    assert base.json("connector", "show", "hq", "--direction", "inbound")["kind"] == "inbound_connector"
