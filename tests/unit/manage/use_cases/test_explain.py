"""Questions, and what of the answer somebody sees; the decisions themselves are `policy.decisions.explain`'s tests."""

from __future__ import annotations

import json

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.explain import ExplainRequest, explain, explain_record
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

ALL = Principal("root", frozenset({Scope.OWNER}))
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"contoso"}))
RESOURCES = {
    "organization": {
        "contoso": {
            "accepted_domain": [{"name": "contoso.example"}],
            "inbound_connector": [
                {"name": "branch", "connector_type": "on-premises", "sender_ip_addresses": ["203.0.113.0/24"]}
            ],
            "outbound_connector": [{"name": "rest", "recipient_domains": ["*"]}],
        },
        "fabrikam": {
            "accepted_domain": [{"name": "fabrikam.example"}],
            "inbound_connector": [
                {"name": "hidden", "connector_type": "on-premises", "sender_ip_addresses": ["203.0.113.0/24"]},
                {"name": "veiled", "sender_domains": ["contoso.example"], "tls_sender_certificate_name": "a.test"},
            ],
            "outbound_connector": [{"name": "covert", "recipient_domains": ["*"]}],
        },
    }
}
ANN, FAY, OUT = "ann@contoso.example", "fay@fabrikam.example", "x@any.test"
SECRETS = ("fabrikam", "hidden", "veiled", "covert")


@pytest.fixture
def stored(gateway):
    with gateway.config() as store:
        store.apply(RESOURCES, author="root")
    return gateway


def said(gateway, who, sender, recipient, **given):
    return explain_record(explain(gateway, who, ExplainRequest(sender, recipient, **given)))


def test_every_field_that_is_wrong_is_named_at_once(stored):
    question = ExplainRequest("a b", "", "here", b"none", "TLSv9", ("no field",))
    with pytest.raises(Refusal) as refused:
        explain(stored, ALL, question)
    assert refused.value.kind is RefusalKind.INPUT
    assert [one.path for one in refused.value.errors] == ["from", "to", "header", "tls", "certificate", "ip"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tls": "none", "certificate": b"-----BEGIN CERTIFICATE-----"}, "tls"),
        ({"tls": "none", "require_tls": True}, "tls"),
        ({"certificate": b"-----BEGIN CERTIFICATE-----\nAAAA"}, "certificate"),
    ],
)
def test_what_does_not_go_together(stored, given, field):
    with pytest.raises(Refusal) as refused:
        said(stored, ALL, ANN, OUT, **given)
    assert [one.path for one in refused.value.errors] == [field]


def test_who_sees_all_sees_all(stored):
    record = said(stored, ALL, FAY, ANN, ip="203.0.113.9")
    assert record["inbound"]["organization"] in {"contoso", "fabrikam"}
    assert "fabrikam" in json.dumps(record)


@pytest.mark.parametrize("ip", ["", "203.0.113.9", "192.0.2.1"])
@pytest.mark.parametrize("ends", [(ANN, OUT), (OUT, ANN), (ANN, FAY), (FAY, ANN), ("", ANN), (ANN, ANN)])
def test_a_tenant_learns_nothing_of_another(stored, ip, ends):
    record = said(stored, TENANT, *ends, ip=ip)
    text = json.dumps(record).replace(FAY, "").replace("fabrikam.example", "")
    assert [one for one in SECRETS if one in text] == []


def test_what_others_decide_is_withheld_whole(stored):
    answer = explain(stored, TENANT, ExplainRequest(ANN, FAY))
    assert answer.withheld == {"inbound", "outbound"}
    record = explain_record(answer)
    assert (record["inbound"], record["outbound"], record["failures"]) == (None, None, [])


@pytest.mark.parametrize("ends", [(OUT, FAY), (FAY, OUT), ("", FAY), (OUT, "y@other.test")])
def test_a_tenant_asks_about_its_own_mail_only(stored, ends):
    with pytest.raises(Refusal) as refused:
        explain(stored, TENANT, ExplainRequest(*ends))
    assert [one.path for one in refused.value.errors] == ["to"]


def test_without_resources(gateway):
    answer = explain(gateway, ALL, ExplainRequest(ANN, OUT))
    assert answer.empty
    assert not answer.succeeds
