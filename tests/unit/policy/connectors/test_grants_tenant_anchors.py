from __future__ import annotations

import pytest

from gatepost.policy.connectors.grants import anchor_origins, mark
from gatepost.policy.connectors.model import parse

ONE, TWO, THREE = (f"-----BEGIN CERTIFICATE-----{text}-----END CERTIFICATE-----" for text in ("MAAA", "MAAB", "MAAC"))
DER_ONE, DER_TWO = b"0\0\0", b"0\0\1"


def organization(domain, *anchors):
    connectors = [
        {"name": str(place), "sender_domains": [f"{place}.example"], "require_tls": True, "trust_anchors": text}
        for place, text in enumerate(anchors)
    ]
    return {"accepted_domain": [{"name": domain}], "inbound_connector": connectors}


def origins(organizations, *tenants):
    documents = {name: {"granted": [], "tenants": name in tenants} for name in organizations}
    return anchor_origins(mark(parse({"organization": organizations}), documents).organizations)


def test_those_that_only_tenants_name():
    both = {"contoso": organization("a.example", ONE + TWO, THREE), "fabrikam": organization("b.example", TWO)}
    assert origins(both, "contoso").tenants == {DER_ONE, b"0\0\2"}, "one that the owner's names, too, is not theirs"
    assert origins(both, "contoso", "fabrikam").tenants == {DER_ONE, DER_TWO, b"0\0\2"}
    assert origins(both).tenants == frozenset()


@pytest.mark.parametrize("direction", ["inbound_connector", "outbound_connector"])
def test_of_connectors_of_both_directions(direction):
    outbound = {"name": "x", "recipient_domains": ["x.example"], "smart_hosts": ["mx.x.example"], "trust_anchors": ONE}
    known = organization("a.example", *([ONE] if direction == "inbound_connector" else []))
    if direction == "outbound_connector":
        by_the_servers = {"name": "y", "recipient_domains": ["y.example"], "smart_hosts": ["mx.y.example"]}
        known["outbound_connector"] = [outbound, by_the_servers]
    assert origins({"contoso": known}, "contoso").tenants == {DER_ONE}


def test_files_are_the_owners_word():
    known = {"contoso": organization("a.example", ONE)}
    known["contoso"]["inbound_connector"] += organization("", "/etc/roots.pem")["inbound_connector"]
    known["contoso"]["inbound_connector"][1]["name"] = "y"
    granted = {"contoso": {"granted": [["inbound_connector", "y", "trust_anchors", "/etc/roots.pem"]], "tenants": True}}
    found = anchor_origins(mark(parse({"organization": known}), granted).organizations)
    assert (found.tenants, found.places) == ({DER_ONE}, {"/etc/roots.pem"})
