from __future__ import annotations

from collections import Counter

from gatepost.mail.queue.backlog import Backlog, Rotation


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
