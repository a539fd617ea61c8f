from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.analysis.conftest import received

from gatepost.analysis.checks.inbound import InboundRequest, Presented, validate_inbound, with_enabled
from gatepost.analysis.checks.presented import checked_session, presented_session
from gatepost.analysis.checks.tasks import CheckResult, Task, TaskStatus
from gatepost.analysis.checks.validation import CannotValidate, Validation
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.pki.certificates.authority import Authority
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.protocols.tls.facts import ChainVerdict, Revocation
from gatepost.store.interface import TraceFilter

NOW = time.time()
DAY = 86400.0
PARTNER = {
    "name": "bank",
    "sender_domains": ["bank.example"],
    "restrict_domains_to_certificate": True,
    "tls_sender_certificate_name": "*.bank.example",
}
OWN = {
    "name": "own",
    "connector_type": "on-premises",
    "sender_ip_addresses": ["192.0.2.7"],
}
CERTIFICATE = {
    "subject": "CN=mail.bank.example",
    "issuer": "CN=Root",
    "names": ["mail.bank.example"],
    "serial": "1",
    "sha1": "aa",
    "sha256": "bb",
    "not_before": 0.0,
    "not_after": 9e9,
    "key": "EC-P-256",
}
TLS = {
    "version": "TLSv1.3",
    "suite": "TLS_AES_256_GCM_SHA384",
    "group": "X25519",
    "signature": "",
    "resumed": False,
    "server_name": "",
}


def event(**fields: Any) -> TraceEvent:
    return received(**{"at": NOW - DAY} | fields)


def with_certificate(chain: str = "trusted", *names: str) -> dict[str, Any]:
    certificate = CERTIFICATE | {"names": list(names or ("mail.bank.example",))}
    return {"tls": TLS | {"chain": chain, "chain_detail": "why", "certificate": certificate}, "tls_version": "TLSv1.3"}


def matching(rows: list[TraceEvent], wanted: TraceFilter) -> list[TraceEvent]:
    """As the store would find them, newest first."""
    return [
        row
        for row in sorted(rows, key=lambda one: one.at, reverse=True)
        if row.at >= wanted.since
        and wanted.connector in {"", row.connector}
        and wanted.organization in {"", row.organization}
        and row.sender.endswith(wanted.sender)
    ][: wanted.limit]


def validate(
    connector: dict[str, Any],
    *rows: TraceEvent,
    others: tuple[dict[str, Any], ...] = (),
    domains: tuple[str, ...] = ("contoso.example",),
    anchors: str = "system",
    **options: Any,
) -> Validation:
    organization = {
        "accepted_domain": [{"name": name, "type": "internal-relay"} for name in domains],
        "mailbox": [{"address": "ann@contoso.example"}],
        "inbound_connector": [connector, *others],
    }
    directory = Directory(parse({"organization": {"contoso": organization}}), 9)
    contoso = directory.resources.organizations[0]
    request = InboundRequest(
        contoso,
        contoso.inbound_connectors[0],
        NOW,
        NOW - 30 * DAY,
        anchors=anchors,
        **{name: value(directory) if callable(value) else value for name, value in options.items()},
    )
    return validate_inbound(directory, request, lambda wanted: matching(list(rows), wanted))


def named(found: Validation, name: str) -> list[Task]:
    return [task for task in found.tasks if task.name == name]


def only(found: Validation, name: str) -> Task:
    (task,) = named(found, name)
    return task


# seen


def test_mail_that_was_seen_is_the_proof(tmp_path: Path) -> None:
    rows = [event(message=f"{number:x}", at=NOW - number * DAY, **with_certificate()) for number in range(1, 4)] + [
        event(message="1", recipient="joe@contoso.example", peer_address="198.51.100.10")
    ]
    found = validate(PARTNER, *rows, anchors=roots(tmp_path))
    assert found.outcome is CheckResult.VALIDATED
    seen = only(found, "Seen")
    assert "3 messages in 30 days" in seen.detail
    assert "198.51.100.9 TLSv1.3 with the certificate mail.bank.example (trusted) (3)" in seen.detail
    assert "198.51.100.10 unencrypted (1)" in seen.detail
    assert (found.direction, found.configuration, found.notes) == ("inbound", 9, ())


