from __future__ import annotations

import json

import msgspec
import pytest

from gatepost.events.trace import certificate_record, outcome_events, received_event, refused_event, tls_record
from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.model.message import Delivery, Journal, Message, Recipient
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, Revocation, TlsFacts
from gatepost.values import replace

LEAF = CertificateFacts(
    "CN=mail.b.example",
    "CN=Test CA",
    "0a1b",
    "mail.b.example",
    ("mail.b.example", "b.example"),
    (),
    "aa" * 32,
    "bb" * 20,
    "cc" * 32,
    1.0,
    2.0,
    "EC-P-256",
)
CERTIFICATE = {
    "subject": "CN=mail.b.example",
    "issuer": "CN=Test CA",
    "names": ["mail.b.example", "b.example"],
    "serial": "0a1b",
    "sha1": "bb" * 20,
    "sha256": "aa" * 32,
    "not_before": 1.0,
    "not_after": 2.0,
    "key": "EC-P-256",
}
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519MLKEM768", "ed25519", True, "mx.contoso.example", (b"der",))
HANDSHAKE = {
    "version": "TLSv1.3",
    "suite": "TLS_AES_256_GCM_SHA384",
    "group": "X25519MLKEM768",
    "signature": "ed25519",
    "resumed": True,
    "server_name": "mx.contoso.example",
}


def known(event):
    """The columns that hold something, beside those that every row has."""
    optional = {field.name for field in msgspec.structs.fields(event) if not field.required}
    return {name: value for name, value in msgspec.to_builtins(event).items() if value or name not in optional}


def test_a_certificate_is_recognised_by_its_record():
    assert certificate_record(LEAF) == CERTIFICATE


def test_a_certificate_with_a_thousand_names_does_not_fill_the_trace():
    names = tuple(f"{number}.example" for number in range(1000))
    assert certificate_record(replace(LEAF, dns_names=names))["names"] == list(names[:20])


def test_the_judgement_by_anchors_of_connectors_is_kept_beside():
    by_private = {"/etc/private.pem": ChainVerdict(ChainStatus.UNTRUSTED_ROOT, "it ends at Example CA", LEAF)}
    assert tls_record(TLS, None, by_private) == HANDSHAKE | {
        "chains": {"/etc/private.pem": {"status": "untrusted-root", "detail": "it ends at Example CA"}}
    }
    assert tls_record(None, None, by_private) == {}


def test_handshakes_that_came_out_the_same_have_one_record_until_there_is_a_chain():
    """What is made of a record (`events.evidence.entry`) is then made once, not for each session."""
    again = replace(TLS, peer_chain=(b"other",))
    assert tls_record(again, None) is tls_record(TLS, None)
    assert tls_record(replace(TLS, resumed=not TLS.resumed), None) != tls_record(TLS, None)
    judged = tls_record(TLS, ChainVerdict(ChainStatus.TRUSTED, "", None))
    assert judged == tls_record(TLS, None) | {"chain": "trusted"}
    assert "chain" not in tls_record(TLS, None)


@pytest.mark.parametrize(
    ("facts", "chain", "record"),
    [
        (None, None, {}),
        (None, ChainVerdict(ChainStatus.TRUSTED, "", LEAF), {}),
        (TLS, None, HANDSHAKE),
        (TLS, ChainVerdict(ChainStatus.NO_CERTIFICATE, "", None), HANDSHAKE | {"chain": "no-certificate"}),
        (
            TLS,
            ChainVerdict(ChainStatus.INVALID, "the leaf cannot be parsed", None),
            HANDSHAKE | {"chain": "invalid", "chain_detail": "the leaf cannot be parsed"},
        ),
        (
            TLS,
            ChainVerdict(ChainStatus.EXPIRED, "it ended yesterday", LEAF),
            HANDSHAKE | {"chain": "expired", "chain_detail": "it ended yesterday", "certificate": CERTIFICATE},
        ),
        (
            TLS,
            ChainVerdict(ChainStatus.TRUSTED, "", LEAF),
            HANDSHAKE | {"chain": "trusted", "certificate": CERTIFICATE},
        ),
    ],
)
def test_a_handshake_and_what_was_thought_of_the_chain(facts, chain, record):
    assert tls_record(facts, chain) == record
    json.dumps(record)


