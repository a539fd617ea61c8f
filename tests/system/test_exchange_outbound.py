"""Proves that mail leaves as Exchange lets it leave: the cases O1 to O5, over real sockets to partners of every defect.

O6 to O8 are in test_mail_flow_rules, V1 in test_validate. No partner that falls short ever sees a MAIL command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.gateway import Gateway
from support.scenes import connector, contoso, outcomes, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.sink import Behaviour, Sink


@dataclass(frozen=True, slots=True)
class Case:
    """A partner, a demand, and what must come of it.

    certificate: "" the partner has no TLS, "good", "self-signed", "self-signed expired", "other name". detail: what the
    reply kept for the queue must say.
    """

    certificate: str
    fields: dict[str, Any]
    event: str
    reply: str = "250"
    achieved: str = ""
    result_type: str = ""
    detail: tuple[str, ...] = ()


OPPORTUNISTIC: dict[str, Any] = {}
ENCRYPTED = {"tls_settings": "encryption-only"}
VALIDATED = {"tls_settings": "certificate-validation"}
NAMED = {"tls_settings": "domain-validation", "tls_domain": "*.partner.example"}
NO_TLS = ("STARTTLS is required to send mail", "Presented: no STARTTLS")

CASES = {
    "o1-clear": Case("", OPPORTUNISTIC, "SEND", achieved="none/none"),
    "o1-tls": Case("self-signed", OPPORTUNISTIC, "SEND", achieved="none/encrypted"),
    "o2-any-certificate": Case("self-signed expired", ENCRYPTED, "SEND", achieved="none/encrypted"),
    "o3-self-signed": Case(
        "self-signed", VALIDATED, "DEFER", "450 4.7.320", result_type="certificate-not-trusted",
        detail=("UntrustedRoot", "LastAttemptedServerName=127.0.0.1"),
    ),
    "o3-trusted": Case("other name", VALIDATED, "SEND", achieved="none/authenticated"),
    "o4-other-name": Case(
        "other name", NAMED, "DEFER", "450 4.7.320", result_type="certificate-host-mismatch",
        detail=("SubjectMismatch Expected Subject: *.partner.example.", "CN=Server01", "Thumbprint: "),
    ),
    "o4-right-name": Case("good", NAMED, "SEND", achieved="none/authenticated"),
    "o5-encryption-only": Case(
        "", ENCRYPTED, "DEFER", "450 4.4.317", result_type="starttls-not-supported", detail=NO_TLS
    ),
    "o5-certificate-validation": Case(
        "", VALIDATED, "DEFER", "450 4.4.317", result_type="starttls-not-supported", detail=NO_TLS
    ),
    "o5-domain-validation": Case(
        "", NAMED, "DEFER", "450 4.4.317", result_type="starttls-not-supported", detail=NO_TLS
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def leaves(pki: Pki) -> dict[str, Leaf | None]:
    return {
        "": None,
        "good": pki.leaf("mail.partner.example"),
        "self-signed": pki.self_signed("mail.partner.example"),
        "self-signed expired": pki.self_signed("mail.partner.example", days=(-90, -1)),
        "other name": pki.leaf("Server01", names=["server01.internal.example"]),
    }


@pytest.fixture(scope="module")
def partners(leaves: dict[str, Leaf | None]) -> Iterator[dict[str, Sink]]:
    sinks = {name: Sink(certificate=leaves[case.certificate], behaviour=Behaviour()) for name, case in CASES.items()}
    for sink in sinks.values():
        sink.start()
    yield sinks
    for sink in sinks.values():
        sink.stop()


@pytest.fixture(scope="module")
def events(partners: dict[str, Sink], pki: Pki) -> Iterator[tuple[Gateway, dict[str, dict[str, Any]]]]:
    """A message to each partner was sent: the trace's row for each."""
    outbound = [connector(f"{name}.example", partners[name].address, **case.fields) for name, case in CASES.items()]
    with Gateway(contoso(outbound=outbound), anchors=pki.root) as gateway:
        for name in CASES:
            send(gateway.port, f"bob@{name}.example")
        yield gateway, outcomes(gateway, {f"bob@{name}.example": case.event for name, case in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_what_leaves_and_what_waits(
    events: tuple[Gateway, dict[str, dict[str, Any]]],
    partners: dict[str, Sink],
    leaves: dict[str, Leaf | None],
    name: str,
) -> None:
    case, sink, row = CASES[name], partners[name], events[1].get(f"bob@{name}.example", {})
    assert row, "the trace has no such row"
    assert row["reply"].startswith(case.reply), row["reply"]
    assert row.get("result_type", "") == case.result_type
    assert all(words in row["reply"] for words in case.detail), row["reply"]
    if case.event == "SEND":
        assert row["achieved"] == case.achieved
        assert len(sink.messages) == 1
        assert sink.messages[0].tls == row.get("tls_version", "")
    else:
        assert sink.messages == []
        assert sink.counts["MAIL"] == 0
        leaf = leaves[case.certificate]
        assert leaf is None or leaf.sha256.upper() in row["reply"]


def test_o3_after_its_time_it_is_returned_with_the_permanent_twin(pki: Pki) -> None:
    sink = Sink(certificate=pki.self_signed("mail.partner.example"))
    outbound = [connector("partner.example", sink.address, **VALIDATED)]
    with sink, Gateway(contoso(outbound=outbound, message_expiration="2s"), anchors=pki.root) as gateway:
        send(gateway.port, "bob@partner.example")
        (row,) = gateway.wait_trace(event="EXPIRE")
        assert row["reply"].startswith("550 5.7.320 Message expired, Certificate validation failed")
        assert "UntrustedRoot" in row["reply"]
        (notice,) = gateway.wait_maildir("alice@contoso.example")
        assert b"5.7.320" in notice.content
        assert sink.counts["MAIL"] == 0
