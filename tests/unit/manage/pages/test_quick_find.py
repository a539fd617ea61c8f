from __future__ import annotations

import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.records import AuditOutcome
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.trace import write_events

from .conftest import BASE, MARKUP, OWNER, certificate

QUEUE_ID = "0198A5B2C3D4E5F6"


@pytest.fixture
def traced(centre):
    """A message of each organization."""
    rows = [
        TraceEvent(
            at=time.time() - 60,
            event="RECEIVE",
            message=message,
            organization=organization,
            direction="incoming",
            session="s",
            sender="x@big.example",
            recipient=f"ann@{organization}.example",
            message_id=f"<{organization}.1@big.example>",
            subject=MARKUP,
        )
        for organization, message in (("contoso", QUEUE_ID), ("fabrikam", QUEUE_ID[:-1] + "7"))
    ]
    write_events(centre.gateway.data / "trace", "0", rows)
    return centre


def hits(centre, text, who="owner"):
    answer = centre.get(f"/find?q={text}", who)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    return [tuple(hit) for hit in answer.json]


def test_a_connector_a_domain_and_a_certificate_are_found_by_a_part_of_their_names(sealing):
    entry = certificate(sealing, "mx.gate.example", current=True)
    assert ("bank-out", "/connectors/contoso/outbound/bank-out", "Outbound connector, contoso") in hits(
        sealing, "BANK-O"
    )
    assert ("contoso.example", "/domains/view/contoso/contoso.example", "Domain, contoso") in hits(sealing, "contoso.e")
    found = ("mx.gate.example", f"/certificates/{entry.id}", "Certificate")
    assert found in hits(sealing, "mx.gate")
    assert found in hits(sealing, entry.leaf.sha256[:20].lower())


@pytest.mark.parametrize("text", [QUEUE_ID, QUEUE_ID.lower(), "<contoso.1@big.example>", "contoso.1@big.example"])
def test_a_message_is_found_by_the_whole_of_its_id(traced, text):
    assert hits(traced, text)[-1] == (MARKUP[:120], f"/trace/{QUEUE_ID}", "Message")
    assert hits(traced, text, "tenant") == [], "of another organization"


@pytest.mark.parametrize(
    "text", ["", "b", "%20%20b%20", "a" * 301, "*", "<*@*>", "%00%00", QUEUE_ID[:-1], "no such thing"]
)
def test_nothing_is_found_for_what_names_nothing(traced, text):
    assert hits(traced, text) == []


def test_a_tenant_finds_what_is_its_own(sealing):
    certificate(sealing, "mx.gate.example", current=True)
    for text in ("bank-out", "contoso", "mx.gate", "example"):
        assert [hit for hit in hits(sealing, text, "tenant") if "fabrikam" not in hit[2]] == []
    assert hits(sealing, "fabrikam", "tenant") or hits(sealing, "fabrikam") == []
    refused = [event for event in sealing.accounts.audit_events(OWNER) if event.outcome is AuditOutcome.REFUSED]
    assert refused == [], "who types is no attacker"


def test_few_of_each_kind_are_offered(centre):
    domains = [*BASE["contoso"]["accepted_domain"], *({"name": f"d{number}.example"} for number in range(50))]
    apply_document(
        centre.gateway, OWNER, {"organization": BASE | {"contoso": BASE["contoso"] | {"accepted_domain": domains}}},
        ChangeOptions("root"),
    )  # fmt: skip
    assert len(hits(centre, "example")) <= 8


def test_a_store_that_cannot_be_read_is_no_error_of_the_palette(traced, monkeypatch):
    def fail(*_, **__):
        raise StoreFailure("gone")

    monkeypatch.setattr(type(traced.gateway.storage), "trace", fail)
    assert hits(traced, QUEUE_ID) == []
