from __future__ import annotations

import time

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import destinations
from gatepost.manage.use_cases import destinations as here
from gatepost.manage.use_cases.destinations import Which
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.decisions.destination_history import DestinationName, Session
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile

from .conftest import OWNER, plain

AUTH, CLEAR = Achieved(TlsLevel(2), MxLevel.NONE), Achieved(TlsLevel(0), MxLevel.NONE)
FALLEN = "fallen.example"


@pytest.fixture
def seen(there):
    now = time.time()
    fell = [(Session("mx", AUTH, now - 800_000.0, "TLSv1.3"), False), (Session("mx", CLEAR, now - 90_000.0), False)]
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
    ("which", "more"),
    [
        (Which(), {}),
        (Which(), {"limit": 3}),
        (Which(), {"only_below": True}),
        (Which("Good.Example"), {}),
        (Which("", "fabrikam", "secret-partner"), {}),
        (Which("nobody.example"), {}),
    ],
)
def test_lists_are_the_same(seen, monkeypatch, which, more):
    monkeypatch.setattr("gatepost.manage.remote.connection._PAGE", 2)
    found = destinations.remembered(seen, which, **more)
    assert found == plain(here.remembered(seen.api.gateway, OWNER, which, **more))


def test_what_is_done_is_done_there(seen):
    planned = destinations.accepted(seen, Which(FALLEN, "contoso"), dry_run=True)
    assert planned == here.accepted(seen.api.gateway, OWNER, Which(FALLEN, "contoso"), dry_run=True)
    done = destinations.accepted(seen, Which(FALLEN, "contoso"))
    assert done.destinations == plain(here.remembered(seen.api.gateway, OWNER, Which(FALLEN, "contoso")))
    assert done.destinations[0]["hosts"][0]["last"] == "none/none"
    assert done.destinations[0]["below"] == []
    forgotten = destinations.forgotten(seen, Which(), everything=True)
    assert len(forgotten) == 4
    assert here.remembered(seen.api.gateway, OWNER, Which()) == []


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        (Which("no domain"), Kind.INPUT),
        (Which(FALLEN), Kind.INPUT),
        (Which(), Kind.INPUT),
        (Which("nobody.example"), Kind.MISSING),
        (Which("good.example"), Kind.CONFLICT),
    ],
)
def test_what_is_refused_is_refused_alike(seen, which, kind):
    refusals = []
    for ask in (
        lambda: here.accepted(seen.api.gateway, OWNER, which),
        lambda: destinations.accepted(seen, which),
    ):
        with pytest.raises(Refusal) as refused:
            ask()
        refusals.append((refused.value.kind, refused.value.text))
    assert refusals == [(kind, refusals[0][1])] * 2


def test_a_tenant_has_its_own(seen):
    seen.api.who = Principal("tim", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
    assert {one["organization"] for one in destinations.remembered(seen, Which())} == {"fabrikam"}
    assert len(destinations.forgotten(seen, Which(), everything=True)) == 2
    assert len(here.remembered(seen.api.gateway, OWNER, Which())) == 2
    seen.api.who = Principal("tim", frozenset({Scope.READ, Scope.QUEUE}), frozenset({"contoso"}))
    with pytest.raises(Refusal, match="'connectors' is needed"):
        destinations.forgotten(seen, Which(), everything=True)
