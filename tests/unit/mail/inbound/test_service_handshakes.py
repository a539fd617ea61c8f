from __future__ import annotations

import logging

import pytest

from gatepost.mail.inbound.service import HandshakeLog
from gatepost.policy.connectors.facts import SessionFacts

FACTS = SessionFacts("0123456789abcdef", "203.0.113.9", "client.example")


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "gatepost.mail.inbound.service")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_handshake_that_fails_is_one_line_with_the_client_and_its_alert(lines):
    log = HandshakeLog(lines=1, clock=lambda: 5.0)
    for _ in range(2):
        log.failed(FACTS, "tlsv1 alert unknown ca\n")
    assert lines() == [
        "TLS handshake failed: session 0123456789abcdef 203.0.113.9 (client.example): tlsv1 alert unknown ca?"
    ]


def test_a_flood_is_counted(lines):
    now = [5.2]
    log = HandshakeLog(lines=3, clock=lambda: now[0])
    for _ in range(10):
        log.failed(FACTS, "x")
    assert len(lines()) == 3
    now[0] = 6.0
    for _ in range(2):
        log.failed(FACTS, "x")
    assert lines()[3] == "left out 7 more lines about handshakes"
    assert len(lines()) == 6
    now[0] = 7.0
    log.failed(FACTS, "x")
    assert len(lines()) == 7


def test_nothing_is_written_where_nobody_reads_it(lines, caplog):
    caplog.set_level(logging.WARNING, "gatepost.mail.inbound.service")
    HandshakeLog().failed(FACTS, "x")
    assert lines() == []
