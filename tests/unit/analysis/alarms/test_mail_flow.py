from __future__ import annotations

import re
import shlex
from itertools import product

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.machine import MachineFacts, SilentNode
from gatepost.analysis.alarms.mail_flow import MailFacts, MailLimits, Shares, judge_mail
from gatepost.analysis.alarms.senders import NotableSender
from gatepost.events.delivery_problems import (
    HOOK,
    LOGIN_REFUSED,
    RECIPIENTS,
    RECORDS_DOWN,
    SCANNER_DOWN,
    SOURCE_DOWN,
    DowngradedDestination,
    FailingPartner,
    UnsentNotice,
)
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.model.queue_share import QueueShare
from gatepost.mail.model.worker_load import WorkerLoad
from gatepost.values import replace

NOW = 1_800_000_000.0
HOUR = 3600.0
FAILING = FailingPartner(
    "contoso", "bank-out", "bank.example", "authenticated(*.bank.example)", NOW - HOUR, NOW - 60, 3,
    "certificate-expired", "mx.bank.example", "450 4.7.320 expired",
)  # fmt: skip
DROPPED = DowngradedDestination("contoso", "b.example", "b.example", "none/encrypted", "none/none", NOW - HOUR)
SHARES = Shares(10, 20, 1, 100, "certificate-expired")


def judged(limits: MailLimits | None = None, **facts):
    return judge_mail(MailFacts(**facts), limits or MailLimits(), now=NOW)


DROPS = [
    ({}, "critical", "is no longer protected by TLS", "Mail is still sent"),
    ({"now": "none/encrypted", "was": "dnssec/authenticated"}, "error", "is less protected", "Mail is still sent"),
    ({"now": "none/encrypted", "held": True}, "critical", "is less protected", "Mail for it is held"),
]


@pytest.mark.parametrize(("fields", "severity", "title", "result"), DROPS)
def test_a_destination_that_protects_less(fields, severity, title, result):
    (one,) = judged(dropped=(replace(DROPPED, **fields),))
    assert (str(one.kind), str(one.severity)) == ("protection-drop", severity)
    assert title in one.title
    assert result in one.detail


def test_levels_are_said_in_words():
    for was in map("/".join, product(("none", "mta-sts", "dnssec"), ("none", "encrypted", "authenticated"))):
        (one,) = judged(dropped=(replace(DROPPED, was=was),))
        assert re.search(rf"had (?:no )?encryption .*\({was}\) before", one.detail)


def test_a_drop_that_nobody_saw_for_a_day_is_over():
    assert judged(dropped=(replace(DROPPED, last=NOW - 24 * HOUR),)) == ()


@pytest.mark.parametrize(
    ("oldest", "threshold", "told"),
    [(None, HOUR, 0), (0.0, HOUR, 0), (HOUR - 1, HOUR, 0), (HOUR, HOUR, 1), (HOUR, 0, 0)],
)
def test_the_queue_s_age(oldest, threshold, told):
    found = judged(MailLimits(queue_age=threshold), oldest=oldest, destination="contoso/b.example")
    assert [str(one.kind) for one in found] == ["queue-age"] * told
    assert all("contoso/b.example" in one.detail for one in found)


def test_why_the_oldest_message_waits():
    reply = "450 4.7.324 DNSSEC validation failed [Message=DnssecInvalid of b.example]"
    (one,) = judged(oldest=9 * HOUR, destination="contoso/b.example", reason=reply)
    assert f"The last attempt for it: {reply}." in one.detail
    assert one.fix.startswith("The administrators of b.example must correct the DNSSEC signatures of their zone. See")
    (plain,) = judged(oldest=9 * HOUR, destination="contoso/b.example")
    assert (plain.fix, plain.lines) == ("See which messages wait and why:", one.lines)


RISING = [
    (SHARES, 10, "warning"),
    (replace(SHARES, failed=11), 10, "error"),
    (SHARES, 0, ""),
    (replace(SHARES, failed=9), 10, ""),
    (replace(SHARES, sessions_before=9), 10, ""),
    (replace(SHARES, sessions=1000), 10, ""),
    (replace(SHARES, failed_before=20), 10, ""),
]


