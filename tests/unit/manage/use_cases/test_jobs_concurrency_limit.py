from __future__ import annotations

from contextlib import ExitStack
from threading import Thread

import pytest

from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.refusal import BusyRefusal, RefusalKind

ANN, BOB, CAT = "ann", "bob", "cat"


@pytest.fixture
def limit():
    return ConcurrencyLimit(3, 2, "others look")


def test_few_at_a_time_and_fewer_of_one(limit):
    with ExitStack() as held:
        held.enter_context(limit.slot(ANN))
        held.enter_context(limit.slot(ANN))
        with pytest.raises(BusyRefusal, match="others look") as busy, limit.slot(ANN):
            pass
        assert (busy.value.kind, busy.value.again) == (RefusalKind.CONFLICT, 15)
        held.enter_context(limit.slot(BOB))
        with pytest.raises(BusyRefusal), limit.slot(CAT):
            pass
    with limit.slot(ANN), limit.slot(ANN), limit.slot(CAT):
        pass
    assert not limit._taken, "nothing is remembered of who is done"


def test_a_turn_that_fails_ends_too(limit):
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), limit.slot(ANN):
            raise ValueError("no")
    assert not limit._taken


def test_who_is_patient_gets_the_next_turn(limit):
    got = []

    def wait():
        with limit.slot(ANN, 20.0):
            got.append("ann")

    with limit.slot(ANN), ExitStack() as other:
        other.enter_context(limit.slot(ANN))
        waiting = Thread(target=wait)
        waiting.start()
        with pytest.raises(BusyRefusal), limit.slot(ANN, 0.01):
            pass
        assert got == []
        other.close()
        waiting.join(20)
        assert got == ["ann"]
