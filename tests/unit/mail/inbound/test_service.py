from __future__ import annotations

from gatepost.mail.inbound.service import SessionLimits
from gatepost.settings.traffic import Limits


def test_the_limits_are_those_that_the_settings_document():
    limits, written = SessionLimits(), Limits()
    assert (limits.idle, limits.command, limits.session) == (
        written.idle_timeout,
        written.command_timeout,
        written.session_time,
    )
    assert (limits.data_rate, limits.rate_period) == (written.data_rate_min, written.data_rate_period)
    assert limits.hops == written.hops


def test_no_wait_is_shorter_than_smtp_asks_for():
    """RFC 5321 section 4.5.3.2.7: a server waits five minutes at least for the next command."""
    limits = SessionLimits()
    assert min(limits.idle, limits.command) >= 300