def test_certificates_as_anchors_are_kept_by_their_fingerprints() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"
    (name,) = tls_record(TLS, None, {pem: ChainVerdict(ChainStatus.TRUSTED, "", None)})["chains"]
    assert name.startswith("SHA-256 ")


def test_what_was_learnt_of_revocation_is_kept() -> None:
    learnt = Revocation("unknown", "http://crl.example/: no connection")
    chain = ChainVerdict(ChainStatus.TRUSTED, "", None, revocation=learnt)
    record = tls_record(TLS, chain, {"/etc/private.pem": chain})
    said = "unknown: http://crl.example/: no connection"
    assert record["revocation"] == said
    assert record["chains"]["/etc/private.pem"] == {"status": "trusted", "detail": "", "revocation": said}


DIRECTORY = Directory(
    parse(
        {
            "organization": {
                "contoso": {
                    "accepted_domain": [{"name": "contoso.example"}],
                    "inbound_connector": [{"name": "lab", "sender_domains": ["lab.example"], "require_tls": True}],
                }
            }
        }
    )
)
OK = Reply(250, "2.0.0", ("Queued as 1a",))
SESSION = SessionFacts("0123456789abcdef", "203.0.113.9", "client.example")


def verdict(session, sender="l@lab.example", recipient="ann@contoso.example"):
    paths = [parse_path(f"<{one}>", smtputf8=False) for one in (sender, recipient)]
    return decide_recipient(DIRECTORY, session, *paths)


LEVELS = [
    ({}, "none", "", ""),
    (tls_record(TLS, None), "encrypted", "TLSv1.3", "X25519MLKEM768"),
    (tls_record(TLS, ChainVerdict(ChainStatus.EXPIRED, "", LEAF)), "encrypted", "TLSv1.3", "X25519MLKEM768"),
    (tls_record(TLS, ChainVerdict(ChainStatus.TRUSTED, "", LEAF)), "authenticated", "TLSv1.3", "X25519MLKEM768"),
]


@pytest.mark.parametrize(("tls", "achieved", "version", "group"), LEVELS)
def test_a_message_received(tls, achieved, version, group):
    decided = verdict(replace(SESSION, tls=TLS))
    message = Message(
        26,
        "contoso",
        1234.5,
        "l@lab.example",
        size=99,
        message_id="<1@lab.example>",
        subject="Results",
        session=SESSION.session_id,
        inbound={"peer": "203.0.113.9", "hello": "client.example", "tls": tls},
    )
    event = received_event(message, "ann@contoso.example", decided, Reply(250, "2.0.0", ("Queued as 1a",)))
    assert known(event) == {
        "at": 1234.5,
        "event": "RECEIVE",
        "message": "000000000000001a",
        "organization": "contoso",
        "direction": "incoming",
        "session": "0123456789abcdef",
        "sender": "l@lab.example",
        "recipient": "ann@contoso.example",
        "message_id": "<1@lab.example>",
        "subject": "Results",
        "size": 99,
        "peer_host": "client.example",
        "peer_address": "203.0.113.9",
        "connector": "lab",
        "requirement": "encrypted",
        "achieved": achieved,
        "reply": "250 2.0.0 Queued as 1a",
        "detail": {
            "configuration": 0,
            "basis": "sender",
            "reasons": list(decided.reasons),
        },
    } | ({"tls": tls, "tls_version": version, "tls_group": group} if tls else {})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"require_tls": True}, {"requiretls": "asked for"}),
        ({"tls_required_no": True}, {"tls_required": "No"}),
        ({}, {}),
    ],
)
def test_what_a_message_asks_of_tls_is_told(fields, told):
    event = received_event(
        Message(1, "contoso", 1.0, "", **fields), "a@b.example", verdict(SESSION), Reply(250, "2.0.0", ("OK",))
    )
    assert {key: event.detail[key] for key in ("requiretls", "tls_required") if key in event.detail} == told


