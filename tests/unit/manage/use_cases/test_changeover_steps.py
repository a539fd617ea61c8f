from __future__ import annotations

import time

import pytest

from gatepost.analysis.checks.gates import Gate, Light
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_intake import NewCertificate, add_certificate
from gatepost.manage.use_cases.certificate_removal import remove
from gatepost.manage.use_cases.certificates import certificate, history, in_order, listing, presented_where
from gatepost.manage.use_cases.changeover import concerned, look, looks, next_steps, notice, standing, status_record
from gatepost.manage.use_cases.changeover_steps import GatesClosed
from gatepost.manage.use_cases.inventory import inventory_of, listed_certificates
from gatepost.manage.use_cases.refusal import Busy, Kind, Refusal
from gatepost.pki.certificates.entry import Purpose, State

ANN = Principal("ann", frozenset({Scope.OWNER}))
NAME = "mx.gate.example"


def added(gateway, root, *names, **more):
    chain, key = root.issue(list(names) or [NAME])
    return add_certificate(gateway, ANN, NewCertificate(chain, "chain", key, "key", **more)).entry


@pytest.fixture
def pair(sealed, root):
    return added(sealed, root), added(sealed, root)


def state(gateway, entry):
    return certificate(gateway, entry.id).entry.state


def test_gates_are_told_of_one_by_one(sealed, pair):
    heard = []
    found = look(sealed, ANN, pair[1].id, lambda gate, findings: heard.append((gate, tuple(findings))))
    assert {gate for gate, _ in heard} == set(Gate)
    assert len(heard) == len(Gate)
    told = {one for _, findings in heard for one in findings}
    assert told == set(found.report.findings)
    assert found.report.light is not Light.GREEN, "the DNS does not answer"
    assert [one.name for one in found.partners] == ["bank.example"]
    assert status_record(found)["gates"]["id"] == pair[1].id


def test_a_closed_gate_refuses_and_a_reason_goes_into_the_history(sealed, pair):
    old, new = pair
    with pytest.raises(GatesClosed) as caught:
        steps.switch(sealed, ANN, new.id)
    assert caught.value.report.stopping
    assert state(sealed, new) is State.NEXT
    tried = steps.switch(sealed, ANN, new.id, force="in haste", dry_run=True)
    assert (tried.new.state, state(sealed, new)) == (State.CURRENT, State.NEXT)
    done = steps.switch(sealed, ANN, new.id, force="in haste")
    assert ([one.id for one in done.olds], done.is_planned) == ([old.id], False)
    (change, *_) = history(sealed, 9, new.id)
    assert change.author == "ann"
    assert change.note.startswith("changeover: switched; forced: in haste (")
    assert standing(sealed, new.id).can_roll_back
    assert "roll-back" in next(next_steps(*standing(sealed, new.id)[:2], None, now=time.time()))
    with pytest.raises(Refusal) as caught:
        steps.switch(sealed, ANN, new.id, force="once more")
    assert caught.value.kind is Kind.CONFLICT


def test_the_way_back_and_the_end(sealed, pair):
    old, new = pair
    steps.switch(sealed, ANN, new.id, force="x")
    with pytest.raises(Refusal) as caught:
        steps.withdraw(sealed, ANN, old.id)
    assert caught.value.kind is Kind.CONFLICT
    back = steps.roll_back(sealed, ANN, new.id, note="too early")
    assert [one.id for one in back.current] == [old.id]
    assert (state(sealed, old), state(sealed, new)) == (State.CURRENT, State.NEXT)
    with pytest.raises(Refusal):
        steps.roll_back(sealed, ANN)
    steps.switch(sealed, ANN, new.id, force="x")
    assert steps.withdraw(sealed, ANN, old.id, force="stolen", dry_run=True).state is State.RETIRED
    assert state(sealed, old) is State.DEPRECATED
    assert steps.withdraw(sealed, ANN, old.id, force="stolen").state is State.RETIRED
    assert [one.id for one in in_order(listing(sealed).entries, Purpose.SERVER)] == [new.id, old.id]


def test_a_time_is_planned_and_called_off(sealed, pair):
    _, new = pair
    for at in (time.time() - 1, 0.0, -1e300, 6e14, float("inf"), float("nan")):
        with pytest.raises(Refusal) as caught:
            steps.switch(sealed, ANN, new.id, at=at)
        assert [one.path for one in caught.value.errors] == ["at"]
    assert steps.switch(sealed, ANN, new.id, at=time.time() + 3600).is_planned
    assert steps.cancel(sealed, ANN).id == new.id
    with pytest.raises(Refusal):
        steps.cancel(sealed, ANN, new.id)


def test_partners_are_told_or_need_not_be(sealed, pair):
    _, new = pair
    assert notice(sealed, ANN, new.id).text.startswith("Subject: ")
    for wrong in ((), ("nobody.example",)):
        with pytest.raises(Refusal) as caught:
            steps.tell(sealed, ANN, new.id, wrong)
        assert [one.path for one in caught.value.errors] == ["partners"]
    assert steps.tell(sealed, ANN, new.id, ["Bank.example"], waive=True, note="no pins").left == ()
    assert "need not be told: bank.example (no pins)" in history(sealed, 1)[0].note


def test_what_is_under_way(sealed, root, pair):
    old, new = pair
    with inventory_of(sealed, keys=False) as inventory:
        found = listed_certificates(inventory, sealed)
    assert [one.id for one in concerned(found, "", now=time.time())] == [new.id]
    assert [one.id for one in concerned(found, old.id, now=time.time())] == [old.id]
    assert steps.stage(sealed, ANN, new.id).replaces == (old.id,)
    remove(sealed, ANN, new.id)
    assert looks(sealed, ANN) == []


def test_who_would_miss_it(sealed, root):
    current = added(sealed, root)
    client = added(sealed, root, "c.example", client=True, organization="contoso", label="to-bank")
    assert presented_where(sealed, client) == ("connector out",)
    for one, why in ((current, "nothing else that is current bears"), (client, "outbound connectors name it: out")):
        with pytest.raises(Refusal, match=why) as caught:
            remove(sealed, ANN, one.id)
        assert caught.value.kind is Kind.CONFLICT
    assert remove(sealed, ANN, current.id, force="a drill") == f"{current.id}: removed"
    with pytest.raises(Refusal) as caught:
        certificate(sealed, current.id)
    assert caught.value.kind is Kind.MISSING


def test_a_switch_waits_for_its_turn_at_the_gates(sealed, pair, monkeypatch):
    monkeypatch.setattr(steps, "_PATIENCE", 0.01)
    with sealed.gates.slot(ANN.name), sealed.gates.slot(ANN.name), pytest.raises(Busy, match="under way"):
        steps.switch(sealed, ANN, pair[1].id, force="at once", dry_run=True)
    assert steps.switch(sealed, ANN, pair[1].id, force="at once", dry_run=True).new.id == pair[1].id
