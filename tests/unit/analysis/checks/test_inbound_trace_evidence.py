"""How rows of the trace are counted; what follows for a validation is in `test_inbound`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.analysis.conftest import received

from gatepost.analysis.checks.inbound import seen_tasks
from gatepost.analysis.checks.tasks import Task, TaskStatus
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.model import parse
from gatepost.store.interface import TraceFilter

NOW = 1_795_528_800.0


def row(**fields: Any) -> TraceEvent:
    return received(**{"at": NOW - 60} | fields)


def tasks(
    rows: list[TraceEvent], *, sole: bool = True, asked: list[TraceFilter] | None = None, **fields: Any
) -> list[Task]:
    connector = {"name": "bank", "sender_domains": ["bank.example"]} | fields
    organization = {"accepted_domain": [{"name": "contoso.example"}], "inbound_connector": [connector]}
    contoso = parse({"organization": {"contoso": organization}}).organizations[0]

    def search(wanted: TraceFilter) -> list[TraceEvent]:
        if asked is not None:
            asked.append(wanted)
        return rows

    return seen_tasks(contoso, contoso.inbound_connectors[0], search, (NOW - 7 * 86400, NOW), sole=sole)


def test_messages_are_counted_not_recipients() -> None:
    (seen,) = tasks([row(), row(recipient="joe@contoso.example"), row(message="1b")])
    assert seen.status is TaskStatus.SUCCEEDED
    assert "2 messages in 7 days" in seen.detail
    assert "198.51.100.9 unencrypted (3)" in seen.detail


def test_only_the_most_frequent_peers_are_named() -> None:
    (seen,) = tasks([row(message=str(number), peer_address=f"198.51.100.{number}") for number in range(8)])
    assert seen.detail.count("198.51.100.") == 5
    assert seen.text.endswith("; and 3 more")


@pytest.mark.parametrize(("sole", "status"), [(True, TaskStatus.FAILED), (False, TaskStatus.WARNING)])
def test_no_mail_is_nobodys_fault(sole: bool, status: TaskStatus) -> None:
    (seen,) = tasks([], sole=sole)
    assert (seen.status, seen.ours) == (status, True)


def test_what_is_asked_of_the_trace_is_bounded() -> None:
    asked: list[TraceFilter] = []
    tasks([], asked=asked, sender_domains=["*.bank.example", "*", *(f"d{number}.example" for number in range(20))])
    assert (asked[0].connector, asked[0].organization, asked[0].since) == ("bank", "contoso", NOW - 7 * 86400)
    assert asked[1].sender == "@bank.example"
    assert len(asked) == 11
    assert all(0 < wanted.limit <= 10_000 for wanted in asked)


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"version": "TLSv1.2"}, "198.51.100.9 TLSv1.2 without a certificate"),
        ({"certificate": {"subject": "CN=x", "names": []}, "chain": "expired"}, "with the certificate CN=x (expired)"),
        (
            {"certificate": {"names": ["a.example", "b.example"]}},
            "with the certificate a.example, b.example (not judged)",
        ),
    ],
)
def test_how_a_peer_is_shown(tls: dict[str, Any], words: str) -> None:
    assert words in tasks([row(tls=tls, tls_version="TLSv1.2")])[0].detail


def test_a_learned_name_below_the_senders_domain_offers_the_wildcard_too() -> None:
    tls = {"chain": "trusted", "certificate": {"names": ["out7.bank.example"]}}
    _, learned = tasks([row(tls=tls)])
    assert learned.advice.endswith("set tls_sender_certificate_name to it, or to *.bank.example for all their servers.")
    elsewhere = {"chain": "trusted", "certificate": {"names": ["mail.provider.example"]}}
    assert tasks([row(tls=elsewhere)])[1].advice.endswith("set tls_sender_certificate_name to it.")


def test_a_learned_name_that_is_not_trusted_counts_for_nothing() -> None:
    tls = {"chain": "chain-incomplete", "certificate": {"names": ["out7.bank.example"]}}
    assert "is not trusted (chain-incomplete)" in tasks([row(tls=tls)])[1].advice