def test_without_mail_nothing_can_be_told(tmp_path: Path) -> None:
    found = validate(PARTNER, event(at=NOW - 31 * DAY), event(connector="other"), anchors=roots(tmp_path))
    assert found.outcome is CheckResult.UNKNOWN
    assert found.verdict == "could not tell: Seen failed: no mail came by this connector in 30 days"
    assert "a session that the trace has" in only(found, "Seen").advice


def test_refusals_are_shown(tmp_path: Path) -> None:
    refused = event(event="REFUSE", message="", reply="550 5.7.51 no", at=NOW - 60)
    found = validate(PARTNER, event(), refused, anchors=roots(tmp_path))
    task = only(found, "Refused")
    assert task.status is TaskStatus.WARNING
    assert "1 refusal" in task.detail
    assert "550 5.7.51 no" in task.detail
    assert "gatepost trace show 5e55" in task.advice


def roots(tmp_path: Path) -> str:
    file = tmp_path / "roots.pem"
    file.write_bytes(Authority("Root").certificate_pem)
    return str(file)


@pytest.mark.parametrize(
    ("expected", "rows", "words", "status"),
    [
        (
            None,
            [event(**with_certificate())],
            "mail.bank.example (trusted): 1; the connector expects no name",
            "succeeded",
        ),
        (
            "mx.bank.example",
            [event(**with_certificate()), event(**with_certificate(), event="REFUSE")],
            "mail.bank.example (trusted): 2; the connector expects mx.bank.example",
            "warning",
        ),
        (
            "*.bank.example",
            [event(**with_certificate("untrusted-root", "mail.provider.example"))],
            "untrusted-root",
            "warning",
        ),
        ("*.bank.example", [event(**with_certificate())], "", ""),
        (None, [event()], "", ""),
        (None, [event(**with_certificate(), sender="eve@elsewhere.example")], "", ""),
    ],
)
def test_names_that_sessions_presented_are_offered(
    tmp_path: Path, expected: str | None, rows: list[TraceEvent], words: str, status: str
) -> None:
    """exchange.md section 15, item 9."""
    connector = {"name": "bank", "sender_domains": ["bank.example", "*"], "tls_sender_certificate_name": expected}
    found = validate({key: value for key, value in connector.items() if value}, *rows, anchors=roots(tmp_path))
    tasks = named(found, "Learned names")
    assert [(str(task.status), words in task.text) for task in tasks] == ([(status, True)] if status else [])


def test_own_servers_are_known_by_the_accepted_domains() -> None:
    rows = [event(connector="own", sender="ann@contoso.example", **with_certificate("trusted", "mail.contoso.example"))]
    assert "mail.contoso.example" in only(validate(OWN, *rows), "Learned names").detail


def test_that_senders_write_to_another_organization_is_not_told() -> None:
    rows = [event(organization="fabrikam", session=str(number), **with_certificate()) for number in range(3)]
    found = validate({"name": "bank", "sender_domains": ["bank.example"]}, *rows)
    assert named(found, "Learned names") == []
    assert "mail.bank.example" not in str(found)


# configuration


def test_known_traps_are_warnings() -> None:
    harmless = {"name": "bank", "sender_domains": ["bank.example"], "require_tls": False}
    task = only(validate(harmless, event()), "Configuration")
    assert task.status is TaskStatus.WARNING
    assert "it demands nothing" in task.detail
    other = OWN | {"name": "other", "tls_sender_certificate_name": "mail.elsewhere.example"}
    assert only(validate(OWN, event(connector="own"), others=(other,)), "Configuration").status == "succeeded"
    assert "is under no accepted domain" in only(validate(other, event(connector="other")), "Configuration").detail


def test_anchors_that_cannot_be_read() -> None:
    found = validate(PARTNER | {"trust_anchors": "/nowhere/roots.pem"}, event())
    assert found.outcome is CheckResult.NOT_VALIDATED
    assert found.verdict.startswith("not validated: Trust anchors failed: /nowhere/roots.pem")


def test_a_gateway_without_certificate_cannot_meet_a_demand_for_tls(tmp_path: Path) -> None:
    found = validate(PARTNER, event(), offers_tls=False, anchors=roots(tmp_path))
    assert "this gateway offers none" in found.verdict
    assert validate(OWN, event(connector="own"), offers_tls=False).outcome is CheckResult.VALIDATED