@pytest.mark.parametrize(("shares", "least", "severity"), RISING)
def test_tls_that_fails_more_often_than_before(shares, least, severity):
    found = judged(MailLimits(tls_failures=least), tls={"b.example": shares})
    assert [str(one.severity) for one in found] == [severity][: int(bool(severity))]
    assert all(one.about == "b.example" and "certificate-expired" in one.detail for one in found)


def test_a_failure_that_nothing_was_heard_of_for_hours_is_over():
    assert judged(failing=(replace(FAILING, last=NOW - 3 * HOUR, since=NOW - 9 * HOUR),)) == ()


def test_what_the_machine_lacks_is_told():
    machines = MachineFacts(("the disk is full",), 1, node="a"), MachineFacts(("the disk is full",), 1, node="b")
    found = judged(machines=machines, silent=(SilentNode("c", "host", NOW),))
    assert [(alarm.kind, alarm.about) for alarm in found] == [
        (Kind.MAIL_REFUSED, "a"),
        (Kind.MAIL_REFUSED, "b"),
        (Kind.NODE_SILENT, "c"),
    ]


def test_what_is_not_known_is_no_alarm():
    assert judged(oldest=None, tls=None) == ()


def test_the_gravest_comes_first_and_no_text_of_others_begins_a_line():
    found = judged(
        failing=(replace(FAILING, reply="450 x\r\ny\x1b[0m", domain="b\nc"),), oldest=9 * HOUR, tls={"b": SHARES}
    )
    assert [str(one.severity) for one in found] == ["critical", "error", "warning"]
    for one in found:
        for text in (one.title, one.detail, one.fix, one.about, *one.lines):
            assert text.isprintable()


def test_nameservers_that_do_not_answer():
    down = ". SOA: nameserver [127.0.0.1]:53 cannot be reached"
    (alarm,) = judge_mail(MailFacts(resolver=down), MailLimits(), now=NOW)
    assert (alarm.kind, alarm.severity) == (Kind.NAMESERVERS_DOWN, Severity.CRITICAL)
    assert down in alarm.detail
    assert alarm.kind.of_mail


@pytest.mark.parametrize(
    ("facts", "kind", "severity"),
    [
        (MailFacts(dnssec_fails=". SOA: SERVFAIL"), Kind.DNSSEC_FAILS, Severity.CRITICAL),
        (MailFacts(dnssec_off=". SOA: SERVFAIL"), Kind.DNSSEC_OFF, Severity.ERROR),
    ],
)
def test_dnssec_validation_that_does_not_work(facts, kind, severity):
    (alarm,) = judge_mail(facts, MailLimits(), now=NOW)
    assert (alarm.kind, alarm.severity, alarm.kind.of_traffic) == (kind, severity, True)
    assert ". SOA: SERVFAIL" in alarm.detail
    assert "partner" not in alarm.detail + alarm.fix


UNTOLD = UnsentNotice("contoso", "0cb1", "bob@b.example", "550 5.1.1 Unknown", NOW - 60)


def test_senders_that_cannot_be_told():
    again = replace(UNTOLD, recipient="joe@b.example")
    (one,) = judged(untold=(UNTOLD, again))
    assert (str(one.kind), str(one.severity), one.about) == ("notice-missing", "critical", "contoso/notices")
    assert one.title == "1 message of contoso failed, and the sender cannot be notified"
    assert "0cb1, which failed with: 550 5.1.1 Unknown." in one.detail
    assert one.lines == ("gatepost trace show 0cb1", "gatepost queue drop 0cb1 --reason WHY")
    newer = replace(UNTOLD, message="0cb2", failed="", last=NOW - 1)
    two, other = judged(untold=(newer, UNTOLD, replace(UNTOLD, organization="fabrikam")))
    assert two.title.startswith("2 messages of contoso failed")
    assert "for 0cb2. It keeps such mail" in two.detail
    assert other.about == "fabrikam/notices"


def test_who_was_not_tried_again_is_not_told_of_for_ever():
    assert judged(untold=(replace(UNTOLD, last=NOW - 3 * HOUR),)) == ()


def test_a_journal_mailbox_that_refuses_copies_is_told_of():
    waiting = replace(UNTOLD, journal=True, recipient="keep@far.example")
    (one,) = judged(untold=(waiting, replace(waiting, message="0cb2", failed="", last=NOW - 1)))
    assert (one.kind, one.severity, one.about) == (Kind.JOURNAL_WAITS, Severity.CRITICAL, "contoso/keep@far.example")
    assert one.title == "2 journal copies of contoso cannot be delivered to keep@far.example"
    assert one.detail.startswith("The copies stay")
    assert one.lines[0] == "gatepost queue list --domain far.example"
    assert judged(untold=(replace(waiting, last=NOW - 3 * HOUR),)) == ()


