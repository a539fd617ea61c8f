from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.history import history
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import ConnectorName, SwitchConnectors, switch_connectors
from gatepost.manage.use_cases.resources import apply_document

from .calls import call, document

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"fabrikam"}))
READER = Principal("rob", frozenset({Scope.READ}))


@pytest.fixture
def many(gateway):
    outbound = [{"name": f"to {number}", "recipient_domains": [f"d{number}.example"]} for number in range(200)]
    inbound = [{"name": "to 1", "sender_domains": ["d1.example"], "mode": "rehearse"}]
    both = {"contoso": {"outbound_connector": outbound, "inbound_connector": inbound},
            "fabrikam": {"outbound_connector": [{"name": "to 1", "recipient_domains": ["x.example"]}]}}  # fmt: skip
    apply_document(gateway, OWNER, {"organization": both}, ChangeOptions("ann"))
    return gateway


def names(*keys):
    return [ConnectorName(organization=owner, direction=direction, name=name) for owner, direction, name in keys]


ALL = names(
    *(("contoso", "outbound", f"to {number}") for number in range(200)),
    ("contoso", "inbound", "to 1"),
    ("fabrikam", "outbound", "to 1"),
)


def switch(gateway, who, action, connectors, options=None):
    request = SwitchConnectors(action=action, connectors=connectors)
    return call(gateway, who, switch_connectors, request, options or ChangeOptions(""))


def modes(gateway):
    found = document(gateway, OWNER)[1]["organization"]
    return [
        one.get("mode", "enforce")
        for table in found.values()
        for kind in ("inbound_connector", "outbound_connector")
        for one in table.get(kind, ())
    ]


def test_all_are_one_change_and_one_version(many):
    planned = switch(many, OWNER, "rehearse", ALL, ChangeOptions("", dry_run=True))
    assert (len(planned.changes), planned.version) == (201, 1)
    assert modes(many).count("rehearse") == 1
    done = switch(many, OWNER, "rehearse", ALL, ChangeOptions("", note="new rules"))
    assert (len(done.changes), done.version) == (201, 2)
    assert set(modes(many)) == {"rehearse"}
    assert {one.version for one in history(many, OWNER, limit=9) if one.note == "new rules"} == {2}
    assert switch(many, OWNER, "enforce", ALL).version == 3
    assert set(modes(many)) == {"enforce"}


def test_one_that_is_named_twice_is_switched_once(many):
    assert len(switch(many, OWNER, "disable", ALL[:1] * 3).changes) == 1


def test_none_is_switched_if_one_is_not_there_or_another_organizations(many):
    for who, other in ((OWNER, ("contoso", "outbound", "gone")), (TENANT, ("contoso", "outbound", "to 1"))):
        with pytest.raises(Refusal) as refused:
            switch(many, who, "disable", names(("fabrikam", "outbound", "to 1"), other))
        assert refused.value.kind is RefusalKind.MISSING
    assert document(many, OWNER)[0] == 1


def test_who_may_not_change_connectors_switches_none(many):
    with pytest.raises(Refusal) as refused:
        switch(many, READER, "disable", ALL[:1])
    assert refused.value.kind is RefusalKind.FORBIDDEN


@pytest.mark.parametrize(("action", "connectors"), [("burn", ALL[:1]), ("enable", [])])
def test_what_is_no_action_or_no_connector_is_refused(many, action, connectors):
    with pytest.raises(Refusal) as refused:
        switch(many, OWNER, action, connectors)
    assert refused.value.kind is RefusalKind.INPUT
