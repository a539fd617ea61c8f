from __future__ import annotations

import sys

import pytest

from gatepost.manage.cli.explain import print_explanation
from gatepost.manage.use_cases.explain import ExplainAssumption, ExplainResult, ExplainSession, explain_record
from gatepost.manage.use_cases.explain_live import ExplainLogin
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.explain import explain
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.values import replace

MANY = [{"name": f"n{one:02}", "sender_domains": [f"n{one}.test"]} for one in range(20)]
TRIAL = {
    "name": "trial",
    "mode": "rehearse",
    "sender_domains": ["any.test"],
    "require_tls": False,
    "restrict_domains_to_ip_addresses": True,
    "sender_ip_addresses": ["198.51.100.0/24"],
}
DIRECTORY = Directory(
    parse(
        {
            "organization": {
                "contoso": {
                    "accepted_domain": [{"name": "contoso.example"}],
                    "mailbox": [{"address": "ann@contoso.example"}],
                    "inbound_connector": [*MANY, TRIAL],
                    "outbound_connector": [
                        {
                            "name": "out",
                            "mode": "rehearse",
                            "recipient_domains": ["*"],
                            "tls_settings": "encryption-only",
                        }
                    ],
                }
            }
        }
    ),
    17,
)
ASKED = ExplainSession("203.0.113.1", "", False, (ExplainAssumption("ip", "nothing"),))


def print_all(explanation, asked=ASKED, reports=None):
    print_explanation(explain_record(ExplainResult(explanation, asked, reports, 86400.0, None, False)))


@pytest.fixture
def page(capsys):
    def run(sender, recipient, asked=ASKED, reports=None):
        ends = (parse_path(f"<{one}>", smtputf8=True) for one in (sender, recipient))
        print_all(explain(DIRECTORY, SessionFacts("", asked.ip), *ends), asked, reports)
        return capsys.readouterr().out

    return run


def test_what_a_connector_in_rehearsal_demands_is_told_apart(capsys):
    locked = TRIAL | {"require_tls": True}
    table = {"accepted_domain": [{"name": "contoso.example"}], "inbound_connector": [locked]}
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in ("x@any.test", "ann@contoso.example"))
    explanation = explain(Directory(parse({"organization": {"contoso": table}})), SessionFacts("", ASKED.ip), *ends)
    print_all(explanation)
    assert "connector     trial, requires: opportunistic; in rehearsal: encrypted\n" in capsys.readouterr().out


def test_only_what_speaks_for_the_connector_is_marked_so(capsys):
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in ("x@any.test", "ann@contoso.example"))
    explanation = explain(DIRECTORY, SessionFacts("", ASKED.ip), *ends)
    lacks = "connector 'trial' of contoso names a.test, but the client's certificate with that name is not trusted"
    applied = "connector 'trial' of contoso matches what is written, but rarely"
    inbound = replace(explanation.inbound, reasons=(applied, lacks, "also"), applied_by=applied)
    print_all(replace(explanation, inbound=inbound))
    text = capsys.readouterr().out
    assert f"  ✓ {applied}\n" in text
    assert "  · connector 'trial' of contoso names a.test, but" in text
    assert "  · also\n" in text


def test_the_heading_says_who_and_by_which_configuration(page):
    text = page("x@any.test", "ann@contoso.example")
    assert text.startswith(
        "<x@any.test> → <ann@contoso.example>, from 203.0.113.1 unencrypted; using configuration version 17\n"
    )
    assert "assumed: nothing; use --ip ADDRESS to simulate a client\n" in text


def test_what_a_connector_in_rehearsal_would_do_is_told(page):
    text = page("x@any.test", "ann@contoso.example")
    assert "  rehearsal     trial would refuse with 550 5.7.51" in text


def test_of_very_many_others_the_rest_is_counted(page):
    text = page("x@other.test", "ann@contoso.example")
    assert text.count("✗ 'n") == 15
    assert "and 6 more that do not apply; --json lists all of them" in text


def test_a_mailbox_asks_no_connector(page):
    text = page("x@other.test", "ann@contoso.example")
    assert "OUTBOUND      to the mailbox ann@contoso.example\n" in text
    assert "IF TLS FAILS" not in text


def test_nobodys_mail_and_no_way(page):
    assert "OUTBOUND      nowhere: the mail belongs to no organization" in page("x@other.test", "y@internet.test")
    text = page("x@other.test", "nobody@contoso.example")
    assert "OUTBOUND      if accepted: no route, returned with 550 5.1.1 Mailbox unknown" in text


def test_rehearsal_on_the_way_out_is_told_with_each_failure(page):
    text = page("x@contoso.example", "y@internet.test")
    assert "  rehearsal     would require encrypted  (required by connector:out)" in text
    assert "  no STARTTLS offered   delivered unencrypted; if enforced it would wait: 450 4.4.317" in text


