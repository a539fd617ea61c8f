from __future__ import annotations

import pytest

from gatepost.manage.use_cases.name_lookup import DOMAIN, KINDS, MAILBOX, OUTBOUND, RULE
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.record_base import keys
from gatepost.policy.connectors.records import Organization

RESOURCES = parse(
    {
        "organization": {
            "contoso": {
                "accepted_domain": [{"name": "contoso.example"}, {"name": "xn--bcher-kva.example"}],
                "mailbox": [{"address": "Ann@contoso.example"}],
                "mail_flow_rule": [{"name": "Secrets", "require_tls": True}, {"name": "more", "require_tls": True}],
            },
            "fabrikam": {"mail_flow_rule": [{"name": "secrets", "require_tls": True}]},
            "empty": {},
        }
    }
)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.key)
def test_a_kind_is_a_list_of_organizations(kind):
    assert keys(Organization)[kind.key].alias == kind.key
    assert kind.identity in keys(kind.model)
    assert kind.of(RESOURCES.organization("empty")) == ()


FORMS = [
    (DOMAIN, "Contoso.Example.", "contoso.example"),
    (DOMAIN, "*.Contoso.Example", "*.contoso.example"),
    (DOMAIN, "bücher.example", "xn--bcher-kva.example"),
    (DOMAIN, "no domain", "no domain"),
    (MAILBOX, "Ann@Contoso.Example", "ann@contoso.example"),
    (MAILBOX, "Ann", "ann"),
    (OUTBOUND, "Bank-Out", "bank-out"),
    (RULE, "", ""),
]


@pytest.mark.parametrize(("kind", "text", "form"), FORMS)
def test_names_compare_in_one_form(kind, text, form):
    assert kind.one_form(text) == form
