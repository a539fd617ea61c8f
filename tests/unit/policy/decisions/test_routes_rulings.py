from __future__ import annotations

from typing import Any

from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.content import NO_DEMAND
from gatepost.policy.decisions.parties import Parties
from gatepost.policy.decisions.routes import Rulings

TLS = {"name": "tls", "require_tls": True}
TRIAL = {"name": "trial", "require_tls": True, "mode": "rehearse"}
SECRET = {"name": "secret", "encrypt": "smime", "header_name": "X-Label"}
VIA = {"name": "via", "route_via_connector": "hub"}
HUB = {"name": "Hub", "is_transport_rule_scoped": True, "smart_hosts": ["hub.example"]}
LABELLED = Content({"x-label": ("x",)})
BOTH = Parties("fabrikam", "contoso", "fabrikam")


def rulings(contoso: list[dict[str, Any]], fabrikam: list[dict[str, Any]]) -> Rulings:
    def organization(rules: list[dict[str, Any]]) -> dict[str, Any]:
        return {"mail_flow_rule": rules, "outbound_connector": [HUB]}

    document = {"organization": {"contoso": organization(contoso), "fabrikam": organization(fabrikam)}}
    return Rulings(parse(document).organizations)


def test_rules_of_both_add_up_and_each_says_whose_it_is() -> None:
    found = rulings([TLS, SECRET, VIA], [TRIAL, VIA]).ruling(BOTH, "a@contoso.example", "x@fabrikam.example", LABELLED)
    assert found is not None
    assert [str(source) for source in found.required] == ["rule:tls"]
    assert [str(source) for source in found.rehearsed] == ["rule:trial of fabrikam"]
    assert [str(source) for source in found.content.encrypt.required] == ["rule:secret"]
    assert (found.via, found.routed_by, found.sender_via, found.sender_routed_by) == ("Hub", "via", "Hub", "via")
    assert found.acts
    assert found.reasons[-1].startswith("connector 'Hub' of contoso does not carry it, as fabrikam accepts the domain")


def test_a_rehearsal_does_not_act_and_without_rules_there_is_none() -> None:
    found = rulings([TRIAL], []).ruling(Parties("contoso"), "", "x@b.example", Content())
    assert found is not None
    assert not found.acts
    none = rulings([], [])
    assert not none
    assert none.ruling(BOTH, "", "x@b.example", Content()) is None
    assert none.content("contoso", "", "x@b.example", Content()) == NO_DEMAND


def test_which_fields_are_asked_for() -> None:
    known = rulings([SECRET], [TLS])
    assert known.asks_header
    assert known.header_names(["contoso", "fabrikam", "gone"]) == {"x-label"}
    assert known.header_names(["fabrikam"]) == frozenset()
    asked = known.content("contoso", "", "x@fabrikam.example", LABELLED)
    assert [str(source) for source in asked.encrypt.required] == ["rule:secret"]
