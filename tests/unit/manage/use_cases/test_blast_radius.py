from __future__ import annotations

import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.blast_radius import find_radius, radius_record
from gatepost.policy.connectors.model import parse
from gatepost.store.sqlite.trace import write_events

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ}), frozenset({"fabrikam"}))
NOW = time.time()


def resources(**fields):
    connector = {"name": "bank", "recipient_domains": ["bank.example"], **fields}
    both = {
        name: {"accepted_domain": [{"name": f"{name}.example"}], "outbound_connector": [connector]}
        for name in ("contoso", "fabrikam")
    }
    return parse({"organization": both})


def sent(organization, message, at=NOW - 60):
    addresses = f"ann@{organization}.example", "joe@bank.example"
    facts = {"connector": "bank", "peer_host": "mx.bank.example", "requirement": "opportunistic"}
    detail = {"starttls_offered": False, "attempt": 1}
    return TraceEvent(
        at, "SEND", message, organization, "originating", "s", *addresses, **facts, achieved="none/none", detail=detail
    )


@pytest.mark.parametrize(("who", "messages"), [(OWNER, 3), (TENANT, 1)])
def test_a_change_is_held_against_the_mail_that_is_seen(gateway, who, messages):
    rows = [sent("contoso", "1"), sent("contoso", "2"), sent("fabrikam", "3"), sent("fabrikam", "4", NOW - 9000)]
    write_events(gateway.data / "trace", "0", rows)
    after = resources(tls_settings="encryption-only")
    radius = find_radius(gateway, who, resources(), after, NOW - 3600)
    assert (radius.found.outbound.messages, radius.found.outbound.different) == (messages, messages)
    record = radius_record(radius)
    assert record["outbound"] == {"messages": messages, "different": messages}
    assert record["differences"][0]["peers"] == [{"peer": "mail to bank.example", "messages": messages}]
    assert (record["recipients"], record["unreadable"]) == (["bank.example"], [])


def test_what_touches_no_mail_reads_no_trace(gateway):
    gateway.data.mkdir()
    (gateway.data / "trace").mkdir()
    (gateway.data / "trace" / "2025-11-24.0.db").write_bytes(b"no database" * 1000)
    radius = find_radius(gateway, OWNER, resources(), resources(comment="x"), 1.0)
    assert radius_record(radius)["unreadable"] == []
