from __future__ import annotations

import pytest

from gatepost.analysis.alarms.mail_flow import MailFacts, MailLimits, judge_mail
from gatepost.analysis.alarms.senders import NotableSender

ANN = "user ann@contoso.example"


def judged(*senders, unusual=500):
    facts = MailFacts(senders=senders or None)
    return judge_mail(facts, MailLimits(unusual_sending=unusual), now=1_800_000_000.0)


def test_a_sender_that_reached_its_daily_limit():
    (one,) = judged(NotableSender("contoso", ANN, "450 4.7.1 limit", 9000, 1, 30))
    assert (str(one.kind), str(one.severity), one.about) == ("sending-limit", "critical", f"contoso/{ANN}")
    assert one.lines == (
        "gatepost trace search --by-message --since 24h --sender ann@contoso.example",
        "gatepost mailbox password ann@contoso.example",
        "gatepost queue hold --reason INCIDENT --sender ann@contoso.example",
        "gatepost limit lift --organization contoso ann@contoso.example",
    )
    assert judged() == ()


@pytest.mark.parametrize(
    ("recipients", "busiest", "days", "is_told"),
    [
        (500, 0, 7, True),  # an account that never sent
        (500, 99, 30, True),
        (500, 100, 30, False),  # five times as many, not more
        (499, 0, 30, False),
        (40_000, 9000, 30, False),  # a newsletter that always goes to so many
        (40_000, 0, 6, False),  # nothing is known yet of what is usual
    ],
)
def test_more_than_usual(recipients, busiest, days, is_told):
    sender = NotableSender("contoso", ANN, "", recipients, busiest, days)
    assert [str(alarm.kind) for alarm in judged(sender)] == ["sending-unusual"] * is_told
    assert judged(sender, unusual=0) == ()


def test_what_is_told_of_a_server():
    (one,) = judged(NotableSender("contoso", "server own servers", "", 2000, 12, 30))
    assert (one.title, str(one.severity)) == (
        "connector own servers of contoso sends far more than usual", "critical",
    )  # fmt: skip
    assert "Today (UTC) it sent to 2,000 recipients; on its busiest day of the five weeks before, to 12." in one.detail
    assert one.lines == (  # others may have a connector of that name
        "gatepost trace search --by-message --since 24h --organization contoso --connector 'own servers'",
        "gatepost connector switch disable --organization contoso --direction inbound 'own servers'",
    )


@pytest.mark.parametrize("breach", ["", "450 4.7.1 limit"])
def test_a_server_has_no_password_to_change(breach):
    """A connector is known by its certificate or address, and its limit is a field of it."""
    alarms = judged(
        NotableSender("contoso", ANN, breach, 2000, 12, 30),
        NotableSender("contoso", "server own servers", breach, 2000, 12, 30),
    )
    (user,) = (alarm.fix for alarm in alarms if ANN in alarm.about)
    (server,) = (alarm.fix for alarm in alarms if ANN not in alarm.about)
    assert "change its password" in user
    assert "password" not in server
    assert all(word in server for word in ("disable the connector", "certificate or address", "messages_per_day"))
