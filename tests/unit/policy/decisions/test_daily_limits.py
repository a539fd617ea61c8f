from __future__ import annotations

import pytest

from gatepost.policy.connectors.match import attribute
from gatepost.policy.decisions.daily_limits import (
    Allowed,
    DailyLimit,
    DailyUsage,
    Lifted,
    has_senders,
    judge,
    limit_of,
    limits_anybody,
    limits_of,
    with_daily_limit,
)
from gatepost.policy.decisions.inbound import decide_mail
from gatepost.values import replace

RESOURCES = """
[organization.o]
user_recipients_per_day = 5
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.mailbox]]
address = "Ann@o.example"
aliases = ["a@o.example"]
messages_per_day = 3
recipients_per_day = 9
[[organization.o.inbound_connector]]
name = "printers"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.1"]
recipients_per_day = 7
[[organization.o.inbound_connector]]
name = "partner"
sender_domains = ["p.example"]
require_tls = false
messages_per_day = 1
[organization.free]
[[organization.free.accepted_domain]]
name = "free.example"
"""
USER = DailyLimit("o", "user Ann@o.example", Allowed(3, 9), Allowed(0, 5))
SERVER = DailyLimit("o", "server printers", Allowed(0, 7), Allowed())


@pytest.mark.parametrize(
    ("facts", "sender", "expected"),
    [
        ({"user": "ann@o.example", "mechanism": "PLAIN"}, "a@o.example", USER),
        ({"user": "gone@o.example", "mechanism": "PLAIN"}, "gone@o.example", None),
        ({"ip": "192.0.2.1"}, "x@o.example", SERVER),
        ({}, "x@elsewhere.example", None),
        ({}, "x@p.example", None),
    ],
)
def test_whose_limit_it_is(directory, session, path, facts, sender, expected):
    facts = session(**facts)
    verdict = decide_mail(directory(RESOURCES), facts, path(sender))
    assert limit_of(directory(RESOURCES), facts, verdict.attribution) == expected


def test_a_partner_has_none_whatever_is_attributed(directory, session, path):
    known = directory(RESOURCES)
    attribution = attribute(known, session("192.0.2.1"), path("x@o.example"))
    partner = next(c for c in known.organizations[0].inbound_connectors if c.name == "partner")

    assert limit_of(known, session(), replace(attribution, connector=partner)) is None
    assert limit_of(known, session(), replace(attribution, connector=None)) is None
    gone = session(user="gone@o.example", mechanism="PLAIN")
    assert limit_of(known, gone, attribution) is None


def test_all_limits(directory):
    known = directory(RESOURCES)
    assert limits_of(known.organization("o")) == [USER, SERVER]
    assert limits_anybody(known)
    assert not limits_anybody(directory(RESOURCES[RESOURCES.index("[organization.free]") :]))


def test_a_sender_without_limits_is_known_all_the_same(directory, session, path):
    known = directory(RESOURCES.replace("recipients_per_day = 7", ""))
    facts = session("192.0.2.1")
    verdict = decide_mail(known, facts, path("x@o.example"))
    limit = limit_of(known, facts, verdict.attribution)
    assert (limit, limit.is_set) == (DailyLimit("o", "server printers", Allowed(), Allowed()), False)
    assert judge(limit, DailyUsage(10**6, 10**6), Lifted.NOTHING) is None
    assert with_daily_limit(known, facts, verdict) is verdict
    assert limits_of(known.organization("o")) == [USER]
    assert has_senders(known)
    assert not has_senders(directory(RESOURCES[RESOURCES.index("[organization.free]") :]))


def test_the_lower_one_holds_and_is_lifted_step_by_step():
    assert [USER.in_force(level) for level in Lifted] == [Allowed(3, 5), Allowed(0, 5), Allowed()]
    assert USER.reason == "user Ann@o.example may send 3 messages and 5 recipients a day"
    assert SERVER.reason == "server printers may send 7 recipients a day"
    assert DailyLimit("o", "server x", Allowed(1, 0), Allowed()).reason == "server x may send 1 message a day"


@pytest.mark.parametrize(
    ("usage", "lifted", "text"),
    [
        (DailyUsage(3, 5), Lifted.NOTHING, ""),
        (DailyUsage(4, 5), Lifted.NOTHING, "Ann@o.example has reached its limit of 3 messages a day (UTC)"),
        (DailyUsage(4, 6), Lifted.OWN, "Ann@o.example has reached its limit of 5 recipients a day (UTC)"),
        (DailyUsage(400, 600), Lifted.ALL, ""),
    ],
)
def test_judge(usage, lifted, text):
    reply = judge(USER, usage, lifted)
    assert (reply.text if reply else "") == (f"450 4.7.1 {text}" if text else "")


def test_a_name_that_is_not_ascii_is_shown_as_far_as_it_can_be():
    limit = DailyLimit("o", "server Büro", Allowed(1, 0), Allowed())
    assert "B?ro has reached" in judge(limit, DailyUsage(2, 2), Lifted.NOTHING).text


def test_explain_names_it(directory, session, path):
    known, facts = directory(RESOURCES), session("192.0.2.1")
    verdict = decide_mail(known, facts, path("x@o.example"))
    assert with_daily_limit(known, facts, verdict).reasons[-1] == SERVER.reason
    stranger = decide_mail(known, session(), path("x@elsewhere.example"))
    assert with_daily_limit(known, session(), stranger) == stranger
