from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.destinations import (
    DestinationActions,
    DestinationsQuery,
    act_on_destinations,
    list_destinations,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile

AUTH, CLEAR = Achieved(TlsLevel(2), MxLevel.NONE), Achieved(TlsLevel(0), MxLevel.NONE)
FALLEN = "fallen.example"


@pytest.fixture
def seen(there):
    now = time.time()
    fell = [
        (SeenSession("mx", AUTH, now - 800_000.0, "TLSv1.3"), False),
        (SeenSession("mx", CLEAR, now - 90_000.0), False),
    ]
    file = DestinationFile(there.api.gateway.data / DESTINATIONS_FILE)
    places = [
        ("contoso", FALLEN),
        ("contoso", "good.example"),
        ("fabrikam", FALLEN),
        ("fabrikam", "", "secret-partner"),
    ]
    for number, place in enumerate(places):
        file.write({DestinationName(*place): fell[:1] if number == 1 else fell})
    file.close()
    return there


@pytest.mark.parametrize(
    "wanted",
    [{}, {"below": True}, {"domain": "Good.Example"}, {"connector": "secret-partner"}, {"domain": "nobody.example"}],
)
@pytest.mark.usefixtures("seen")
def test_lists_are_the_same(remote, local, wanted):
    for limit in (0, 3):
        request = DestinationsQuery(**wanted)
        found = list(all_items(remote.call, list_destinations, request, limit))
        assert found == list(all_items(local.call, list_destinations, request, limit))


@pytest.mark.usefixtures("seen")
def test_what_is_done_is_done_there(remote, local):
    request = DestinationActions(action="accept", domain=FALLEN, organization="contoso")
    planned = remote.call(act_on_destinations, request, dry_run=True)
    assert planned == local.call(act_on_destinations, request, dry_run=True)
    (done,) = remote.call(act_on_destinations, request).items
    assert [done] == local.call(list_destinations, DestinationsQuery(domain=FALLEN, organization="contoso")).items
    assert remote.call(act_on_destinations, DestinationActions(action="forget", all=True)).changed == 4
    assert local.call(list_destinations, DestinationsQuery()).items == []


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ({"domain": "no domain"}, RefusalKind.INPUT),
        ({"domain": FALLEN}, RefusalKind.INPUT),
        ({}, RefusalKind.INPUT),
        ({"domain": "nobody.example"}, RefusalKind.MISSING),
        ({"domain": "good.example"}, RefusalKind.CONFLICT),
    ],
)
@pytest.mark.usefixtures("seen")
def test_what_is_refused_is_refused_alike(remote, local, which, kind):
    refusals = []
    for client in (local, remote):
        with pytest.raises(Refusal) as refused:
            client.call(act_on_destinations, DestinationActions(action="accept", **which))
        refusals.append((refused.value.kind, refused.value.text, refused.value.options))
    assert refusals == [(kind, *refusals[0][1:])] * 2


def test_a_tenant_has_its_own(seen, remote, local):
    seen.api.who = Principal("tim", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
    found = remote.call(list_destinations, DestinationsQuery()).items
    assert {one.organization for one in found} == {"fabrikam"}
    forget = DestinationActions(action="forget", all=True)
    assert remote.call(act_on_destinations, forget).changed == 2
    assert len(local.call(list_destinations, DestinationsQuery()).items) == 2
    seen.api.who = Principal("tim", frozenset({Scope.READ, Scope.QUEUE}), frozenset({"contoso"}))
    with pytest.raises(Refusal, match="'connectors' is needed"):
        remote.call(act_on_destinations, forget)
