from __future__ import annotations

import re

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.mail_flow import MailFacts, MailLimits, judge_mail
from gatepost.analysis.alarms.partners import ConnectorChange
from gatepost.events.delivery_problems import HOPS_FAIL, LMTP_SERVER, LOGIN_REFUSED, NEXT_HOP, FailingPartner
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

NOW = 1_800_000_000.0
HOUR = 3600.0
FAILING = FailingPartner(
    "contoso", "bank-out", "bank.example", "authenticated(*.bank.example)", NOW - HOUR, NOW - 60, 3,
    "certificate-expired", "mx.bank.example", "450 4.7.320 expired",
)  # fmt: skip
EXPIRED = (
    "450 4.7.320 Certificate validation failed [Message=CertificateExpired] [LastAttemptedServerName=mx.bank.example]"
)
HOP = FailingPartner(
    "contoso", "relay", NEXT_HOP, "", NOW - HOUR, NOW - 60, 3, HOPS_FAIL, "smtp.provider.example",
    "451 4.3.0 Try again later", by_connector=True,
)  # fmt: skip
CHANGE = ConnectorChange("contoso", "relay", 12, NOW - HOUR - 600, "eve@contoso.example")


def judged(limits: MailLimits | None = None, **facts):
    return judge_mail(MailFacts(**facts), limits or MailLimits(), now=NOW)


FAILING_CASES = [
    ({}, True),
    ({"deferrals": 2}, False),
    ({"since": NOW - 800}, False),
    ({"since": NOW - 900}, True),
    ({"last": NOW - 3 * HOUR, "since": NOW - 9 * HOUR}, False),
]


@pytest.mark.parametrize(("fields", "told"), FAILING_CASES)
def test_a_forced_partner_that_fails(fields, told):
    found = judged(failing=(replace(FAILING, **fields),))
    assert [(str(one.kind), str(one.severity), one.about) for one in found] == [
        ("partner-failing", "critical", "contoso/bank-out/bank.example")
    ][: int(told)]


def test_what_is_said_of_it():
    (one,) = judged(failing=(FAILING,))
    assert one.title == "mail to bank.example waits, as TLS does not meet the requirement of the connector bank-out"
    assert "3 attempts in a row were deferred at mx.bank.example" in one.detail
    required = "TLS with a verified certificate is required (authenticated(*.bank.example)), but"
    assert f"{required} the certificate has expired (certificate-expired). The last reply" in one.detail
    assert one.lines == ("gatepost check partner bank.example", "gatepost queue list --domain bank.example")
    (own,) = judged(failing=(replace(FAILING, name="bank.example", host="", reply=""),))
    assert own.title.endswith("the requirement of the policy of bank.example")
    assert "deferred: TLS with a verified certificate is required (authenticated(*.bank.example))" in own.detail
    assert "The last reply" not in own.detail
    assert own.about == "contoso/bank.example"


def test_levels_and_failures_are_said_in_words():
    for code in ResultType:
        (one,) = judged(failing=(replace(FAILING, result_type=code),))
        assert re.search(rf"but [A-Za-z]+ .* \({code}\)\.", one.detail)
    (one,) = judged(failing=(replace(FAILING, wanted="encrypted with TLSv1.3", result_type="x-other"),))
    assert "TLS encryption is required (encrypted with TLSv1.3), but x-other." in one.detail


def test_a_host_that_the_policy_does_not_name_is_told_as_such():
    """Its result type, validation-failure, says the same of a certificate."""
    reply = "450 4.4.8 MX hosts of bank.example failed MTA-STS validation [Message=HostNotInPolicy]"
    (found,) = judged(failing=(replace(FAILING, result_type=ResultType.VALIDATION_FAILURE, reply=reply),))
    assert "but the MTA-STS policy does not name the MX host (validation-failure). The last reply: 450" in found.detail


