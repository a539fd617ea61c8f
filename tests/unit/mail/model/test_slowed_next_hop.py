from __future__ import annotations

from gatepost.mail.model.slowed_next_hop import SlowedNextHop


def slowed(rate=30.0, name="relay:25"):
    return SlowedNextHop(name, rate, 60.0, 0.0, 0.0, 421)


def test_messages_follow_one_another_at_its_rate():
    hop = slowed()
    assert hop.wait(100.0) == 0.0
    hop.sent(100.0)
    assert (hop.wait(100.0), hop.wait(102.0)) == (2.0, 0.0)


def test_a_clock_that_is_put_back_blocks_nothing():
    hop = slowed()
    hop.sent(10_000.0)
    assert hop.wait(100.0) == 0.0


def test_what_is_kept_in_memory_and_why_the_rest_waits():
    hop = slowed()
    assert (hop.most_in_memory, hop.refill) == (5, 5.0)
    assert hop.reason == "slowed to 30 messages a minute after 421 from relay:25"
    assert slowed(1.0).reason == "slowed to 1 message a minute after 421 from relay:25"
    assert (slowed(1.0).most_in_memory, slowed(1.0).refill) == (2, 60.0)
    assert slowed(name="a" * 300).reason.endswith("a…")