@pytest.mark.parametrize(
    ("fields", "note"), [({"enabled": False}, "the connector is disabled"), ({"mode": "rehearse"}, "in rehearsal")]
)
def test_what_is_not_in_force_is_tried_all_the_same(tmp_path: Path, fields: dict[str, Any], note: str) -> None:
    captured = [event(**with_certificate())]
    found = validate(PARTNER | fields, captured=captured, anchors=roots(tmp_path))
    assert only(found, "Replay").status is TaskStatus.SUCCEEDED
    assert note in found.notes[0]


# replay


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        (with_certificate(), "succeeded", "accepted by this connector"),
        (with_certificate("chain-incomplete"), "failed", "refuses it with 550 5.7.51"),
        (with_certificate("trusted", "mail.other.example"), "failed", "refuses it with 550 5.7.51"),
        ({}, "failed", "refuses it with 530 5.7.0"),
        (with_certificate() | {"sender": "eve@other.example"}, "failed", "no connector would accept it"),
    ],
)
def test_a_captured_session_is_decided_by_todays_configuration(
    tmp_path: Path, fields: dict[str, Any], status: str, words: str
) -> None:
    found = validate(PARTNER, captured=[event(**fields)], anchors=roots(tmp_path))
    task = only(found, "Replay")
    assert str(task.status) == status
    assert words in task.detail
    assert "198.51.100.9" in task.detail
    assert bool(task.advice) is (status == "failed")
    assert found.outcome == ("validated" if status == "succeeded" else "not-validated")


def test_another_connector_that_takes_it_is_named(tmp_path: Path) -> None:
    exception = {"name": "exception", "sender_domains": ["bank.example"], "priority": 1}
    found = validate(PARTNER, captured=[event(**with_certificate())], others=(exception,), anchors=roots(tmp_path))
    assert "not this connector, connector 'exception' would accept it" in only(found, "Replay").detail
    assert "priority" in only(found, "Replay").advice


def test_each_pair_of_addresses_is_replayed_once(tmp_path: Path) -> None:
    rows = [event(), event(), event(recipient="joe@contoso.example"), event(event="SEND", sender="x@y.example")]
    assert len(named(validate(PARTNER, captured=rows, anchors=roots(tmp_path)), "Replay")) == 2


def test_a_refusal_at_mail_has_no_recipient(tmp_path: Path) -> None:
    rows = [event(event="REFUSE", recipient="", **with_certificate())]
    assert only(validate(PARTNER, captured=rows, anchors=roots(tmp_path)), "Replay").status is TaskStatus.SUCCEEDED


def test_rows_that_do_not_say_how_mail_came_in() -> None:
    with pytest.raises(CannotValidate, match="no event that shows"):
        validate(PARTNER, captured=[event(event="SEND")])


# upload


def uploaded(pem: bytes, ip: str, sender: str, anchors: str, recipient: str = "") -> Any:
    def made(directory: Directory) -> Presented:
        return Presented(presented_session(pem, ip, directory, anchors, now=NOW), sender, recipient)

    return made


def test_an_uploaded_certificate(tmp_path: Path) -> None:
    authority, stranger = Authority("Root"), Authority("Stranger")
    anchors = tmp_path / "roots.pem"
    anchors.write_bytes(authority.certificate_pem)

    def decided(pem: bytes, **fields: Any) -> Task:
        presented = uploaded(pem, "198.51.100.9", "eve@bank.example", str(anchors))
        return only(validate(PARTNER | fields, presented=presented, anchors=str(anchors)), "Presented")

    good, other = authority.issue(["mail.bank.example"])[0], authority.issue(["mail.other.example"])[0]
    strange = stranger.issue(["mail.bank.example"])[0]
    assert decided(good).status is TaskStatus.SUCCEEDED
    assert "TLSv1.3 with the certificate CN=mail.bank.example (trusted)" in decided(good).detail
    for pem in (other, strange, b""):
        assert decided(pem).status is TaskStatus.FAILED
        assert "550 5.7.51" in decided(pem).detail
    theirs = tmp_path / "theirs.pem"
    theirs.write_bytes(stranger.certificate_pem)
    assert decided(strange, trust_anchors=str(theirs)).status is TaskStatus.SUCCEEDED
    assert decided(good, trust_anchors=str(theirs)).status is TaskStatus.FAILED
    assert decided(good, trust_anchors="/nowhere").status is TaskStatus.FAILED


