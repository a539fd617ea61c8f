from __future__ import annotations

import time

import pytest
from tests.unit.manage.calls import ANN, Forgetful, add_entry, run

from gatepost.analysis.checks.gates import GateCheck, Light
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_removal import remove_certificate
from gatepost.manage.use_cases.certificates import certificate, certificate_listing, in_order
from gatepost.manage.use_cases.changeover import (
    GatesLimit,
    changeover_status,
    concerned,
    get_changeover,
    get_notice,
    list_changeovers,
    next_steps,
)
from gatepost.manage.use_cases.changeover_steps import GatesClosed
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.inventory import history, inventory_of, listed_certificates
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.pki.certificates.entry import Purpose, State

NAME = "mx.gate.example"


@pytest.fixture
def pair(sealed, root):
    return add_entry(sealed, root), add_entry(sealed, root)


def state(gateway, entry):
    return certificate(gateway, entry.id).entry.state


def test_gates_are_told_of_one_by_one(sealed, pair):
    heard = []
    context = Context(sealed, ANN, Forgetful, on_progress=lambda gate, findings: heard.append((gate, tuple(findings))))
    found = execute(get_changeover, context, get_changeover.request(certificate=pair[1].id))
    assert {gate for gate, _ in heard} == set(GateCheck)
    assert len(heard) == len(GateCheck)
    told = {one for _, findings in heard for one in findings}
    assert told == set(found.report.findings)
    assert found.report.light is not Light.GREEN, "the DNS does not answer"
    assert [one.name for one in found.partners] == ["bank.example"]


def test_a_closed_gate_refuses_and_a_reason_goes_into_the_history(sealed, pair):
    old, new = pair
    with pytest.raises(GatesClosed) as caught:
        run(sealed, steps.switch_certificate, certificate=new.id)
    assert caught.value.report.stopping
    assert state(sealed, new) is State.NEXT
    tried = run(sealed, steps.switch_certificate, certificate=new.id, force="in haste", dry_run=True)
    assert (tried.certificates[0].state, state(sealed, new)) == (State.CURRENT, State.NEXT)
    done = run(sealed, steps.switch_certificate, certificate=new.id, force="in haste", note="renewed")
    assert (done.replaced, done.switched) == ([old.id], True)
    (change, *_) = history(sealed, 9, new.id)
    assert change.author == "ann"
    assert change.note.startswith("changeover: switched: renewed; forced: in haste (")
    assert changeover_status(sealed, new.id).can_roll_back
    assert "roll-back" in next(next_steps(*changeover_status(sealed, new.id)[:2], None, now=time.time()))
    with pytest.raises(Refusal) as caught:
        run(sealed, steps.switch_certificate, certificate=new.id, force="once more")
    assert caught.value.kind is RefusalKind.CONFLICT


def test_the_way_back_and_the_end(sealed, pair):
    old, new = pair
    run(sealed, steps.switch_certificate, certificate=new.id, force="x")
    with pytest.raises(Refusal) as caught:
        run(sealed, steps.withdraw_certificate, certificate=old.id)
    assert caught.value.kind is RefusalKind.CONFLICT
    back = run(sealed, steps.roll_back_switch, certificate=new.id, note="too early")
    assert back.current == [old.id]
    assert (state(sealed, old), state(sealed, new)) == (State.CURRENT, State.NEXT)
    with pytest.raises(Refusal):
        run(sealed, steps.roll_back_last_switch)
    run(sealed, steps.switch_certificate, certificate=new.id, force="x")
    assert (
        run(sealed, steps.withdraw_certificate, certificate=old.id, force="stolen", dry_run=True).state == State.RETIRED
    )
    assert state(sealed, old) is State.DEPRECATED
    assert run(sealed, steps.withdraw_certificate, certificate=old.id, force="stolen").state == State.RETIRED
    assert [one.id for one in in_order(certificate_listing(sealed).entries, Purpose.SERVER)] == [new.id, old.id]


def test_a_time_is_planned_and_called_off(sealed, pair):
    _, new = pair
    for at in ("2020-01-01", "1970-01-01", "9999-12-31", "soon", "-1h", "9" * 64):
        with pytest.raises(Refusal) as caught:
            run(sealed, steps.switch_certificate, certificate=new.id, at=at)
        assert [one.path for one in caught.value.errors] == ["at"]
    assert run(sealed, steps.switch_certificate, certificate=new.id, at="1h").planned
    called_off = run(sealed, steps.cancel_only_switch)
    assert (called_off.id, called_off.switch_at) == (new.id, None)
    with pytest.raises(Refusal):
        run(sealed, steps.cancel_switch, certificate=new.id)


def test_partners_are_told_or_need_not_be(sealed, pair):
    _, new = pair
    assert run(sealed, get_notice, certificate=new.id).text.startswith("Subject: ")
    for wrong in ([], ["nobody.example"]):
        with pytest.raises(Refusal) as caught:
            run(sealed, steps.notify_partners, certificate=new.id, partners=wrong)
        assert [one.path for one in caught.value.errors] == ["partners"]
    given = {"partners": ["Bank.example"], "waive": True, "note": "no pins"}
    assert run(sealed, steps.notify_partners, certificate=new.id, **given).left == []
    assert "need not be told: bank.example (no pins)" in history(sealed, 1)[0].note


def test_what_is_under_way(sealed, root, pair):
    old, new = pair
    with inventory_of(sealed, keys=False) as inventory:
        found = listed_certificates(inventory, sealed)
    assert [one.id for one in concerned(found, "", now=time.time())] == [new.id]
    assert [one.id for one in concerned(found, old.id, now=time.time())] == [old.id]
    assert run(sealed, steps.stage_certificate, certificate=new.id).replaces == [old.id]
    run(sealed, remove_certificate, certificate=new.id)
    assert run(sealed, list_changeovers).items == []


def test_who_would_miss_it(sealed, root):
    current = add_entry(sealed, root)
    client = add_entry(sealed, root, "c.example", client=True, organization="contoso", label="to-bank")
    for one, why in ((current, "no other current certificate covers"), (client, "outbound connectors use it: out")):
        with pytest.raises(Refusal, match=why) as caught:
            run(sealed, remove_certificate, certificate=one.id)
        assert caught.value.kind is RefusalKind.CONFLICT
    assert run(sealed, remove_certificate, certificate=current.id, force="a drill").text == f"{current.id}: removed"
    with pytest.raises(Refusal) as caught:
        certificate(sealed, current.id)
    assert caught.value.kind is RefusalKind.MISSING


def test_a_switch_waits_for_its_turn_at_the_gates(sealed, pair, monkeypatch):
    monkeypatch.setattr(steps, "_PATIENCE", 0.01)
    limit = sealed.kept(GatesLimit)
    with limit.slot(ANN.name), limit.slot(ANN.name), pytest.raises(BusyRefusal, match="other checks are running"):
        run(sealed, steps.switch_certificate, certificate=pair[1].id, force="at once", dry_run=True)
    assert run(sealed, steps.switch_certificate, certificate=pair[1].id, force="at once", dry_run=True).id == pair[1].id