def test_a_notice_of_our_own_came_by_no_session():
    event = received_event(
        Message(1, "contoso", 1.0, ""), "a@b.example", verdict(SESSION), Reply(250, "2.0.0", ("OK",))
    )
    assert (event.peer_host, event.peer_address, event.achieved, event.tls) == ("", "", "none", {})


def test_a_certificate_that_the_connectors_anchors_trust_authenticates():
    """The gateway's own anchors need not know the partner's authority."""
    tls = tls_record(TLS, ChainVerdict(ChainStatus.UNTRUSTED_ROOT, "", LEAF))
    message = Message(26, "contoso", 1234.5, "l@lab.example", inbound={"tls": tls})
    by = {
        basis: replace(verdict(SESSION), basis=basis) for basis in ("sender", "certificate", "certificate-and-sender")
    }
    events = {basis: received_event(message, "ann@contoso.example", decided, OK) for basis, decided in by.items()}
    assert {basis: event.achieved for basis, event in events.items()} == {
        "sender": "encrypted",
        "certificate": "authenticated",
        "certificate-and-sender": "authenticated",
    }


@pytest.mark.parametrize(("tls", "achieved", "version", "group"), LEVELS)
def test_a_refusal(tls, achieved, version, group):
    decided = verdict(SESSION)
    assert not decided.accepted
    event = refused_event(SESSION, tls, ("l@lab.example", "ann@contoso.example"), decided, decided.reply, 77.0)
    assert known(event) == {
        "at": 77.0,
        "event": "REFUSE",
        "message": "",
        "organization": "contoso",
        "direction": "incoming",
        "session": "0123456789abcdef",
        "sender": "l@lab.example",
        "recipient": "ann@contoso.example",
        "peer_host": "client.example",
        "peer_address": "203.0.113.9",
        "connector": "lab",
        "requirement": "encrypted",
        "achieved": achieved,
        "reply": "530 5.7.0 Must issue a STARTTLS command first",
        "detail": {
            "configuration": 0,
            "basis": "sender",
            "reasons": list(decided.reasons),
            "why": decided.reasons[-1],
        },
    } | ({"tls": tls, "tls_version": version, "tls_group": group} if tls else {})


def delivery(*recipients, **fields):
    message = Message(26, "contoso", 1.0, "ann@contoso.example", size=5, direction="originating", session="s1")
    return Delivery(3, message, "contoso/b.example", [Recipient(one) for one in recipients], **fields)


FATES = [
    (Disposition.DELIVERED, {"host": "mx.b.example"}, "SEND"),
    (Disposition.DELIVERED, {"mailbox": "ann@contoso.example"}, "DELIVER"),
    (Disposition.DEFERRED, {}, "DEFER"),
    (Disposition.HELD, {}, "HOLD"),
    (Disposition.FAILED, {}, "FAIL"),
    (Disposition.FAILED, {"expired": False}, "FAIL"),
    (Disposition.FAILED, {"expired": True}, "EXPIRE"),
]


@pytest.mark.parametrize(("disposition", "detail", "name"), FATES)
def test_the_events_that_an_attempt_may_be(disposition, detail, name):
    tried = delivery("bob@b.example", attempts=2)
    result = RecipientResult(tried.recipients[0], disposition, Reply(250, "2.0.0", ("taken",)), detail)
    (event,) = outcome_events(tried, DeliveryResult([result]), 900.0, 50.0)
    assert (event.event, event.at, event.recipient, event.reply) == (name, 50.0, "bob@b.example", "250 2.0.0 taken")
    assert event.detail["attempt"] == 2
    assert event.detail.get("next_attempt") == (900.0 if name in {"DEFER", "HOLD"} else None)