@pytest.mark.parametrize(("language", "wait"), [("de_DE.UTF-8", "wartet: "), ("sv_SE.UTF-8", "väntar: ")])
def test_what_comes_of_a_failure_stands_in_a_column_of_its_own(page, monkeypatch, language, wait):
    """The names of failures are longer there."""
    monkeypatch.setenv("LC_ALL", language)
    lines = [
        line for line in page("x@contoso.example", "y@internet.test").splitlines() if f"{wait}450 4.4.317 T" in line
    ]
    assert len(lines) == 2
    (column,) = {line.index(wait) for line in lines}
    assert {line[column - 1] for line in lines} == {" "}


def test_text_of_others_cannot_steer_the_terminal_and_lines_end(page):
    text = page(
        "x@any.test",
        "ann@contoso.example",
        ExplainSession("203.0.113.1", "TLSv1.3", False, (ExplainAssumption("ip", "\x1b[31mred"),)),
    )
    assert "\x1b" not in text
    assert "over TLSv1.3, without a certificate" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_terminal_without_these_signs_gets_others(page, monkeypatch):
    class Plain:
        encoding = "ascii"

        def __init__(self, stream):
            self._stream = stream

        def __getattr__(self, name):
            return getattr(self._stream, name)

    monkeypatch.setattr(sys, "stdout", Plain(sys.stdout))
    text = page("x@any.test", "ann@contoso.example")
    assert text.isascii()
    assert "<x@any.test> -> <ann@contoso.example>" in text
    assert "  x 'n00'" in text


def test_live_without_a_next_hop_says_so(page):
    assert "LIVE          no server is tried: the mail goes into a mailbox here" in page(
        "x@any.test", "ann@contoso.example", reports=[]
    )


def test_mail_that_memory_may_hold_is_said_to_be(capsys):
    table = {"accepted_domain": [{"name": "contoso.example"}], "protection_drop": "hold"}
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in ("ann@contoso.example", "x@any.test"))
    explanation = explain(Directory(parse({"organization": {"contoso": table}})), SessionFacts("", ASKED.ip), *ends)
    print_all(explanation)
    told = " ".join(capsys.readouterr().out.split())
    assert 'With protection_drop = "hold", mail is held for an administrator if the destination protected mail' in told
    print_all(replace(explanation, held_below_memory=False))
    assert "protection_drop" not in capsys.readouterr().out


def test_what_others_decide_is_not_told_and_not_taken_for_nobodys(capsys):
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in ("x@any.test", "ann@contoso.example"))
    answer = ExplainResult(explain(DIRECTORY, SessionFacts("", ASKED.ip), *ends), ASKED, None, 86400.0, None, False)
    hidden = replace(answer, withheld=frozenset({"inbound", "outbound"}))
    assert hidden.succeeds is None
    print_explanation(explain_record(hidden))
    text = capsys.readouterr().out
    assert text.count("another organization decides; you cannot see its decision") == 2
    assert "nobody" not in text.replace("nothing; use --ip ADDRESS to simulate a client", "")
    assert "trial" not in text


def test_what_each_address_presents(capsys):
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in ("x@contoso.example", "y@internet.test"))
    record = explain_record(
        ExplainResult(explain(DIRECTORY, SessionFacts("", ASKED.ip), *ends), ASKED, (), 86400.0, None, False)
    )
    tasks = [
        {"name": "connect", "status": "done", "detail": "well", "seconds": 0.1},
        {"name": "tls", "status": "failed", "detail": "no", "advice": "ask them", "seconds": 0.1},
        {"name": "quit", "status": "skipped", "detail": "not tried", "seconds": 0.0},
    ]
    hosts = [{"host": "mx", "address": "192.0.2.1:25", "passed": False, "tasks": tasks}]
    print_explanation(record | {"live": [*hosts, {"host": "mx2", "address": "", "passed": True, "tasks": []}]})
    text = capsys.readouterr().out
    assert "LIVE          1 of 2 addresses: requirement met\n  ✗ mx (192.0.2.1:25)\n" in text
    assert "tls            failed: no\n                     → ask them\n  ✓ mx2\n" in text
    assert "quit" not in text


@pytest.mark.parametrize(
    ("missing", "lines"),
    [
        ("", ["as gate@contoso.example with a password, by PLAIN"]),
        ("no secret", ["as gate@contoso.example with a password, by PLAIN", "no secret"]),
    ],
)
def test_the_log_in_to_the_smart_hosts(capsys, missing, lines):
    ends = (parse_path(f"<{one}>", smtputf8=True) for one in ("ann@contoso.example", "x@any.test"))
    answer = ExplainResult(
        explain(DIRECTORY, SessionFacts("", "203.0.113.1"), *ends), ASKED, None, 86400.0, None, False
    )
    login = ExplainLogin("gate@contoso.example", "with a password, by PLAIN", missing)
    print_explanation(explain_record(replace(answer, login=login)))
    printed = " ".join(capsys.readouterr().out.split())
    for line in lines:
        assert line in printed
    assert "log-in" in printed
