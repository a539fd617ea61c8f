from __future__ import annotations

import pytest

from gatepost.events.delivery_problems import (
    HOPS_FAIL,
    LMTP_SERVER,
    NEXT_HOP,
    SCANNER_DOWN,
    SOURCE_DOWN,
    DeliveryProblems,
    DowngradedDestination,
    FailingPartner,
    UnsentNotice,
)
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.values import replace


def event(name, at=1.0, **fields):
    given = {
        "message": "1",
        "organization": "contoso",
        "direction": "originating",
        "session": "s",
        "sender": "a@contoso.example",
        "recipient": "c@Bank.example",
        "connector": "bank-out",
        "requirement": "authenticated(bank.example)",
    }
    return TraceEvent(at=at, event=name, **(given | fields))


def deferred(at=1.0, **fields):
    return event("DEFER", at, **({"result_type": "certificate-expired", "peer_host": "mx", "reply": "450 x"} | fields))


def test_a_run_of_attempts_until_one_is_delivered():
    found = DeliveryProblems()
    found([[deferred(1.0), deferred(1.0)], [deferred(5.0, reply="450 y")], [event("RECEIVE"), event("FAIL")], []])
    assert found.failing == (
        FailingPartner(
            "contoso",
            "bank-out",
            "bank.example",
            "authenticated(bank.example)",
            1.0,
            5.0,
            2,
            "certificate-expired",
            "mx",
            "450 y",
            by_connector=True,
        ),
    )
    assert found.changed
    again = DeliveryProblems(found.failing, found.dropped)
    assert not again.changed
    again([[event("SEND", 9.0)]])
    assert (again.failing, again.changed) == ((), True)


def test_of_another_organizations_way_there_is_what_the_trace_tells():
    found, others = DeliveryProblems(), {"connector_organization": "fabrikam", "domain_organization": "fabrikam"}
    words = "450 4.7.320 Certificate of hub.inside.example is not trusted"
    found([[deferred(connector="hub", requirement="authenticated(hub.inside.example)", reply=words, detail=others)]])
    (one,) = found.failing
    assert (one.name, one.wanted, one.host, one.reply) == ("bank.example", "authenticated", "", "450 4.7.320")
    assert not one.by_connector, "no command names what its administrators do not see"
    found([[event("DEFER", 2.0, detail=others | {"failed": "550 5.1.1 unknown at hub.inside.example"})]])
    assert [one.failed for one in found.untold] == ["550 5.1.1"]


@pytest.mark.parametrize("fields", [{"result_type": ""}, {"requirement": "opportunistic"}, {"requirement": ""}])
def test_what_is_no_forced_partner_or_no_fault_of_tls(fields):
    found = DeliveryProblems()
    found([[deferred(**fields)]])
    assert [(one.result_type, one.domain) for one in found.failing] == [(HOPS_FAIL, NEXT_HOP)]


def test_a_host_that_the_domains_policy_does_not_name_is_of_the_partner():
    found, reply = DeliveryProblems(), "450 4.4.8 MX hosts of bank.example failed MTA-STS validation"
    unmet = {"result_type": "validation-failure", "requirement": "opportunistic", "reply": reply}
    found([[deferred(**unmet), deferred(connector="", recipient="c@other.example", **unmet)]])
    assert [(one.name, one.wanted, one.result_type) for one in found.failing] == [
        ("bank-out", "authenticated(mta-sts)", "validation-failure"),
        ("other.example", "authenticated(mta-sts)", "validation-failure"),
    ]


def test_of_a_long_reply_the_beginning_and_the_end_are_kept():
    found = DeliveryProblems()
    found([[deferred(reply=f"450 4.7.320 {'x' * 500} expired on 2026-11-30")]])
    (one,) = found.failing
    assert one.reply.startswith("450 4.7.320 ")
    assert one.reply.endswith("x expired on 2026-11-30")
    assert len(one.reply) == 300


def test_a_drop_lasts_until_the_destination_does_better():
    drop = {"protection_drop": {"was": "none/encrypted", "since": 0.5, "now": "none/none"}}
    found = DeliveryProblems()
    found([[event("SEND", 2.0, connector="", requirement="opportunistic", detail=drop)]])
    assert found.dropped == (
        DowngradedDestination("contoso", "bank.example", "bank.example", "none/encrypted", "none/none", 2.0),
    )
    found([[event("HOLD", 3.0, connector="", detail=drop)]])
    assert found.dropped[0].held
    found([[event("SEND", 4.0, connector="")]])
    assert found.dropped == ()


