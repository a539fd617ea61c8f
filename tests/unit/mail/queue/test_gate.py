from __future__ import annotations

from gatepost.mail.queue.gate import Gate


def test_it_closes_with_each_failure_and_opens_with_a_success(make):
    gate = Gate()
    assert not gate.closed(0.0)
    gate.fail(make.silence, 100.0, "contoso")
    gate.fail(make.later, 120.0, "contoso")
    assert (gate.failures, gate.reply, gate.closed(119.9), gate.closed(120.0)) == (2, make.later, True, False)
    gate.recover()
    assert (gate.failures, gate.reply, gate.closed(0.0)) == (0, None, False)


def test_failures_matter_for_an_hour_beyond_the_gate(make):
    gate = Gate()
    assert not gate.matters(0.0)
    gate.fail(make.silence, 100.0, "contoso")
    assert gate.matters(3700.0)
    assert not gate.matters(3700.1)


def test_an_administrator_opens_it_and_the_failures_count_on(make):
    gate = Gate()
    gate.fail(make.silence, 100.0, "contoso")
    gate.open()
    assert (gate.closed(0.0), gate.failures) == (False, 1)


def test_only_the_organization_whose_mail_failed_hears_hosts_and_words(make):
    gate = Gate()
    assert gate.reply_for("contoso") is None
    gate.fail(make.silence, 100.0, "contoso")
    assert gate.reply_for("contoso") == make.silence
    other = gate.reply_for("fabrikam")
    assert (other.code, other.enhanced) == (make.silence.code, make.silence.enhanced)
    assert other.lines == ("The next hop did not answer a moment ago",)


def test_the_first_attempt_after_each_failure_is_a_probe_until_a_success(make):
    gate = Gate()
    for organization in ("contoso", "fabrikam", "contoso"):
        gate.fail(make.silence, 100.0, organization)
        assert not gate.probed
        gate.probe(organization)
        assert gate.probed
    assert gate.probes == {"contoso": 2, "fabrikam": 1}
    gate.recover()
    assert gate.probes == {}
