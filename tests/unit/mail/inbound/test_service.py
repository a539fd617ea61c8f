from __future__ import annotations

from gatepost.mail.inbound.service import SessionLimits
from gatepost.settings.traffic import Limits
from gatepost.values import copy_fields


def test_the_limits_are_those_that_the_settings_document():
    assert copy_fields(SessionLimits, Limits()) == SessionLimits()


def test_no_wait_is_shorter_than_smtp_asks_for():
    """RFC 5321 section 4.5.3.2.7: a server waits five minutes at least for the next command."""
    limits = SessionLimits()
    assert min(limits.idle_timeout, limits.command_timeout) >= 300
