from __future__ import annotations

import pytest

from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.mail.queue.pacing import Pause
from gatepost.mail.queue.waiting import Waiting
from gatepost.protocols.smtp.replies import Reply

NO_NAME = Reply(450, "4.4.312", ("DNS query failed",))

A, B = "contoso/a.example", "contoso/b.example"


class Settler:
    def __init__(self):
        self.put = []

    def put_back(self, delivery, due):
        self.put.append((delivery.id, due))


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def waiting(now):
    return Waiting(MemoryBudget(QueueLimits()), Settler(), lambda: now[0])


def fill(waiting, make, *numbers, destination=A, hop="relay"):
    queue = waiting.hop(hop)
    backlog = queue.backlog(destination, "")
    for number in numbers:
        waiting.add(queue, backlog, make.delivery(number, destination=destination))
    return queue, backlog


def test_a_hop_is_made_once(waiting):
    assert waiting.hop("relay") is waiting.hop("relay")
    assert list(waiting.hops) == ["relay"]


def test_what_comes_in_is_counted_until_it_leaves(waiting, make):
    hop, backlog = fill(waiting, make, 1, 2)
    assert (waiting.window.waiting, hop.size, set(waiting.places)) == (2, 2, {1, 2})
    assert waiting.next(hop).members == [(backlog, make.delivery(1, destination=A))]
    assert (waiting.window.waiting, set(waiting.places)) == (1, {2})
    waiting.next(hop)
    assert waiting.next(hop) is None
    assert waiting.window.waiting == 0


def test_what_is_put_first_comes_first(waiting, make):
    hop, backlog = fill(waiting, make, 1, 2)
    waiting.add_again(hop, backlog, make.delivery(3, destination=A))
    assert [waiting.next(hop).deliveries[0].id for _ in range(3)] == [3, 1, 2]


def test_what_is_not_begun_can_be_taken_out(waiting, make):
    hop, backlog = fill(waiting, make, 1, 2)
    assert waiting.remove(2).id == 2
    assert waiting.remove(2) is None
    assert waiting.remove(9) is None
    assert (waiting.window.waiting, hop.size) == (1, 1)
    backlog.ready.clear()  # its place is known still, and it is not there
    assert waiting.remove(1) is None
    assert waiting.window.waiting == 1


def test_all_of_some_backlogs_goes_back(waiting, make):
    _, first = fill(waiting, make, 1, 2)
    _, second = fill(waiting, make, 3, destination=B)
    fill(waiting, make, 4, hop="other")
    waiting.put_back([first, second], 500.0)
    assert waiting.settler.put == [(1, 500.0), (2, 500.0), (3, 500.0)]
    assert set(waiting.places) == {4}
    assert waiting.take_ready([first]) == []


def test_only_a_hop_of_which_nothing_matters_is_forgotten(waiting, make, now):
    hop, backlog = fill(waiting, make, 1)
    waiting.forget_if_idle(hop)
    assert "relay" in waiting.hops
    waiting.remove(1)
    hop.tidy(backlog, now[0])
    hop.gate.fail(make.silence, 110.0, "contoso")
    waiting.forget_the_idle()
    assert "relay" in waiting.hops
    now[0] = 110.0 + 3601
    waiting.forget_the_idle()
    assert waiting.hops == {}
    waiting.forget_if_idle(hop)  # once more does no harm


def test_failures_of_a_destination_are_forgotten_in_time(waiting, make, now):
    hop = waiting.hop("relay")
    backlog = hop.backlog(A, "")
    backlog.gate.fail(make.silence, 110.0, "contoso")
    waiting.failing[backlog] = hop
    waiting.forget_the_idle()
    assert waiting.failing == {backlog: hop}
    assert waiting.hops == {"relay": hop}
    now[0] = 110.0 + 3601
    waiting.forget_the_idle()
    assert (waiting.failing, hop.backlogs, waiting.hops) == ({}, {}, {})


def test_what_is_left_alone_is_counted_and_no_longer_than_its_failures_say(waiting, make, now):
    hop = waiting.hop("relay")
    hop.gate.fail(make.silence, 900.0, "contoso")
    waiting.hop("open")
    backlog = waiting.hop("open").backlog(A, "")
    for _ in range(3):
        backlog.gate.fail(make.silence, 900.0, "contoso")
    waiting.failing[backlog] = waiting.hop("open")
    assert waiting.backing_off() == 2
    waiting.shorten_gates(100.0, lambda failures: 50.0 * failures)
    assert (hop.gate.until, backlog.gate.until, waiting.hop("open").gate.until) == (150.0, 250.0, 0.0)
    now[0] = 150.0
    assert waiting.backing_off() == 1


def test_gates_are_opened_for_a_destination_or_after_a_reply(waiting, make):
    relay, _ = fill(waiting, make, 1)
    other, backlog = fill(waiting, make, 2, destination=B, hop="other")
    waiting.failing[backlog] = other
    gates = (relay.gate, other.gate, backlog.gate)

    def close():
        for gate, reply in zip(gates, (make.silence, NO_NAME, make.silence), strict=True):
            gate.fail(reply, 900.0, "contoso")

    def closed():
        return [gate.closed(100.0) for gate in gates]

    close()
    assert waiting.open_gates(A, None) == set()
    assert waiting.open_gates(A, "unknown") == set()
    assert closed() == [True] * 3
    assert waiting.open_gates(A, "relay") == {relay}
    assert closed() == [False, True, True]
    assert waiting.open_gates(B, "relay") == {relay, other}
    assert closed() == [False] * 3
    close()
    waiting.hop("idle")
    waiting.open_gates_after("450 4.4.312 ")
    assert closed() == [True, False, True]


