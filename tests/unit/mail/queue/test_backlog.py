from __future__ import annotations

from collections import Counter

from gatepost.mail.queue.backlog import Backlog, Rotation
from gatepost.mail.queue.gate import Gate


def test_what_failed_is_probed_by_one_alone(make):
    backlog = Backlog("contoso/partner.example", "")
    assert not backlog.offers(0.0)
    backlog.ready[1] = make.delivery(1)
    assert backlog.offers(0.0)
    backlog.gate.fail(make.silence, 10.0, "contoso")
    assert not backlog.offers(5.0)
    assert backlog.offers(10.0)
    backlog.running = 1
    assert not backlog.offers(10.0)
    backlog.gate.recover()
    assert backlog.offers(10.0)


def test_it_is_forgotten_when_nothing_is_known(make):
    backlog = Backlog("contoso/partner.example", "")
    assert backlog.forgettable(0.0)
    backlog.ready[1] = make.delivery(1)
    assert not backlog.forgettable(0.0)
    backlog.ready.clear()
    backlog.running = 1
    assert not backlog.forgettable(0.0)
    backlog.running = 0
    backlog.gate.fail(make.silence, 10.0, "contoso")
    assert not backlog.forgettable(10.0)


def test_organizations_take_turns_and_in_each_its_destinations():
    rotation = Rotation()
    many = [Backlog(f"large/d{number}.example", "") for number in range(50)]
    few = Backlog("small/one.example", "")
    for backlog in (*many, few):
        rotation.put(backlog)
        rotation.put(backlog)  # has no second place
    assert rotation
    turns = Counter()
    for _ in range(20):
        backlog = rotation.take()
        turns[backlog.organization] += 1
        rotation.put(backlog)
    assert turns == {"large": 10, "small": 10}
    taken = [rotation.take() for _ in range(51)]
    assert set(taken) == {*many, few}
    assert rotation.take() is None
    assert not rotation


def test_an_organization_that_is_full_gets_no_turn():
    rotation = Rotation()
    assert rotation.first(()) is None
    for destination in ("large/a.example", "large/b.example", "small/a.example"):
        rotation.put(Backlog(destination, ""))
    assert list(rotation.organizations) == ["large", "small"]
    assert rotation.first({"large"}) == "small"
    assert rotation.first({"large", "small"}) is None
    assert rotation.take({"large", "small"}) is None
    assert rotation.take({"large"}).destination == "small/a.example"
    assert rotation.take({"large"}) is None
    assert [rotation.take().destination for _ in range(2)] == ["large/a.example", "large/b.example"]


def test_after_a_failure_it_is_another_message_each_time(make):
    backlog = Backlog("contoso/partner.example", "")
    backlog.ready.update((number, make.delivery(number)) for number in (7, 3, 5))
    assert backlog.first() == 7, "in their order"
    backlog.gate.fail(make.silence, 10.0, "contoso")
    turns = []
    for _ in range(4):
        backlog.last = backlog.first()
        turns.append(backlog.last)
    assert turns == [3, 5, 7, 3]
    del backlog.ready[3], backlog.ready[5]
    assert backlog.first() == 7


def rotation_of(make, *destinations):
    rotation, backlogs = Rotation(), [Backlog(destination, "") for destination in destinations]
    for number, backlog in enumerate(backlogs, 1):
        backlog.ready[number] = make.delivery(number)
        rotation.put(backlog)
    return rotation, backlogs


def test_the_first_probe_of_a_next_hop_is_of_who_had_fewest_and_of_what_failed_least(make):
    rotation, (poison, good, other) = rotation_of(make, "large/a.example", "large/b.example", "small/a.example")
    gate = Gate()
    gate.fail(make.silence, 10.0, "large")
    poison.gate.fail(make.silence, 10.0, "large")
    rotation.put_probe_first(gate, (), 10.0)
    assert rotation.first(()) == "large"
    taken = rotation.take()
    assert taken is good, "it failed least by itself"
    rotation.put(taken)
    gate.fail(make.silence, 20.0, "large")
    rotation.put_probe_first(gate, (), 20.0)
    assert rotation.take() is other, "its organization had no probe yet"
    assert gate.probes == {"large": 1, "small": 1}


def test_where_none_may_be_tried_no_probe_is_noted(make):
    rotation, backlogs = rotation_of(make, "large/a.example", "small/a.example")
    gate = Gate()
    gate.fail(make.silence, 10.0, "large")
    backlogs[1].gate.fail(make.silence, 90.0, "small")
    rotation.put_probe_first(gate, {"large"}, 10.0)
    assert (gate.probes, gate.probed, list(rotation.organizations)) == ({}, False, ["large", "small"])