def test_a_connector_is_validated_as_its_mail_goes():
    """Its smart hosts and trust anchors count, which a check of the domain does not know."""
    partner = replace(FAILING, name="bank.example", by_connector=True)
    (found,) = judged(failing=(partner,))
    assert found.title.endswith("the requirement of the connector bank.example")
    assert found.lines[0] == "gatepost connector validate --organization contoso --direction outbound bank.example"
    (found,) = judged(failing=(replace(partner, name="-x $(y)"),))
    assert found.lines[0].endswith(" -- '-x $(y)'")


def test_several_workers_that_see_one_partner_tell_of_it_once():
    later = replace(FAILING, last=NOW - 1, deferrals=7)
    (one,) = judged(failing=(later, FAILING))
    assert "7 attempts" in one.detail


NO_LOGIN = FailingPartner(
    "contoso", "to relay", "", "", NOW - 60, NOW - 60, 1, LOGIN_REFUSED, "relay.example", "535 5.7.8 no",
)  # fmt: skip


def test_a_connector_that_cannot_log_in_is_told_of_at_once():
    (one,) = judged(failing=(NO_LOGIN,))
    assert (one.kind, one.severity, one.about) == (Kind.LOGIN_REFUSED, Severity.CRITICAL, "contoso/to relay")
    assert one.title == "the connector to relay cannot log in to relay.example, and its mail waits"
    assert "1 attempt failed: 535 5.7.8 no." in one.detail
    assert one.lines[0] == "gatepost connector secret --organization contoso 'to relay'"
    (bare,) = judged(failing=(replace(NO_LOGIN, host=""),))
    assert "cannot log in, and" in bare.title
    assert not judged(failing=(replace(NO_LOGIN, last=NOW - 3 * HOUR),))


def test_whose_turn_it_is_stands_first_where_the_reply_says_it():
    (found,) = judged(failing=(replace(FAILING, reply=EXPIRED),))
    assert found.fix.startswith(
        "The administrators of mx.bank.example must renew the certificate of their mail server. See what"
    )


HOP_CASES = [
    ({}, True),
    ({"deferrals": 2}, False),
    ({"since": NOW - 800}, False),
    ({"last": NOW - 3 * HOUR, "since": NOW - 9 * HOUR}, False),
]


@pytest.mark.parametrize(("fields", "told"), HOP_CASES)
def test_a_connector_whose_next_hop_takes_nothing(fields, told):
    found = judged(failing=(replace(HOP, **fields),))
    assert [(str(one.kind), str(one.severity), one.about) for one in found] == [
        ("connector-failing", "critical", "contoso/relay")
    ][: int(told)]


def test_what_is_said_of_a_next_hop():
    (found,) = judged(failing=(HOP,))
    assert found.title == "mail by the connector relay of contoso waits, as its next hop does not take it"
    assert "3 attempts in a row were deferred at smtp.provider.example. The last reply: 451 4.3.0 Try" in found.detail
    assert found.fix.startswith("See what it replied")
    assert found.lines == (
        "gatepost trace search --event DEFER --connector relay",
        "gatepost connector validate --organization contoso --direction outbound relay",
    )
    refused = "450 4.4.316 Connection refused [Message=SocketConnectionRefused] [LastAttemptedServerName=]"
    (found,) = judged(failing=(replace(HOP, host="", reply=refused),))
    assert found.fix.startswith("The administrators of relay must start their mail server, or let this gateway in. See")
    (found,) = judged(failing=(replace(HOP, host="", reply=""),))
    assert "were deferred. The gateway tries" in found.detail


LMTP = FailingPartner(
    "contoso", "lmtp:127.0.0.1:24", LMTP_SERVER, "", NOW - HOUR, NOW - 60, 3, HOPS_FAIL, "127.0.0.1",
    "450 4.4.316 Connection refused [LastAttemptedServerName=127.0.0.1]",
)  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), HOP_CASES)
def test_an_lmtp_server_that_takes_nothing(fields, told):
    found = judged(failing=(replace(LMTP, **fields),))
    assert [(str(one.kind), str(one.severity), one.about) for one in found] == [
        ("lmtp-failing", "critical", "contoso/lmtp:127.0.0.1:24")
    ][: int(told)]