def test_what_the_attempt_knew_is_in_columns_and_the_rest_in_the_detail():
    tried = delivery("bob@b.example", attempts=1)
    detail = {
        "host": "mx.b.example",
        "address": "192.0.2.1:25",
        "connector": "out",
        "requirement": "authenticated(*.b.example)",
        "achieved": "none/authenticated",
        "result_type": "certificate-expired",
        "tls": HANDSHAKE,
        "reasons": ["because"],
    }
    given = json.loads(json.dumps(detail))
    reply = Reply(450, "4.7.320", ("Certificate validation failure",))
    outcome = DeliveryResult(
        [RecipientResult(tried.recipients[0], Disposition.DEFERRED, reply, given)], seconds=0.12501
    )
    (event,) = outcome_events(tried, outcome, 9.0, 5.0)
    assert known(event) == {
        "at": 5.0,
        "event": "DEFER",
        "message": "000000000000001a",
        "organization": "contoso",
        "direction": "originating",
        "session": "s1",
        "sender": "ann@contoso.example",
        "recipient": "bob@b.example",
        "size": 5,
        "peer_host": "mx.b.example",
        "peer_address": "192.0.2.1:25",
        "connector": "out",
        "requirement": "authenticated(*.b.example)",
        "achieved": "none/authenticated",
        "tls_version": "TLSv1.3",
        "tls_group": "X25519MLKEM768",
        "tls": HANDSHAKE,
        "reply": "450 4.7.320 Certificate validation failure",
        "result_type": "certificate-expired",
        "detail": {
            "reasons": ["because"],
            "delay": 4.0,
            "seconds": 0.125,
            "attempt": 1,
            "next_attempt": 9.0,
        },
    }
    assert given == detail  # the result is not eaten: a notice is written from it


def test_each_recipient_has_a_row_of_its_own():
    tried = delivery("bob@b.example", "joe@b.example", "eve@b.example", attempts=1)
    sorts = (Disposition.DELIVERED, Disposition.DEFERRED, Disposition.FAILED)
    shared = {"host": "mx.b.example"}
    results = [
        RecipientResult(one, disposition, Reply(250, "", ("x",)), shared)
        for one, disposition in zip(tried.recipients, sorts, strict=True)
    ]
    events = outcome_events(tried, DeliveryResult(results), 9.0, 5.0)
    assert [(one.recipient, one.event, one.peer_host) for one in events] == [
        ("bob@b.example", "SEND", "mx.b.example"),
        ("joe@b.example", "DEFER", "mx.b.example"),
        ("eve@b.example", "FAIL", "mx.b.example"),
    ]


def test_the_organization_is_that_of_the_destination():
    tried = delivery("bob@b.example")
    tried.destination = "fabrikam/b.example"
    (event,) = outcome_events(
        tried,
        DeliveryResult([RecipientResult(tried.recipients[0], Disposition.FAILED, Reply(550, "", ("x",)), {})]),
        0,
        5,
    )
    assert event.organization == "fabrikam"


def test_journal_copies_are_in_the_rows_of_their_message():
    message = Message(7, "contoso", 1.0, "a@b.example")
    ok = Reply(250, "2.0.0", ("OK",))
    accepted = verdict(SESSION)
    copies = [{"to": "keep@far.example", "form": "copy"}]
    assert received_event(message, "c@d.example", accepted, ok, (), copies).detail["journaled"] == copies
    assert "journaled" not in received_event(message, "c@d.example", accepted, ok).detail
    recipient = Recipient("keep@far.example", journal=Journal("copy"))
    tried = Delivery(1, message, "contoso/far.example", [recipient])
    result = RecipientResult(recipient, Disposition.DELIVERED, ok, {})
    (event,) = outcome_events(tried, DeliveryResult([result]), 0.0, 5.0)
    assert event.detail["journal"] == {"form": "copy"}