def test_limits_are_asked_and_followed(now, make):
    followed = []

    class Limits:
        def admit(self, hop, backlog, at):
            return at > 100.0

        def follow(self, hop):
            followed.append(hop)

    waiting = Waiting(MemoryBudget(QueueLimits()), Settler(), lambda: now[0], Limits())
    hop, _ = fill(waiting, make, 1)
    assert waiting.next(hop) is None
    now[0] = 101.0
    hop.resume()
    assert waiting.next(hop).deliveries[0].id == 1
    assert followed == [hop, hop]


class Slowed:
    """Limits of a next hop, three deliveries at most, from the time when it is told of an attempt that says so."""

    def __init__(self):
        self.told = []

    def learn(self, hop, outcomes, *, alone):
        self.told.append((hop.name, outcomes, alone))
        return outcomes == ["too much"]

    def full(self, hop, backlog):
        return Pause("slowed", 9.0) if len(backlog.ready) >= 3 else None

    def enough(self, hop, backlog):
        return 3


def test_what_a_slowed_hop_need_not_have_in_memory_leaves_it_and_says_why(now, make):
    waiting = Waiting(MemoryBudget(QueueLimits()), Settler(), lambda: now[0], Slowed())
    hop, backlog = fill(waiting, make, *range(1, 7))
    fill(waiting, make, 11, 12, destination=B)
    last = backlog.ready[6]
    last.attempts, last.last_error = 1, "450 4.7.1 too much mail"
    waits = list(backlog.ready.values())[3:]
    waiting.learn(hop, ["OK"], alone=False)
    assert (waiting.settler.put, hop.size) == ([], 8)
    waiting.learn(hop, ["too much"], alone=True)
    assert waiting.settler.put == [(4, 109.0), (5, 109.0), (6, 109.0)]
    assert [delivery.last_error for delivery in waits] == ["slowed", "slowed", "450 4.7.1 too much mail"]
    assert (set(waiting.places), hop.size, waiting.window.waiting) == ({1, 2, 3, 11, 12}, 5, 5)
    assert waiting.pacing.told == [("relay", ["OK"], False), ("relay", ["too much"], True)]


def test_without_limits_nothing_is_slowed(waiting, make):
    hop, _ = fill(waiting, make, 1)
    waiting.learn(hop, ["too much"], alone=True)
    assert hop.size == 1


def test_an_order_to_retry_opens_the_same_hosts_from_any_source_address(now, make):
    """A rule may send some of a destination's mail by another connector, with an address of its own."""
    waiting = Waiting(MemoryBudget(QueueLimits()), Settler(), lambda: now[0])
    names = ("mx1:25,mx2:25", "mx1:25,mx2:25 from 192.0.2.7", "mx1:25")
    usual, own, other = hops = [waiting.hop(name) for name in names]
    for hop in hops:
        hop.gate.fail(Reply(450, "4.4.1", ("silent",)), 200.0, "contoso")
    assert waiting.open_gates(A, usual.name) == {usual, own}
    assert [hop.gate.closed(100.0) for hop in hops] == [False, False, True]
    assert waiting.open_gates(A, own.name) == {usual, own}
    now[0] = 1e6
    waiting.forget_the_idle()
    assert waiting.open_gates(A, usual.name) == set()
    assert (waiting.hops, other.lanes) == ({}, 0)


def test_backlogs_whose_mail_was_put_back_are_forgotten(waiting, make, now):
    """As of a relay that failed, and answers again: mail for a thousand domains was put back, and none comes again."""
    for number in range(1000):
        hop, _ = fill(waiting, make, number + 1, destination=f"contoso/{number}.example")
    waiting.put_back(hop.backlogs.values(), 500.0)
    hop.gate.failures = 1
    waiting.forget_the_idle()
    assert len(hop.backlogs) == 1000
    hop.gate.failures = 0
    fill(waiting, make, 2000, destination=B)
    waiting.forget_the_idle()
    assert list(hop.backlogs) == [(B, "")]
    waiting.put_back(hop.backlogs.values(), 500.0)
    waiting.forget_the_idle()
    assert (waiting.hops, waiting.window.waiting) == ({}, 0)


def test_a_delivery_that_an_administrator_wants_tried_has_the_next_turn(waiting, make):
    hop, _ = fill(waiting, make, 1, 2)
    fill(waiting, make, 3, 4, destination=B)
    waiting.put_first(B, 4)
    assert [waiting.next(hop).deliveries[0].id for _ in range(4)] == [4, 1, 3, 2]
    assert waiting.ordered == {}


def test_a_hop_that_is_sent_less_is_opened_for_it(now, make):
    opened = []

    class Limits:
        def admit(self, hop, backlog, at):
            return bool(opened)

        def open(self, hop):
            opened.append(hop)

        def follow(self, hop):
            pass

    waiting = Waiting(MemoryBudget(QueueLimits()), Settler(), lambda: now[0], Limits())
    hop, _ = fill(waiting, make, 1)
    assert waiting.next(hop) is None
    waiting.put_first(A, 1)
    assert (opened, waiting.next(hop).deliveries[0].id) == ([hop], 1)


def test_it_has_the_next_turn_once_it_comes_from_the_store(waiting, make):
    hop, _ = fill(waiting, make, 1, 2)
    waiting.put_first(B, 0)
    fill(waiting, make, 3, 4, destination=B)
    assert waiting.ordered == {}
    assert [waiting.next(hop).deliveries[0].id for _ in range(4)] == [3, 1, 4, 2]
    for number in range(1001):
        waiting.put_first(f"contoso/{number}.example", 0)
    assert (len(waiting.ordered), "contoso/0.example" in waiting.ordered) == (1000, False)