def test_a_disabled_connector_with_anchors_of_its_own(tmp_path: Path) -> None:
    authority, anchors = Authority("Theirs"), tmp_path / "theirs.pem"
    anchors.write_bytes(authority.certificate_pem)
    off = PARTNER | {"trust_anchors": str(anchors), "enabled": False}
    pem = authority.issue(["mail.bank.example"])[0]

    def made(directory: Directory) -> Presented:
        contoso = directory.resources.organizations[0]
        enabled = with_enabled(directory, contoso, contoso.inbound_connectors[0])
        assert with_enabled(enabled, *pair(enabled)) is enabled
        session = presented_session(pem, "198.51.100.9", enabled, roots(tmp_path), now=NOW)
        return Presented(session, "eve@bank.example", "")

    assert only(validate(off, presented=made, anchors=roots(tmp_path)), "Presented").status == "succeeded"


def pair(directory: Directory) -> tuple[Any, Any]:
    contoso = directory.resources.organizations[0]
    return contoso, contoso.inbound_connectors[0]


@pytest.mark.parametrize(
    ("learnt", "check", "status"),
    [
        (Revocation("good", "", "crl"), "soft-fail", "succeeded"),
        (Revocation("revoked", "revoked on 2026-11-01", "crl"), "soft-fail", "failed"),
        (Revocation("unknown", "no answer"), "soft-fail", "succeeded"),
        (Revocation("unknown", "no answer"), "hard-fail", "failed"),
        (Revocation("revoked", "revoked on 2026-11-01", "crl"), "none", "succeeded"),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_revocation_of_an_uploaded_certificate(
    tmp_path: Path, learnt: Revocation, check: str, status: str, own: bool
) -> None:
    authority, anchors = Authority("Root"), tmp_path / "root.pem"
    anchors.write_bytes(authority.certificate_pem)
    pem = authority.issue(["mail.bank.example"])[0]
    asked: list[ChainVerdict] = []

    async def answer(chain: ChainVerdict) -> Revocation:
        asked.append(chain)
        return learnt

    def made(directory: Directory) -> Presented:
        session = presented_session(pem, "198.51.100.9", directory, str(anchors), now=NOW)
        checked = asyncio.run(checked_session(session, directory, answer))
        return Presented(checked, "eve@bank.example", "")

    fields = {"revocation_check": check} | ({"trust_anchors": str(anchors)} if own else {})
    task = only(validate(PARTNER | fields, presented=made, anchors=str(anchors)), "Presented")
    assert str(task.status) == status
    assert len(asked) == (check != "none")


@pytest.mark.parametrize("limit", ["pilot.example", "*.pilot.example"])
def test_a_connector_for_some_domains_is_tried_with_a_recipient_in_one(limit: str) -> None:
    by_address = PARTNER | {"restrict_domains_to_ip_addresses": True, "sender_ip_addresses": ["192.0.2.7"]}
    limited = {key: value for key, value in by_address.items() if "certificate" not in key} | {
        "require_tls": False,
        "associated_accepted_domains": [limit],
    }
    presented = uploaded(b"", "192.0.2.7", "eve@bank.example", "system")
    task = only(validate(limited, domains=("contoso.example", limit), presented=presented), "Presented")
    assert str(task.status) == "succeeded"


@pytest.mark.parametrize(
    ("ip", "sender", "status"),
    [
        ("192.0.2.7", "ann@contoso.example", "succeeded"),
        ("192.0.2.8", "ann@contoso.example", "failed"),
        ("192.0.2.7", "", "failed"),
    ],
)
def test_an_address(ip: str, sender: str, status: str) -> None:
    presented = uploaded(b"", ip, sender, "system", "anybody@elsewhere.example")
    assert str(only(validate(OWN, presented=presented), "Presented").status) == status


@pytest.mark.parametrize(
    ("pem", "ip", "sender", "recipient", "words"),
    [
        (b"", "mail.bank.example", "", "", "'mail.bank.example' is not an IP address"),
        (b"no certificate", "192.0.2.1", "", "", "no readable PEM certificate"),
        (b"", "192.0.2.1", "eve", "", "'eve' is not a mail address"),
        (b"", "192.0.2.1", "eve@bank.example", "ann@", "'ann@' is not a mail address"),
    ],
)
def test_bad_input(pem: bytes, ip: str, sender: str, recipient: str, words: str) -> None:
    with pytest.raises(CannotValidate) as said:
        validate(PARTNER, presented=uploaded(pem, ip, sender, "system", recipient))
    assert words in str(said.value)
