from __future__ import annotations

from contextlib import ExitStack
from threading import Thread

import pytest

from gatepost.manage.access.principal import Principal
from gatepost.manage.use_cases.refusal import Busy, Kind
from gatepost.manage.use_cases.turns import Turns

ANN, BOB, CAT = (Principal(name, frozenset()) for name in ("ann", "bob", "cat"))


@pytest.fixture
def turns():
    return Turns(3, 2, "others look")


def test_few_at_a_time_and_fewer_of_one(turns):
    with ExitStack() as held:
        held.enter_context(turns.turn(ANN))
        held.enter_context(turns.turn(ANN))
        with pytest.raises(Busy, match="others look") as busy, turns.turn(ANN):
            pass
        assert (busy.value.kind, busy.value.again) == (Kind.CONFLICT, 15)
        held.enter_context(turns.turn(BOB))
        with pytest.raises(Busy), turns.turn(CAT):
            pass
    with turns.turn(ANN), turns.turn(ANN), turns.turn(CAT):
        pass
    assert not turns._taken, "nothing is remembered of who is done"


def test_a_turn_that_fails_ends_too(turns):
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), turns.turn(ANN):
            raise ValueError("no")
    assert not turns._taken


def test_who_is_patient_gets_the_next_turn(turns):
    got = []

    def wait():
        with turns.turn(ANN, 20.0):
            got.append("ann")

    with turns.turn(ANN), ExitStack() as other:
        other.enter_context(turns.turn(ANN))
        waiting = Thread(target=wait)
        waiting.start()
        with pytest.raises(Busy), turns.turn(ANN, 0.01):
            pass
        assert got == []
        other.close()
        waiting.join(20)
        assert got == ["ann"]
