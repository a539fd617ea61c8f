"""Who is to be told of a changeover, and whether all were."""

from __future__ import annotations

import pytest

from gatepost.analysis.checks.gates import MOST_SEEN, Partner, partner_findings, partners_of
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Purpose

RESOURCES = """
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.inbound_connector]]
name = "bank"
sender_domains = ["bank.example", "*.bank.example"]
[[organization.contoso.inbound_connector]]
name = "all"
sender_domains = ["*"]
[[organization.contoso.inbound_connector]]
name = "off"
sender_domains = ["off.example"]
enabled = false
[[organization.contoso.inbound_connector]]
name = "hq"
connector_type = "on-premises"
tls_sender_certificate_name = "*.hq.example"
[[organization.contoso.outbound_connector]]
name = "tax"
recipient_domains = ["tax.example"]
client_certificate = { chain = "/c.pem", key = "/k.pem" }
[[organization.contoso.outbound_connector]]
name = "relay"
recipient_domains = ["*"]
smart_hosts = ["relay.example"]
client_certificate = { chain = "/c.pem", key = "/k.pem" }
[[organization.contoso.outbound_connector]]
name = "plain"
recipient_domains = ["plain.example"]
"""


def test_partners_of_the_server_certificate(entry, resources):
    organizations = resources(RESOURCES).organizations
    seen = {"often.example": 9, "bank.example": 1, "contoso.example": 50, "a.example": 2, "b.example": 2}
    found = partners_of(entry("new", told=("hq.example",)), organizations, seen)
    assert [one.name for one in found] == ["bank.example", "hq.example", "often.example", "a.example", "b.example"]
    assert found[0].why == ("inbound connector 'bank' of contoso", "1 message over TLS in the last 30 days")
    assert [one.told for one in found] == [False, True, False, False, False]


def test_only_so_many_that_were_seen(entry):
    found = partners_of(entry("new"), (), {f"d{n:02}.example": n for n in range(1, 60)})
    assert len(found) == MOST_SEEN
    assert found[0] == Partner("d59.example", ("59 messages over TLS in the last 30 days",))


@pytest.mark.parametrize(
    ("organization", "wanted"),
    [("contoso", ["tax.example", "relay.example"]), ("fabrikam", []), ("", ["tax.example", "relay.example"])],
)
def test_partners_of_a_client_certificate(entry, resources, organization, wanted):
    client = entry("c", purpose=Purpose.CLIENT, organization=organization)
    found = partners_of(client, resources(RESOURCES).organizations, {"often.example": 9})
    assert [one.name for one in found] == wanted


def test_whether_all_were_told():
    told, silent = Partner("a.example", ("x",), told=True), Partner("b.example", ("y",))
    assert [one.verdict for one in partner_findings([])] == [Mark.PASS]
    assert [one.verdict for one in partner_findings([told])] == [Mark.PASS]
    (found,) = partner_findings([told, silent])
    assert found.verdict is Mark.WARN
    assert found.text.startswith("partners not yet notified (1 of 2): b.example")
    assert found.evidence == "b.example: y"
    (many,) = partner_findings([Partner(f"{n}.example", ("y",)) for n in range(12)])
    assert many.text.endswith("7.example and 4 more")
