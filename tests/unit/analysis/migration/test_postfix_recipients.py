from __future__ import annotations

import pytest

from gatepost.analysis.migration.postfix import convert

BASE = "myhostname = mx.o.example\nmydestination =\nrelay_domains = r.example, s.example\n"
FILES = {
    "/all": ("ann@r.example OK\nBob@sub.r.example x\nc@s.example OK\nbare OK\n", ""),
    "/some": ("ann@r.example OK\n", ""),
    "/wide": ("@r.example OK\nc@s.example OK\n", ""),
    "/bad": ("a..b@r.example OK\nann@r.example OK\nc@s.example OK\n", ""),
}
LIST = "relay_recipient_maps = "
LISTED = {"*.r.example": ["ann@r.example", "bob@sub.r.example"], "*.s.example": ["c@s.example"]}


def converted(main):
    result = convert(BASE + main, FILES)
    (organization,) = result.document["organization"].values()
    lost = [finding.detail for finding in result.findings if finding.setting == "relay_recipient_maps"]
    return organization["accepted_domain"], lost


@pytest.mark.parametrize(
    ("main", "recipients", "said"),
    [
        (LIST + "hash:/all", LISTED, []),
        (
            LIST + "hash:/some, inline:{c@s.example=OK}",
            {"*.r.example": ["ann@r.example"], "*.s.example": ["c@s.example"]},
            [],
        ),
        (LIST + "hash:/some", {"*.r.example": ["ann@r.example"]}, ["it has no recipient of *.s.example"]),
        (LIST + "hash:/wide", {"*.s.example": ["c@s.example"]}, ["it takes every recipient of *.r.example"]),
        (
            LIST + "hash:/bad",
            {"*.r.example": ["ann@r.example"], "*.s.example": ["c@s.example"]},
            ["'a..b@r.example' is not"],
        ),
        (LIST + "hash:/all, ldap:/x", {}, ["is answered by a server"] * 2),
        (LIST, {}, []),
        ("", {}, []),
    ],
)
def test_recipients_of_relayed_domains(main, recipients, said):
    domains, lost = converted(main)
    assert {domain["name"]: domain["recipients"] for domain in domains if "recipients" in domain} == recipients
    assert {domain["name"] for domain in domains if domain.get("recipient_validation") == "list"} == set(recipients)
    assert [text in detail for text, detail in zip(said, lost, strict=True)] == [True] * len(said)


def test_where_postfix_asks_the_server_behind_so_does_the_gateway():
    asked = "smtpd_recipient_restrictions = permit_mynetworks, reject_unverified_recipient\n"
    domains, _ = converted(asked + LIST + "hash:/some")
    assert {domain["name"]: domain["recipient_validation"] for domain in domains} == {
        "*.r.example": "list",
        "*.s.example": "callout",
    }
