from __future__ import annotations

import pytest

from gatepost.events.counts import (
    EventMeter,
    count_connection,
    count_failed_session,
    count_session,
    level_of,
    verdict_of,
)
from gatepost.events.metrics.catalogue import CATALOGUE
from gatepost.events.metrics.counts import Counts
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.values import replace

LABELS = {one.name: one.labels for one in CATALOGUE}


def event(name, **fields):
    given = {
        "at": 1.0,
        "message": "1",
        "organization": "contoso",
        "direction": "incoming",
        "session": "s",
        "sender": "a@b.example",
        "recipient": "c@d.example",
    }
    return TraceEvent(event=name, **(given | fields))


def counted(*groups):
    counts = Counts()
    EventMeter(counts)(groups)
    for name, *labels in counts.numbers:
        assert len(LABELS[name]) == len(labels), name
    return {"/".join(series).removeprefix("gatepost_"): count for series, count in counts.numbers.items()}, counts


def test_a_message_for_two_and_what_became_of_it():
    received = event("RECEIVE", requirement="opportunistic", achieved="encrypted", connector="in")
    sent = event(
        "SEND",
        requirement="authenticated(dane)",
        achieved="dnssec/authenticated",
        detail={"delay": 0.2, "seconds": 0.1},
    )
    failed = event("FAIL", result_type="certificate-expired", requirement="encrypted", achieved="none/none")
    found, counts = counted([received, received], [sent, failed], [])
    assert found == {
        "messages_received_total/incoming": 1,
        "recipients_total/receive/incoming": 2,
        "connector_recipients_total/contoso/in/receive": 2,
        "tls_verdicts_total/inbound/opportunistic/encrypted": 2,
        "recipients_total/send/incoming": 1,
        "tls_verdicts_total/outbound/authenticated/authenticated": 1,
        "recipients_total/fail/incoming": 1,
        "tls_delivery_failures_total/certificate-expired": 1,
    }
    assert {name: sum(one.counts) for (name, *_), one in counts.histograms.items()} == {
        "gatepost_delivery_delay_seconds": 1,
        "gatepost_attempt_seconds": 1,
    }


REFUSED = [
    ("550 5.7.64 TenantAttribution", "5.7.64"),
    ("421 too many", "421"),
    ("", "none"),
    ("550 5.1.1", "5.1.1"),
]


@pytest.mark.parametrize(("reply", "code"), REFUSED)
def test_refusals_by_code(reply, code):
    found, _ = counted([event("REFUSE", reply=reply, direction="")])
    assert found == {"recipients_total/refuse/none": 1, f"refusals_total/{code}": 1}


def test_a_handshake_that_failed_has_no_recipient():
    assert counted([event("TLSFAIL", reply="unknown ca", direction="")])[0] == {}


@pytest.mark.parametrize(("version", "clear"), [("", "yes"), ("TLSv1.2", "no")])
def test_drops_in_protection(version, clear):
    found, _ = counted([event("HOLD", tls_version=version, detail={"protection_drop": {}})])
    assert found[f"protection_drops_total/{clear}"] == 1


def test_a_delivery_to_a_mailbox_made_no_hop_and_an_untried_one_no_attempt():
    found, counts = counted([event("DELIVER")])
    assert found == {"recipients_total/deliver/incoming": 1}
    assert counts.histograms == {}


def test_connectors_are_bounded():
    found, _ = counted([event("SEND", connector=f"c{number}") for number in range(150)])
    names = [name for name in found if name.startswith("connector_recipients_total")]
    assert len(names) == 101
    assert found["connector_recipients_total/other/send"] == 50


LEVELS = [
    ("authenticated(dane and *.b.example) with requiretls", "authenticated"),
    ("authenticated with requiretls", "authenticated"),
    ("dnssec/encrypted", "encrypted"),
    ("opportunistic", "opportunistic"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "level"), LEVELS)
def test_levels(text, level):
    assert level_of(text) == level
    assert verdict_of(text, "") == (level or "none", "none")


def test_sessions_and_connections():
    counts = Counts()
    facts = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "", "", resumed=False, server_name="")
    count_session(counts, "inbound", facts)
    count_session(counts, "inbound", replace(facts, resumed=True))
    count_failed_session(counts, "outbound", "certificate-expired")
    count_connection(counts, "mx")
    assert counts.numbers == {
        ("gatepost_tls_sessions_total", "inbound", "TLSv1.3", "none", "TLS_AES_256_GCM_SHA384", "no"): 1,
        ("gatepost_tls_sessions_total", "inbound", "TLSv1.3", "none", "TLS_AES_256_GCM_SHA384", "yes"): 1,
        ("gatepost_tls_failures_total", "outbound", "certificate-expired"): 1,
        ("gatepost_connections_accepted_total", "mx"): 1,
    }


def test_journal_copies_are_counted_by_form():
    numbers, _ = counted([event("SEND", detail={"journal": {"form": "report"}}), event("SEND")])
    assert numbers["journal_copies_total/report/send"] == 1
