from __future__ import annotations

import pytest

from gatepost.queue.destination import Destination


def test_it_is_forgotten_only_when_nothing_is_known(make):
    destination = Destination("contoso/partner.example")
    assert destination.forgettable(0.0)
    for name, value in [("more", True), ("lanes", 1), ("leasing", True), ("sweeping", True), ("queued", True)]:
        setattr(destination, name, value)
        assert not destination.forgettable(0.0), name
        setattr(destination, name, 0)
    destination.ready.append(make.delivery())
    assert not destination.forgettable(0.0)


def test_failures_are_remembered_for_an_hour_beyond_the_gate(make):
    destination = Destination("x")
    destination.fail(make.silence, 100.0)
    assert not destination.forgettable(100.0)
    assert not destination.forgettable(3700.0)
    assert destination.forgettable(3700.1)
    destination.recover()
    assert destination.forgettable(0.0)
    assert (destination.gate, destination.failures, destination.reply) == (0.0, 0, None)


@pytest.mark.parametrize(
    ("failures", "lanes", "allowed"), [(0, 0, True), (0, 19, True), (0, 20, False), (1, 0, True), (1, 1, False)]
)
def test_one_lane_probes_what_failed(failures, lanes, allowed):
    destination = Destination("x")
    destination.failures, destination.lanes = failures, lanes
    assert destination.allows_lane(20) is allowed


def test_take(make):
    destination = Destination("x")
    one, two = make.delivery(1), make.delivery(2)
    destination.ready.extend([one, two])
    assert destination.take(3) is None
    assert destination.take(2) is two
    assert list(destination.ready) == [one]


def test_what_wants_a_lane(make):
    destination = Destination("x")
    assert not destination.wants_lane
    destination.more = True
    assert destination.wants_lane
    destination.leasing = True
    assert not destination.wants_lane
    destination.ready.append(make.delivery())
    assert destination.wants_lane
