from __future__ import annotations

import pytest

from gatepost.analysis.migration.exchange import convert
from gatepost.analysis.migration.exchange_json import ExchangeObject

DOMAIN = {"DomainName": "contoso.com", "DomainType": "Authoritative", "Name": "contoso.com"}
OUT = {
    "Name": "Archive",
    "RecipientDomains": ["archive.example"],
    "SmartHosts": ["mx.archive.example"],
    "ConnectorType": "Partner",
    "TlsSettings": "DomainValidation",
    "TlsDomain": "mx.archive.example",
    "UseMXRecord": False,
    "Enabled": True,
}
# As `Get-JournalRule | ConvertTo-Json -Depth 5 -EnumsAsStrings` prints a rule.
RULE = {
    "Name": "All mail",
    "Recipient": None,
    "JournalEmailAddress": "keep@archive.example",
    "Scope": "Global",
    "Enabled": True,
    "RuleType": "Standard",
    "LawfulInterception": False,
    "ExpiryDate": None,
}


def made(kind, table):
    return ExchangeObject(kind, "rules.json", {key.lower(): value for key, value in table.items()})


def converted(*rules, transport=None):
    objects = [made("domain", DOMAIN), made("outbound", OUT), *(made("journal", RULE | rule) for rule in rules)]
    if transport is not None:
        objects.append(made("transport", transport))
    result = convert(objects)
    (organization,) = result.document["organization"].values()
    return organization, [finding.detail for finding in result.findings if finding.detail]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"journal_direction": "all"}),
        ({"Scope": "Internal"}, {"journal_direction": "internal"}),
        ({"Scope": "External"}, {"journal_direction": "external"}),
        ({"Scope": None, "Enabled": False}, {"enabled": False}),
        ({"JournalEmailAddress": "SMTP:keep@archive.example"}, {"journal_direction": "all"}),
    ],
)
def test_a_journal_rule_is_a_mail_flow_rule(fields, expected):
    organization, _ = converted(fields)
    (rule,) = organization["mail_flow_rule"]
    assert rule == {"name": "All mail", "journal_to": "keep@archive.example"} | expected


def test_a_rule_about_a_recipient_has_a_half_for_what_it_sends():
    organization, _ = converted({"Name": "Ann", "Recipient": "ann@contoso.com"})
    received, sent = organization["mail_flow_rule"]
    assert (received["recipients"], "senders" in received) == (["ann@contoso.com"], False)
    assert (sent["senders"], sent["name"], "recipients" in sent) == (["ann@contoso.com"], "Ann (sent)", False)


@pytest.mark.parametrize("fields", [{"JournalEmailAddress": "Journal Mailbox"}, {"Recipient": "Ann Example"}])
def test_names_instead_of_addresses_are_refused_with_the_reason(fields):
    organization, details = converted(fields)
    assert "mail_flow_rule" not in organization
    assert any("a mail address is needed" in detail for detail in details)


def test_a_rule_that_ends_is_not_written_without_its_end():
    organization, details = converted({"ExpiryDate": "2026-12-31T00:00:00"})
    assert "mail_flow_rule" not in organization
    assert any("ExpiryDate is" in detail and "has no end" in detail for detail in details)


def test_what_is_hidden_in_exchange_is_not_hidden_here():
    _, details = converted({"LawfulInterception": True})
    assert any("hides a rule" in detail for detail in details)


@pytest.mark.parametrize(("value", "address"), [("late@archive.example", "late@archive.example"), ("<>", None)])
def test_the_second_mailbox_is_that_of_the_transport_configuration(value, address):
    organization, _ = converted({}, transport={"MessageExpiration": "1.00:00:00", "JournalingReportNdrTo": value})
    assert organization.get("journal_failures_to") == address