def test_partners_have_an_end_and_their_words_too():
    found = DeliveryProblems()
    drop = {"protection_drop": {"was": "a", "now": "b"}}
    for number in range(600):
        found([[deferred(recipient=f"x@{number}.{'d' * 5000}", reply="r" * 10**5, detail=drop)]])
    assert (len(found.failing), len(found.dropped)) == (500, 500)
    assert max(len(one.reply) + len(one.domain) for one in found.failing) <= 600
    found([[deferred(9.0, recipient=f"x@0.{'d' * 5000}")]])
    assert found.failing[-1].deferrals + found.failing[0].deferrals == 3, "who is known is followed"


def hop(at=1.0, **fields):
    return event(
        "DEFER", at, **({"requirement": "opportunistic", "peer_host": "mx", "reply": "451 4.3.0 later"} | fields)
    )


def test_a_connector_whose_next_hop_defers_until_one_delivery():
    found = DeliveryProblems()
    found([[hop(1.0), hop(1.0, recipient="d@other.example")], [hop(5.0, reply="421 4.3.2 busy")]])
    assert found.failing == (
        FailingPartner(
            "contoso", "bank-out", NEXT_HOP, "", 1.0, 5.0, 2, HOPS_FAIL, "mx", "421 4.3.2 busy", by_connector=True
        ),
    )
    found([[event("SEND", 6.0, recipient="e@third.example"), hop(6.0)]])
    assert found.failing == (), "an attempt that delivered something shows that it works"


@pytest.mark.parametrize(
    "fields",
    [
        {"connector": ""},
        {"reply": "452 4.2.2 Mailbox full"},
        {"reply": "450 4.1.1 greylisted"},
        {"reply": "450 4.7.5 Encryption needed (S/MIME), no usable certificate of the recipient", "peer_host": ""},
        {"reply": "451 4.7.5 The message cannot be signed now", "peer_host": ""},
        {"result_type": "starttls-not-supported", "requirement": "encrypted"},
        {"detail": {"login_failure": "later"}},
        {"detail": {"cut_short": True}},
        {"detail": {"failed": "550 5.1.1 x"}},
        {"detail": {"connector_organization": "fabrikam"}},
    ],
)
def test_a_deferral_that_says_nothing_of_the_next_hop(fields):
    found = DeliveryProblems()
    found([[hop(**fields)]])
    assert HOPS_FAIL not in {one.result_type for one in found.failing}


def test_tls_that_fails_where_nothing_requires_it_is_of_the_next_hop():
    found = DeliveryProblems()
    found([[hop(result_type="validation-failure")]])
    assert [one.result_type for one in found.failing] == [HOPS_FAIL]


def to_mailbox(name="DEFER", at=1.0, **detail):
    fields = {"connector": "", "requirement": "authenticated(dovecot)", "peer_host": "dovecot"}
    reply = "250 2.0.0 Saved" if name == "DELIVER" else "451 4.3.0 later"
    return event(name, at, reply=reply, detail={"mailbox": "lmtp:dovecot:24"} | detail, **fields)


@pytest.mark.parametrize("result_type", ["", "certificate-expired"])
def test_an_lmtp_server_that_defers_until_one_delivery(result_type):
    found = DeliveryProblems()
    found([[replace(to_mailbox(), result_type=result_type)]])
    found([[to_mailbox(at=5.0, domain_organization="fabrikam")]])
    ours = FailingPartner(
        "contoso", "lmtp:dovecot:24", LMTP_SERVER, "", 1.0, 1.0, 1, HOPS_FAIL, "dovecot", "451 4.3.0 later"
    )
    assert found.failing == (ours, replace(ours, organization="fabrikam", since=5.0, last=5.0)), "whose domain it is"
    found([[to_mailbox("DELIVER"), to_mailbox()], [to_mailbox("DELIVER", domain_organization="fabrikam")]])
    assert found.failing == ()


def test_a_mailbox_that_is_full_says_nothing_of_its_server():
    found = DeliveryProblems()
    found([[replace(to_mailbox(), reply="452 4.2.2 Mailbox full")]])
    assert found.failing == ()


UNTOLD = {"failed": "550 5.1.1 Unknown"}


@pytest.mark.parametrize("end", ["FAIL", "EXPIRE", "SEND", "DEFER"])
def test_a_failure_without_a_notice_until_another_outcome(end):
    found = DeliveryProblems()
    found([[event("DEFER", 2.0, detail=UNTOLD)], [event("RECEIVE", 2.5), event("FAIL", 3.0, recipient="d@b.example")]])
    assert found.untold == (UnsentNotice("contoso", "1", "c@Bank.example", "550 5.1.1 Unknown", 2.0),)
    again = DeliveryProblems(untold=found.untold)
    again([[event("DEFER", 4.0, detail=UNTOLD)]])
    assert [one.last for one in again.untold] == [4.0]
    again.changed = False
    again([[event(end, 5.0)]])
    assert (again.untold, again.changed) == ((), True)


