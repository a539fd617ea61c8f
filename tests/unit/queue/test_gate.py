from __future__ import annotations

from gatepost.queue.gate import Gate


def test_it_closes_with_each_failure_and_opens_with_a_success(make):
    gate = Gate()
    assert not gate.closed(0.0)
    gate.fail(make.silence, 100.0)
    gate.fail(make.later, 120.0)
    assert (gate.failures, gate.reply, gate.closed(119.9), gate.closed(120.0)) == (2, make.later, True, False)
    gate.recover()
    assert (gate.failures, gate.reply, gate.closed(0.0)) == (0, None, False)


def test_failures_matter_for_an_hour_beyond_the_gate(make):
    gate = Gate()
    assert not gate.matters(0.0)
    gate.fail(make.silence, 100.0)
    assert gate.matters(3700.0)
    assert not gate.matters(3700.1)


def test_an_administrator_opens_it_and_the_failures_count_on(make):
    gate = Gate()
    gate.fail(make.silence, 100.0)
    gate.open()
    assert (gate.closed(0.0), gate.failures) == (False, 1)
