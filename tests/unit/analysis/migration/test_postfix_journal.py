from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix import convert

BASE = "myhostname = mx.o.example\nmydestination = o.example\nrelayhost = [smtp.isp.example]:25\n"
SAFE = "smtp_tls_security_level = secure\nsmtp_tls_CAfile = /ca.pem\n"
FILES = {
    "/bcc": ("ann@o.example keep@far.example\n@p.example keep@far.example\nbare keep@far.example\n", ""),
    "/many": ("".join(f"a{number}@o.example keep@far.example\n" for number in range(1001)), ""),
}


def converted(main):
    result = convert(BASE + main, FILES)
    (organization,) = result.document["organization"].values()
    return organization, result.findings


def said(findings, setting):
    return [(str(finding.outcome), finding.detail) for finding in findings if finding.setting == setting]


def test_always_bcc_is_the_journal_of_the_organization():
    organization, findings = converted(f"{SAFE}always_bcc = keep@far.example\n")
    assert (organization["journal_to"], organization["journal_form"]) == ("keep@far.example", "copy")
    ((outcome, detail),) = said(findings, "always_bcc")
    assert outcome == "differs"
    assert "leaves over verified TLS" in detail


def test_a_way_without_verified_tls_is_not_carried_over_silently():
    organization, findings = converted("always_bcc = keep@far.example\n")
    assert "journal_to" not in organization
    assert any("verified TLS" in finding.detail for finding in findings if str(finding.outcome) == "not carried over")


@pytest.mark.parametrize("value", ["", "keep", "a@b@c"])
def test_what_is_no_address_is_reported(value):
    organization, findings = converted(f"{SAFE}always_bcc = {value}\n")
    assert "journal_to" not in organization
    assert bool(said(findings, "always_bcc")) is bool(value)


def test_tables_become_rules():
    main = (
        f"{SAFE}sender_bcc_maps = hash:/bcc\nrecipient_bcc_maps = inline:{{ann@o.example=keep@far.example}}, ldap:/x\n"
    )
    organization, findings = converted(main)
    rules = {rule["name"]: rule for rule in organization["mail_flow_rule"]}
    assert rules["copy of ann@o.example"]["senders"] == ["ann@o.example"]
    assert rules["copy of p.example" if "copy of p.example" in rules else "copy of @p.example"]["senders"] == [
        "p.example"
    ]
    assert rules["copy of ann@o.example (2)"]["recipients"] == ["ann@o.example"]
    assert {rule["journal_form"] for rule in rules.values()} == {"copy"}
    assert any("'bare' names no domain" in detail for _, detail in said(findings, "sender_bcc_maps"))
    assert any("is answered by a server" in detail for _, detail in said(findings, "recipient_bcc_maps"))


def test_a_table_of_very_many_entries_is_not_made_rules():
    organization, findings = converted(f"{SAFE}recipient_bcc_maps = hash:/many\n")
    assert "mail_flow_rule" not in organization
    assert any("more than 1000 entries" in detail for _, detail in said(findings, "recipient_bcc_maps"))