def test_failures_without_a_notice_have_an_end_and_their_words_too():
    found = DeliveryProblems()
    for number in range(600):
        found([[event("DEFER", message=str(number), recipient="x" * 5000, detail={"failed": "y" * 5000})]])
    assert len(found.untold) == 500
    assert max(len(one.recipient) + len(one.failed) for one in found.untold) == 600


REFUSED = {"login_failure": "refused", "detail": "PLAIN was answered with 535 5.7.8 no"}


def login_refused(at=1.0, **fields):
    given = {"connector": "relay", "peer_host": "relay.example", "reply": "450 4.7.8 x", "detail": REFUSED} | fields
    return event("DEFER", at, **given)


def test_a_connector_that_cannot_log_in_until_one_can():
    found = DeliveryProblems()
    elsewhere = login_refused(3.0, recipient="d@other.example")
    found([[login_refused()], [elsewhere], [login_refused(4.0, detail={"login_failure": "passing"})]])
    said = REFUSED["detail"]
    assert found.failing == (
        FailingPartner("contoso", "relay", "", "", 1.0, 3.0, 2, "login-refused", "relay.example", said),
    )
    again = DeliveryProblems(found.failing)
    again([[event("SEND", 5.0, connector="relay")]])
    assert (len(again.failing), again.changed) == (1, False)
    again([[event("SEND", 6.0, connector="relay", detail={"login": "u"})]])
    assert (again.failing, again.changed) == ((), True)


def test_the_connectors_owner_is_told_of_its_log_in():
    found = DeliveryProblems()
    found([[login_refused(detail=REFUSED | {"connector_organization": "fabrikam"})]])
    assert [(one.organization, one.name) for one in found.failing] == [("fabrikam", "relay")]
    full = DeliveryProblems(
        FailingPartner("o", str(number), "", "", 1.0, 1.0, 1, "login-refused") for number in range(500)
    )
    full([[login_refused()]])
    assert len(full.failing) == 500


def test_a_journal_copy_that_waits_is_kept_apart():
    found = DeliveryProblems()
    found([[event("DEFER", detail={"journal": {"form": "report"}, "journal_waits": "550 5.1.1 Unknown"})]])
    (one,) = found.untold
    assert (one.journal, one.failed) == (True, "550 5.1.1 Unknown")
    found([[event("SEND")]])
    assert found.untold == ()


def test_a_source_of_recipients_fails_until_it_answers():
    problems = DeliveryProblems()
    problems.note_source("contoso", "relay.example", "", 1.0)
    assert not problems.changed
    for at in (2.0, 3.0):
        problems.note_source("contoso", "relay.example", "x" * 500, at)
    (source,) = problems.failing
    assert (source.name, source.since, source.last, source.deferrals) == ("relay.example", 2.0, 3.0, 2)
    assert source.reply == "x" * 300
    problems.changed = False
    problems.note_source("contoso", "relay.example", "", 4.0)
    assert problems.failing == ()
    assert problems.changed


def test_a_scanner_fails_until_it_answers():
    problems = DeliveryProblems()
    for failure in ("refused", "refused", ""):
        problems.note_scanner("contoso", "relay.example", "defer", failure, 1.0)
        problems.note_source("contoso", "relay.example", failure, 1.0)
        if failure:
            scanner, source = problems.failing
    assert (scanner.result_type, scanner.wanted, scanner.deferrals) == (SCANNER_DOWN, "defer", 2)
    assert (source.result_type, source.wanted, source.deferrals) == (SOURCE_DOWN, "", 2)
    assert problems.failing == ()


def test_sources_are_bounded_as_partners_are():
    problems = DeliveryProblems()
    for number in range(600):
        problems.note_source("contoso", f"{number}.example", "down", 1.0)
    assert len(problems.failing) == 500


def test_an_organization_with_many_problems_leaves_room_for_those_of_others():
    """Else whoever has mail for 500 domains that fail hides all alarms of this kind from everybody else."""
    problems, drop = DeliveryProblems(), {"protection_drop": {"was": "a", "now": "b"}}
    for number in range(600):
        problems([[deferred(recipient=f"x@{number}.example", message=str(number), detail=drop | UNTOLD)]])
    problems([[deferred(2.0, organization="fabrikam", detail=drop | UNTOLD)]])
    problems.note_scanner("fabrikam", "av", "defer", "down", 3.0)
    problems.note_record("evidence log", "the disk is full", 4.0)
    for kept in (problems.failing, problems.dropped, problems.untold):
        assert len(kept) == 500
        assert [one.organization for one in kept].count("fabrikam") >= 1
    assert [one.name for one in problems.failing[-3:]] == ["bank-out", "av", "evidence log"]
    assert problems.failing[0].domain == "3.example", "the oldest of the organization with the most go"
    problems([[deferred(5.0, recipient="x@more.example")]])
    assert [one.name for one in problems.failing[-3:]] == ["bank-out", "av", "evidence log"]
