from __future__ import annotations

import time

import pytest

from gatepost.manage.remote import changeover_steps as steps
from gatepost.manage.use_cases.certificate_intake import add_certificate
from gatepost.manage.use_cases.certificates import certificate
from gatepost.manage.use_cases.changeover_steps import GatesClosed, switch_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import State

from .conftest import OWNER, new_certificate


@pytest.fixture
def pair(sealed):
    return [add_certificate(sealed, OWNER, new_certificate()).entry.id for _ in range(2)]


def state(sealed, number):
    return certificate(sealed, number).entry.state


def test_from_one_to_the_next_and_back(safe, sealed, pair):
    old, new = pair
    assert steps.stage(safe, new, [old]).replaces == (old,)
    told = steps.tell(safe, new, ["bank.example"], note="by mail")
    assert (told.entry.id, told.told, told.left) == (new, ("bank.example",), ())
    with pytest.raises(GatesClosed) as closed:
        steps.switch(safe, new)
    assert closed.value.report.entry.id == new
    assert closed.value.options == ("force",)
    planned = steps.switch(safe, new, at=time.time() + 3600.4)
    assert planned.is_planned
    assert planned.new == certificate(sealed, new).entry
    assert steps.cancel(safe).id == new
    tried = steps.switch(safe, new, force="a drill", dry_run=True)
    assert (tried.new.state, state(sealed, new)) == (State.CURRENT, State.NEXT)
    done = steps.switch(safe, new, force="a drill")
    assert (done.new.id, [one.id for one in done.olds]) == (new, [old])
    assert switch_record(done)["switched"]
    back = steps.roll_back(safe, note="x")
    assert ([one.id for one in back.current], back.new.id) == ([old], new)
    steps.switch(safe, new, force="a drill")
    assert steps.withdraw(safe, old, force="stolen").state is State.RETIRED
    assert state(sealed, old) is State.RETIRED


def test_what_is_refused(safe, pair):
    old, new = pair
    for refusing in (
        lambda: steps.cancel(safe, new),
        lambda: steps.roll_back(safe),
        lambda: steps.withdraw(safe, old),
        lambda: steps.switch(safe, old),
    ):
        with pytest.raises(Refusal) as refused:
            refusing()
        assert refused.value.kind in {Kind.CONFLICT, Kind.BLOCKED}
    with pytest.raises(Refusal) as missing:
        steps.stage(safe, "no such/label")
    assert missing.value.kind is Kind.MISSING
    with pytest.raises(Refusal, match="no such partner"):
        steps.tell(safe, new, ["nobody.example"])
