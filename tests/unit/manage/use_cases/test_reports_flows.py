from __future__ import annotations

import time

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.reports import CountFlows, count_flows
from gatepost.store.sqlite.trace import write_events

OWNER = Principal("ann", frozenset({Scope.READ}))
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"fabrikam"}))


def test_each_sees_the_hours_of_what_is_theirs(gateway):
    assert not LocalClient(gateway, OWNER).call(count_flows, CountFlows()).counted
    now = time.time()
    rows = [
        TraceEvent(
            now - 7200,
            "RECEIVE",
            "1a",
            "contoso",
            "incoming",
            "5e5",
            "x@out.example",
            "a@contoso.example",
            achieved="none/encrypted",
        ),
        TraceEvent(
            now - 100,
            "SEND",
            "1b",
            "fabrikam",
            "originating",
            "5e6",
            "b@fabrikam.example",
            "y@out.example",
            achieved="none/none",
        ),
    ]
    write_events(gateway.data / "trace", "0", rows)

    def events(principal, organization=""):
        flows = LocalClient(gateway, principal).call(count_flows, CountFlows(organization=organization))
        assert len(flows.hours) == 48
        found = [one for one in flows.hours if one.none + one.encrypted]
        assert flows.counted == bool(found)
        return [one.event for one in found]

    assert events(OWNER) == ["SEND", "RECEIVE"]
    assert events(OWNER, "contoso") == ["RECEIVE"]
    assert events(TENANT) == events(TENANT, "fabrikam") == ["SEND"]
    assert events(TENANT, "contoso") == []