def test_a_quarantine_that_is_nearly_full():
    nearly, full = judge_mail(MailFacts(quarantines={"a": 1.0, "b": 0.85, "c": 0.5}), MailLimits(), now=NOW)[::-1]
    assert (nearly.kind, nearly.severity, nearly.about) == (Kind.QUARANTINE_FULL, Severity.WARNING, "b/quarantine")
    assert (full.severity, full.title) == (Severity.CRITICAL, "the quarantine of a is full")
    assert "85 %" in nearly.detail
    assert judge_mail(MailFacts(quarantines=None), MailLimits(), now=NOW) == ()


def test_mail_that_cannot_be_read_is_counted_and_the_oldest_named():
    (one,) = judge_mail(MailFacts(unreadable=(3, 7)), MailLimits(), now=NOW)
    assert (one.kind, one.severity, one.about) == (Kind.MAIL_UNREADABLE, Severity.ERROR, "")
    assert one.title == "3 deliveries in the queue cannot be read, and wait"
    assert one.lines == ("gatepost queue list", f"gatepost queue drop {format_id(7)}")
    (one,) = judge_mail(MailFacts(unreadable=(1, 7)), MailLimits(), now=NOW)
    assert one.title == "1 delivery in the queue cannot be read, and waits"
    assert judge_mail(MailFacts(unreadable=None), MailLimits(), now=NOW) == ()


def test_an_organization_whose_mail_fills_the_queue():
    share = QueueShare("contoso", (7 << 20) + 5, 0.85)
    (one,) = judge_mail(MailFacts(refused=(share,)), MailLimits(), now=NOW)
    assert (one.kind, one.severity, one.about) == (Kind.QUEUE_SHARE, Severity.CRITICAL, "contoso/queue")
    assert one.detail.startswith("It has 7.0 MB of mail in the queue, 85% of all.")
    assert one.lines == ("gatepost queue list --organization contoso",)


@pytest.mark.parametrize(
    ("loads", "severity", "title"),
    [
        ([WorkerLoad(), WorkerLoad("busy", 0.5, "why", NOW - 9, NOW - 1)], None, ""),
        ([WorkerLoad("normal", 1.0, "why", NOW - 900, NOW - 601, 7)], None, ""),
        (
            [WorkerLoad("normal", 1.0, "why", NOW - 900, NOW - 500, 7), WorkerLoad()],
            Severity.WARNING,
            "1 worker was overloaded and served known clients first",
        ),
        (
            [WorkerLoad("normal", 1.0, "x", NOW - 9, NOW - 1, 6), WorkerLoad("busy", 0.5, "why", NOW - 9, NOW - 2, 1)],
            Severity.ERROR,
            "2 workers are overloaded and serve known clients first",
        ),
    ],
)
def test_workers_that_have_too_much_to_do(loads, severity, title):
    alarms = judged(loads=tuple(loads))
    assert [(alarm.kind, alarm.severity, alarm.title) for alarm in alarms] == (
        [(Kind.OVERLOAD, severity, title)] if title else []
    )
    for alarm in alarms:
        assert "The reason: why." in alarm.detail
        assert "asked 7 times" in alarm.detail


@pytest.mark.parametrize(
    ("messages", "on_failure", "told"),
    [
        (2, "defer", None),
        (3, "defer", (Severity.CRITICAL, "is deferred")),
        (3, "accept", (Severity.ERROR, "passes un")),
    ],
)
def test_a_scanner_that_gives_no_usable_answer_is_told(messages, on_failure, told):
    hook = FailingPartner(
        "contoso", "av", HOOK, on_failure, NOW - 60, NOW - 60, messages, SCANNER_DOWN, reply="no such socket"
    )
    alarms = judge_mail(MailFacts((hook,)), MailLimits(), now=NOW)
    assert len(alarms) == bool(told)
    for alarm in alarms:
        assert (alarm.kind, alarm.severity, alarm.about) == (Kind.SCANNER_DOWN, told[0], "contoso/av/hook")
        assert told[1] in alarm.title
        assert "3 messages in a row could not be scanned: no such socket." in alarm.detail
        assert alarm.lines == ("gatepost hook check --organization contoso av",)