def test_what_is_said_of_an_lmtp_server():
    (found,) = judged(failing=(LMTP,))
    assert found.title == "mail for mailboxes of contoso waits, as the LMTP server 127.0.0.1:24 does not take it"
    assert found.detail.startswith("3 attempts in a row were deferred. The last reply: 450 4.4.316 Connection refused")
    assert found.fix.startswith("An administrator of this gateway must start the mail server at 127.0.0.1, on this")
    assert found.lines == ("gatepost trace search --event DEFER --peer 127.0.0.1",)
    (found,) = judged(failing=(replace(LMTP, reply=""),))
    assert found.fix.startswith("See what it replied")
    unresolved = replace(LMTP, reply="450 4.4.312 DNS query failed")
    assert Kind.LMTP_FAILING not in {one.kind for one in judged(failing=(unresolved,), resolver="timeout")}


@pytest.mark.parametrize(
    "facts",
    [
        {"failing": (HOP,), "catch_alls": frozenset({("contoso", "relay")})},
        {"failing": (replace(HOP, reply="450 4.4.312 DNS query failed"),), "resolver": "timeout"},
    ],
)
def test_what_says_nothing_of_a_connector(facts):
    assert Kind.CONNECTOR_FAILING not in {alarm.kind for alarm in judged(**facts)}


def test_a_change_right_before_the_first_failure_is_named_with_the_way_back():
    (found,) = judged(failing=(HOP,), changes=(CHANGE,))
    assert found.detail.endswith(
        " The last change of the connector was made before the first failure: by eve@contoso.example at "
        "2027-01-15 06:50:00Z (version 12)."
    )
    assert found.lines[-2:] == (
        "gatepost history show 12",
        "gatepost history revert --organization contoso 11 --dry-run",
    )
    partner = replace(FAILING, by_connector=True)
    (found,) = judged(failing=(partner,), changes=(replace(CHANGE, connector="bank-out"),))
    assert "(version 12)." in found.detail
    assert found.lines[-1].endswith("11 --dry-run")


@pytest.mark.parametrize(
    "fields",
    [
        {"connector": "another"},
        {"organization": "fabrikam"},
        {"at": NOW - HOUR + 1},
        {"at": NOW - 8 * HOUR},
    ],
)
def test_a_change_that_is_not_the_cause_is_not_named(fields):
    (found,) = judged(failing=(HOP,), changes=(replace(CHANGE, **fields),))
    assert "The last change" not in found.detail
    assert len(found.lines) == 2


def test_the_first_failure_is_that_of_the_first_worker_whichever_failed_last():
    """Else the same alarm would have other lines each time another worker tried, and be mailed anew each time."""
    early, late = replace(HOP, since=NOW - 5 * HOUR), replace(HOP, since=NOW - HOUR)
    for last in (early, late):
        workers = early, late, replace(last, last=NOW - 30)
        (found,) = judged(failing=workers, changes=(CHANGE,))
        assert "The last change" not in found.detail, "it was made while the mail of another worker failed already"
        (found,) = judged(failing=workers, changes=(replace(CHANGE, at=early.since - 600),))
        assert "(version 12)" in found.detail
        (found,) = judged(failing=workers, changes=(replace(CHANGE, at=early.since - 5.5 * HOUR),))
        assert "(version 12)" in found.detail, "soon before the first failure, not before that of another worker"


@pytest.mark.parametrize("result_type", [FAILING.result_type, "next-hop-fails"])
def test_one_attempt_is_no_plural(result_type):
    (one,) = judged(MailLimits(partner_failures=1), failing=(replace(FAILING, deferrals=1, result_type=result_type),))
    assert one.detail.startswith("1 attempt in a row was deferred at mx.bank.example")
