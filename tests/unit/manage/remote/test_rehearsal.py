from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.remote import rehearsal
from gatepost.manage.use_cases import rehearsal as here
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.rehearsal import Question, conclusion, rehearsal_record
from gatepost.store.trace import write_events

from .conftest import OWNER

NOON = 1_795_521_600.0


@pytest.fixture
def mail(there):
    """Mail that a connector took and refused, of several peers and days."""
    write_events(
        there.api.gateway.data / "trace",
        "1",
        [
            TraceEvent(
                NOON + place * 40_000, event, f"{place}", "contoso", "incoming", f"s{place}", "x@bank.example",
                "ann@contoso.example", connector="bank in", peer_address=peer, peer_host="h",
                reply="530 5.7.0 Must issue a STARTTLS command first" if event == "REFUSE" else "250 2.0.0",
            )
            for place, (event, peer) in enumerate(
                [("RECEIVE", "192.0.2.1"), ("REFUSE", "192.0.2.1"), ("REFUSE", "192.0.2.2"), ("RECEIVE", "192.0.2.3")]
            )
        ],
    )  # fmt: skip
    return there


@pytest.mark.parametrize(
    "question",
    [
        Question("bank in", NOON - 10),
        Question("bank in", NOON - 10, "contoso", "inbound", replay=True),
        Question("secrets", NOON - 10, rule=True),
        Question("secret-partner", NOON - 10),
    ],
)
def test_a_report_is_the_same(mail, question):
    expected, found = here.rehearsal(mail.api.gateway, OWNER, question), rehearsal.rehearsal(mail, question)
    assert {**rehearsal_record(found), "until": 0} == {**rehearsal_record(expected), "until": 0}
    assert conclusion(found) == conclusion(expected)
    assert (found.report.failed(), found.report.peers()) == (expected.report.failed(), expected.report.peers())


def test_it_is_about_mail(mail):
    assert rehearsal.rehearsal(mail, Question("bank in", NOON - 10)).report.messages == 4


def test_a_connector_that_is_not_there(there):
    with pytest.raises(Refusal, match="bank in") as refused:
        rehearsal.rehearsal(there, Question("bank on", NOON))
    assert refused.value.kind is Kind.MISSING