def test_a_record_that_cannot_be_written_is_told_once_for_all_workers():
    waiting = FailingPartner("", "evidence log", "", "", NOW - 60, NOW - 60, 1, RECORDS_DOWN, reply="no space left")
    others = replace(waiting, name="message trace"), replace(waiting, last=NOW - 5)
    alarms = judge_mail(MailFacts((waiting, *others)), MailLimits(), now=NOW)
    assert [(alarm.kind, alarm.severity, alarm.about) for alarm in alarms] == [
        (Kind.RECORDS_UNWRITTEN, Severity.ERROR, "evidence log"),
        (Kind.RECORDS_UNWRITTEN, Severity.ERROR, "message trace"),
    ]
    assert alarms[0].title == "the evidence log cannot be written"
    assert alarms[0].detail.startswith("no space left. Mail is still accepted")


def test_a_clock_that_was_put_ahead_is_told():
    assert judge_mail(MailFacts(), MailLimits(), now=NOW) == ()
    (alarm,) = judge_mail(MailFacts(ahead=HOUR), MailLimits(), now=NOW)
    assert (alarm.kind, alarm.severity, alarm.about) == (Kind.CLOCK_JUMPED, Severity.ERROR, "")
    assert "the time to be about 2027-01-15 07:00" in alarm.detail
    assert alarm.lines == ("timedatectl",)
    (alarm,) = judge_mail(MailFacts(ahead=HOUR, machines=(MachineFacts(node="mx1"),)), MailLimits(), now=NOW)
    assert (alarm.about, alarm.title) == ("mx1", "on mx1, the clock jumped ahead, so nothing expires for a day")


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(299.0, ""), (-299.0, ""), (3600.0, "It is 3,600 seconds ahead of the"), (-301.0, "It is 301 seconds behind the")],
)
def test_a_node_whose_clock_is_not_the_databases_is_told(ahead, told):
    alarms = judge_mail(MailFacts(machines=(MachineFacts(node="mx1", ahead=ahead),)), MailLimits(), now=NOW)
    assert [(alarm.kind, alarm.about, alarm.title, alarm.detail[: len(told)]) for alarm in alarms] == (
        [(Kind.CLOCK_JUMPED, "mx1", "the clock of mx1 is wrong", told)] if told else []
    )


@pytest.mark.parametrize(("questions", "told"), [(2, 0), (3, 1)])
def test_a_source_of_recipients_that_gives_no_answer_is_told(questions, told):
    source = FailingPartner(
        "contoso", "relay.example", RECIPIENTS, "", NOW - 60, NOW - 60, questions, SOURCE_DOWN, reply="no server"
    )
    alarms = judge_mail(MailFacts((source,)), MailLimits(), now=NOW)
    assert len(alarms) == told
    for alarm in alarms:
        assert (alarm.kind, alarm.severity, alarm.about) == (
            Kind.RECIPIENTS_UNKNOWN,
            Severity.ERROR,
            "contoso/relay.example/recipients",
        )
        assert "3 attempts in a row failed: no server." in alarm.detail


HOSTILE = 'it\'s $(reboot); `x` "y"'


def hostile(kind, **fields):
    return FailingPartner("contoso", HOSTILE, "x.example", "", NOW - 9, NOW, 9, kind, **fields)


@pytest.mark.parametrize(
    "facts",
    [
        MailFacts((hostile(SCANNER_DOWN),)),
        MailFacts((hostile(LOGIN_REFUSED),)),
        MailFacts((hostile("starttls-not-supported", by_connector=True),)),
        MailFacts(senders=(NotableSender("contoso", f"server {HOSTILE}", "450"),)),
    ],
)
def test_a_name_that_a_tenant_chose_runs_nothing_in_the_shell_of_who_follows_an_alarm(facts):
    (alarm,) = judge_mail(facts, MailLimits(partner_failures=1, partner_failing=1), now=NOW)
    lines = [shlex.split(line) for line in alarm.lines]
    assert any(words[-1] == HOSTILE for words in lines)
    assert all(not set("$`") & set(word) for words in lines for word in words[:-1])
