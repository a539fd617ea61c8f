from __future__ import annotations

from gatepost.manage.use_cases.domain_proof import domain_proof, orphaned, pending_notes
from gatepost.policy.connectors.model import parse


def organizations(*pending):
    domains = [{"name": one, "verified": False} for one in pending] + [{"name": "o.example"}]
    return parse({"organization": {"o": {"accepted_domain": domains}}}).organizations


def test_the_record_stays_the_same_and_is_of_one_organization(gateway):
    with gateway.config() as store:
        proof = domain_proof(store, "o", "b.example")
        assert proof.zone_line == f'_gatepost.b.example. IN TXT "{proof.text}"'
        assert proof.text.startswith("gatepost-verification=")
    with gateway.config() as store:
        assert domain_proof(store, "o", "b.example") == proof
        assert domain_proof(store, "o", "c.example").text != proof.text
        assert domain_proof(store, "p", "b.example").text != proof.text
        assert store.version() == 0  # it is no change of the resources
        store.apply({}, author="ann", content=orphaned({"organization": {"o": None, "p": {}}}))
        assert domain_proof(store, "o", "b.example").text != proof.text


def test_what_became_pending_is_told_once(gateway):
    with gateway.config() as store:
        (note,) = pending_notes(store, organizations("b.example"), organizations("b.example", "c.example"))
        assert domain_proof(store, "o", "c.example").zone_line in note
        assert "gatepost domain verify c.example" in note
        assert list(pending_notes(store, organizations("b.example"), organizations("b.example"))) == []
