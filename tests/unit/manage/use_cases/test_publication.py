from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.publication import publication_of, publication_record
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

ALL = Principal("root", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
KEYS = [
    {"name": f"{state}._domainkey.contoso.example", "state": state, "public_key": "AAAA"}
    for state in ("current", "next", "retired")
]
RESOURCES = {
    "organization": {
        "contoso": {
            "accepted_domain": [
                {"name": "contoso.example", "mta_sts": "enforce", "mta_sts_mx": ["mx2.gate.example", "*.gate.example"]},
                {"name": "*.branch.example", "type": "internal-relay"},
                {"name": "plain.example"},
            ],
            "dkim_key": KEYS,
        },
        "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
    }
}


@pytest.fixture
def stored(gateway):
    with gateway.config() as store:
        store.apply(RESOURCES, author="root")
    return gateway


def sections(gateway, name, who=ALL):
    return {str(one.key): one for one in publication_of(gateway, who, name).sections}


def test_every_record_follows_from_resources_and_settings(stored):
    found = publication_of(stored, ALL, "Contoso.Example")
    lines = found.zone.splitlines()
    assert lines[:2] == [
        "contoso.example. IN MX 10 mx2.gate.example.",
        "contoso.example. IN MX 20 mx.gate.example.",
    ]
    assert any(line.startswith('_mta-sts.contoso.example. IN TXT "v=STSv1; id=') for line in lines)
    assert '_smtp._tls.contoso.example. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@contoso.example"' in lines
    assert 'contoso.example. IN TXT "v=spf1 a:mx2.gate.example a:mx.gate.example ~all"' in lines
    assert [line.split(".")[0] for line in lines if "_domainkey" in line] == ["current", "next"]
    record = publication_record(found)
    assert [one.key for one in record.sections] == ["mx", "tlsa", "mta-sts", "tls-rpt", "dkim", "spf"]


def test_what_is_not_there_is_said(stored):
    found = sections(stored, "plain.example")
    assert "No policy is published" in found["mta-sts"].none
    assert "is not signed here" in found["dkim"].none
    assert "No server certificate" in found["tlsa"].none


def test_a_pattern_of_domains_has_mx_records_alone(stored):
    found = sections(stored, "*.branch.example")
    assert list(found) == ["mx", "tlsa"]
    assert found["mx"].records[0].line == "*.branch.example. IN MX 10 mx.gate.example."


def test_tlsa_records_are_the_gateways(stored):
    assert "the operator of the gateway" in sections(stored, "contoso.example", TENANT)["tlsa"].none


@pytest.mark.parametrize(("who", "name"), [(TENANT, "fabrikam.example"), (ALL, "none.example")])
def test_what_is_not_seen_is_not_there(stored, who, name):
    with pytest.raises(Refusal) as refused:
        publication_of(stored, who, name)
    assert refused.value.kind is RefusalKind.MISSING
