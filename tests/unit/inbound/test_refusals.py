from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from gatepost.connectors.match import Directory
from gatepost.connectors.model import parse
from gatepost.inbound.refusals import RefusalLog
from gatepost.policy.facts import SessionFacts
from gatepost.policy.inbound import decide_recipient
from gatepost.smtp.grammar import parse_path
from gatepost.smtp.replies import Reply

DIRECTORY = Directory(parse({"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}}))
FACTS = SessionFacts("0123456789abcdef", "203.0.113.9", "client.example")
ENVELOPE = "x@any.test", "bob@internet.test"
VERDICT = decide_recipient(DIRECTORY, FACTS, *(parse_path(f"<{one}>", smtputf8=False) for one in ENVELOPE))


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "gatepost.inbound.refusals")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_refusal_is_one_line_with_session_peer_reply_and_last_reason(lines):
    RefusalLog().refused(FACTS, ENVELOPE, VERDICT, VERDICT.reply)
    (line,) = lines()
    assert line == (
        "refused: session 0123456789abcdef 203.0.113.9 <x@any.test> -> <bob@internet.test>: 550 5.7.64 "
        "TenantAttribution; Relay Access Denied "
        "(recipient domain internet.test is not accepted here, and strangers may not relay)"
    )


def test_a_refused_message_is_not_given_the_reason_of_its_accepted_recipient(lines):
    RefusalLog().refused(FACTS, ("x@any.test", ""), VERDICT, Reply(554, "5.4.6", ("Hop count exceeded",)))
    assert lines() == ["refused: session 0123456789abcdef 203.0.113.9 <x@any.test>: 554 5.4.6 Hop count exceeded"]


def test_text_of_a_peer_neither_ends_a_line_nor_begins_one(lines):
    verdict = replace(VERDICT, reasons=("bears CN=x\r\nrefused: session y",))
    RefusalLog().refused(FACTS, ENVELOPE, verdict, verdict.reply)
    assert "bears CN=x??refused" in lines()[0]


def test_a_handshake_that_fails_is_one_line_with_the_client_and_its_alert(lines):
    log = RefusalLog(lines=1, clock=lambda: 5.0)
    for _ in range(2):
        log.no_handshake(FACTS, "tlsv1 alert unknown ca\n")
    assert lines() == [
        "TLS handshake failed: session 0123456789abcdef 203.0.113.9 (client.example): tlsv1 alert unknown ca?"
    ]


def test_a_flood_is_counted(lines):
    now = [5.2]
    log = RefusalLog(lines=3, clock=lambda: now[0])
    for _ in range(10):
        log.refused(FACTS, ENVELOPE, VERDICT, VERDICT.reply)
    assert len(lines()) == 3
    now[0] = 6.0
    for _ in range(2):
        log.refused(FACTS, ENVELOPE, VERDICT, VERDICT.reply)
    assert lines()[3] == "7 more lines were left out; gatepost trace search --event REFUSE"
    assert len(lines()) == 6
    now[0] = 7.0
    log.refused(FACTS, ENVELOPE, VERDICT, VERDICT.reply)
    assert len(lines()) == 7


def test_nothing_is_written_where_nobody_reads_it(lines, caplog):
    caplog.set_level(logging.WARNING, "gatepost.inbound.refusals")
    RefusalLog().refused(FACTS, ENVELOPE, VERDICT, VERDICT.reply)
    assert lines() == []
