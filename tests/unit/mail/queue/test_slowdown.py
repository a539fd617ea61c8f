from __future__ import annotations

import time

import pytest

from gatepost.mail.model.slowed_next_hop import SlowedNextHop
from gatepost.mail.queue.slowdown import Meter, Slowdowns, asks_to_slow_down
from gatepost.protocols.smtp.replies import Reply


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "asks"),
    [
        (421, "4.7.0", "mx closes the connection", True),
        (421, "4.3.2", "Service shutting down", False),
        (421, "", "Too many concurrent connections", True),
        (450, "4.7.1", "Error: too much mail from 192.0.2.1", True),
        (450, "4.7.1", "Error: too many recipients from 192.0.2.1", True),
        (451, "4.7.500", "Server busy. Please try again later from [192.0.2.1]. (S77)", True),
        (421, "4.7.28", "Our system has detected an unusual rate of mail", True),
        (451, "4.7.1", "You have exceeded the sending rate", True),
        (450, "4.7.1", "Greylisted, try again", False),
        (452, "4.5.3", "Too many recipients", False),
        (450, "4.2.1", "The user receives mail at a rate limit", False),
        (452, "4.3.4", "message size limit exceeded", False),
        (550, "5.7.1", "too many messages", False),
        (250, "2.0.0", "OK", False),
    ],
)
def test_replies_that_ask_for_less(code, enhanced, text, asks):
    assert asks_to_slow_down(Reply(code, enhanced, (text,))) is asks


def test_no_reply_takes_long():
    """The word was read to its end from each "exceed" in it: 4000 letters took 14 ms, for each recipient."""
    reply = Reply(450, "4.7.1", ("exceed" * 3000,))
    began = time.process_time()
    for _ in range(10):
        assert not asks_to_slow_down(reply)
    assert time.process_time() - began < 0.5


def test_the_rate_is_halved_and_comes_back():
    slow = Slowdowns()
    assert (bool(slow), slow.of("a")) == (False, None)
    slow.refused("a", 100.0, 421, 1000.0)
    assert (slow.of("a").rate, slow.changed, bool(slow)) == (50.0, True, True)
    slow.refused("a", 40.0, 450, 1005.0)  # other lanes met the same
    assert (slow.of("a").rate, slow.of("a").code) == (50.0, 450)
    slow.refused("a", 40.0, 450, 1015.0)
    assert slow.of("a").rate == 25.0
    slow.answered("a", 1020.0)
    slow.answered("b", 1020.0)
    assert slow.of("a").rate == 25.0
    for step in range(1, 6):
        slow.answered("a", 1020.0 + 30 * step)
    assert slow.of("a").rate == pytest.approx(25.0 * 1.5**5)
    slow.answered("a", 1300.0)
    assert slow.of("a") is None


def test_it_falls_to_a_part_and_never_to_nothing():
    slow = Slowdowns()
    for turn in range(20):
        slow.refused("a", 320.0, 421, 1000.0 + 20 * turn)
        slow.refused("b", 1.0, 421, 1000.0 + 20 * turn)
    assert (slow.of("a").rate, slow.of("b").rate) == (20.0, 1.25)


def test_an_administrator_may_have_one_message_tried():
    slow = Slowdowns([SlowedNextHop("a", 1.0, 20.0, 1000.0, 1000.0, 421, 1060.0)])
    slow.open("b", 1000.0)
    slow.open("a", 1000.0)
    assert slow.of("a").wait(1000.0) == 0.0


def test_many_orders_at_once_do_not_end_the_slowdown():
    slow = Slowdowns([SlowedNextHop("a", 1.0, 20.0, 1000.0, 1000.0, 421, 1060.0)])
    sent = 0
    for tenth in range(30):
        now = 1000.0 + tenth / 10
        slow.open("a", now)
        if not slow.of("a").wait(now):
            sent += 1
            slow.of("a").sent(now)
    assert sent == 3
    slow.open("a", 500.0)  # the clock was put back
    assert slow.of("a").wait(500.0) == 0.0


def test_old_ones_are_forgotten_and_their_number_is_bounded():
    slow = Slowdowns([SlowedNextHop("a", 1.0, 20.0, 1000.0, 1000.0, 421)])
    assert [hop.next_hop for hop in slow.listed(2000.0)] == ["a"]
    assert slow.listed(10_000.0) == ()
    slow.refused("a", 100.0, 421, 10_000.0)
    assert slow.of("a").rate == 50.0
    for number in range(1000):
        slow.refused(str(number), 1.0, 421, 10_000.0)
    assert slow.of("a") is None
    assert len(slow.listed(10_000.0)) == 1000


def test_a_meter_counts_the_last_minute():
    meter = Meter()
    for _ in range(30):
        meter.count(600.0)
    assert meter.rate(600.0) == 30
    assert meter.rate(690.0) == 15
    assert meter.rate(900.0) == 0
