from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.evidence import entry as module
from gatepost.events.evidence.chain import Place, canonical, parse_body
from gatepost.events.evidence.entry import (
    AddressPrivacy,
    MessageIds,
    Privacy,
    address_hash,
    begin_body,
    checkpoint_body,
    event_body,
    gap_body,
    instant,
    message_id_hash,
    seconds,
)
from gatepost.mail.model.trace_event import TraceEvent

AT = 1_795_000_000.25
CERTIFICATE = {
    "subject": "CN=mx.b.example",
    "issuer": "CN=CA",
    "names": ["mx.b.example"],
    "serial": "1f",
    "sha1": "aa",
    "sha256": "bb" * 32,
    "not_before": 1.7e9,
    "not_after": 1.8e9,
    "key": "EC-P-256",
}
TLS = {
    "version": "TLSv1.3",
    "suite": "TLS_AES_256_GCM_SHA384",
    "group": "X25519",
    "signature": "",
    "resumed": False,
    "server_name": "mx.b.example",
    "chain": "trusted",
    "revocation": "not revoked",
    "certificate": CERTIFICATE,
}


def row(**fields: Any) -> TraceEvent:
    return TraceEvent(
        **{
            "at": AT,
            "event": "SEND",
            "message": "0abc",
            "organization": "contoso",
            "direction": "originating",
            "session": "s1",
            "sender": "Alice@A.Example",
            "recipient": "bob@b.example",
            "message_id": "<1@a.example>",
            "subject": "a diagnosis",
            "size": 12,
            "peer_host": "mx.b.example",
            "peer_address": "192.0.2.1:25",
            "connector": "partner b",
            "requirement": "authenticated(mx.b.example)",
            "achieved": "dnssec/authenticated",
            "tls": TLS,
            "reply": "250 2.0.0 Ok <bob@b.example>",
            "detail": {"configuration": 7, "requirement_sources": ["connector partner b"], "attempt": 1},
        }
        | fields
    )


def body(privacy: Privacy | None = None, **fields: Any) -> dict[str, Any]:
    return event_body(row(**fields), 5, "salt", privacy or Privacy())


def test_an_entry_says_what_was_required_and_proven():
    assert body() == {
        "kind": "event",
        "number": 5,
        "salt": "salt",
        "time": "2026-11-18T11:06:40.250000Z",
        "event": "SEND",
        "organization": "contoso",
        "direction": "originating",
        "message": "0abc",
        "message_id": "<1@a.example>",
        "session": "s1",
        "size": 12,
        "sender_domain": "a.example",
        "recipient_domain": "b.example",
        "peer_host": "mx.b.example",
        "peer_address": "192.0.2.1:25",
        "connector": "partner b",
        "requirement": "authenticated(mx.b.example)",
        "required_by": ["connector partner b"],
        "achieved": "dnssec/authenticated",
        "protection": "authenticated",
        "reply": "250 2.0.0",
        "configuration": 7,
        "attempt": 1,
        "chain": "trusted",
        "revocation": "not revoked",
        "tls": {
            "version": "TLSv1.3",
            "suite": "TLS_AES_256_GCM_SHA384",
            "group": "X25519",
            "server_name": "mx.b.example",
        },
        "certificate": {
            "sha256": "bb" * 32,
            "subject": "CN=mx.b.example",
            "issuer": "CN=CA",
            "serial": "1f",
            "key": "EC-P-256",
            "names": ["mx.b.example"],
            "not_before": "2023-11-14T22:13:20.000000Z",
            "not_after": "2027-01-15T08:00:00.000000Z",
        },
    }


def test_no_subject_and_no_address_is_kept_unless_it_is_wanted():
    for privacy in (Privacy(), Privacy(AddressPrivacy.HASH)):
        text = canonical(body(privacy, detail={"user": "alice@a.example", "mechanism": "PLAIN"})).decode().lower()
        assert "diagnosis" not in text
        assert "alice" not in text
        assert "bob" not in text
        assert "192.0.2.1" not in text  # where a user sent from


def test_whole_addresses_where_they_are_wanted():
    kept = body(Privacy(AddressPrivacy.FULL), detail={"user": "alice@a.example", "mechanism": "PLAIN"})
    assert (kept["sender"], kept["sender_domain"]) == ("Alice@A.Example", "a.example")
    assert kept["reply"] == "250 2.0.0 Ok <bob@b.example>"
    assert (kept["user"], kept["mechanism"], kept["peer_address"]) == ("alice@a.example", "PLAIN", "192.0.2.1:25")


def test_a_user_of_whom_no_mechanism_is_known_has_none():
    kept = body(Privacy(AddressPrivacy.FULL), detail={"user": "alice@a.example"})
    assert (kept["user"], "mechanism" in kept) == ("alice@a.example", False)


def test_hashes_of_addresses_and_message_ids_can_be_checked_by_who_knows_them():
    kept = body(Privacy(AddressPrivacy.HASH, MessageIds.HASH))
    assert kept["recipient_sha256"] == address_hash("salt", "BOB@b.example")
    assert kept["recipient_sha256"] == hashlib.sha256(b"salt:bob@b.example").hexdigest()
    assert kept["message_id_sha256"] == message_id_hash("<1@a.example>")
    assert "message_id" not in kept
    assert "recipient" not in kept


@pytest.mark.parametrize(
    ("fields", "protection"),
    [
        ({"event": "DELIVER", "achieved": ""}, "local"),
        ({"event": "RECEIVE", "achieved": "none"}, "clear"),
        ({"achieved": "none/none"}, "clear"),
        ({"achieved": "mta-sts/encrypted"}, "encrypted"),
        ({"achieved": ""}, None),
    ],
)
def test_what_protected_a_hop_is_one_word(fields, protection):
    assert body(**fields).get("protection") == protection


@pytest.mark.parametrize(
    ("fields", "by"),
    [
        ({"detail": {}}, ["connector partner b"]),
        ({"detail": {}, "connector": ""}, None),
        ({"detail": {"requirement_sources": ["dane mx", "connector x"]}}, ["dane mx", "connector x"]),
    ],
)
def test_who_required_it(fields, by):
    assert body(**fields).get("required_by") == by


@pytest.mark.parametrize(
    ("reply", "kept"),
    [("250 2.0.0 Ok", "250 2.0.0"), ("550 No such <bob@b.example>", "550"), ("", None), ("drill passed", None)],
)
def test_of_replies_only_the_codes_are_kept(reply, kept):
    assert body(reply=reply).get("reply") == kept


def test_what_was_not_said_is_not_there():
    kept = body(sender="", recipient="postmaster", tls={}, message_id="", detail={}, message="", size=0)
    assert not {"sender_domain", "recipient_domain", "tls", "certificate", "message_id", "message", "size"} & set(kept)


def test_details_are_bounded_and_have_no_fractions():
    deep: dict[str, Any] = {"a": {"b": {"c": {"d": {"e": 1}}}}}
    detail = {
        "dane": {"status": "found", "since": AT, "text": "x" * 5000, "none": None, "list": [1, True, "y"]},
        "mta_sts": deep,
        "rehearsal": {str(n): n for n in range(50)},
        "unknown": "left out",
    }
    kept = body(detail=detail)
    assert kept["dane"]["since"] == instant(AT)
    assert len(kept["dane"]["text"]) == 512
    assert kept["dane"]["none"] == ""
    assert kept["dane"]["list"] == [1, True, "y"]
    assert isinstance(kept["mta_sts"]["a"]["b"]["c"]["d"], str)
    assert len(kept["rehearsal"]) == 20
    assert "unknown" not in kept


def test_a_certificate_is_bounded():
    names = [f"{n}.example" for n in range(30)]
    strange = CERTIFICATE | {"names": names, "ip_addresses": ["192.0.2.1"], "not_after": 1e12, "sha256": "cc" * 32}
    kept = body(tls={"version": "TLSv1.2", "certificate": strange, "chains": {"/roots.pem": {"status": "trusted"}}})
    assert len(kept["certificate"]["names"]) == 20
    assert "not_after" not in kept["certificate"]
    assert kept["chains"] == [{"anchors": "/roots.pem", "status": "trusted"}]
    assert "chain" not in kept


def test_certificates_of_many_peers_take_no_more_and_more_memory(monkeypatch):
    monkeypatch.setattr(module, "_RECENT", 3)
    monkeypatch.setattr(module, "_recent", {})
    for number in range(10):
        sha256 = f"{number:064x}"
        assert body(tls=TLS | {"certificate": CERTIFICATE | {"sha256": sha256}})["certificate"]["sha256"] == sha256
        assert body(tls=TLS | {"certificate": CERTIFICATE | {"sha256": sha256}})["certificate"]["sha256"] == sha256
    assert len(module._recent) <= 3


@given(st.text(), st.text(), st.dictionaries(st.sampled_from(sorted(module._KEPT)), st.floats(0, 4e9) | st.text()))
def test_whatever_was_seen_an_entry_has_one_canonical_form(host, chain, detail):
    made = body(peer_host=host, tls={"version": "TLSv1.3", "chain": chain}, detail=detail)
    assert canonical(parse_body(canonical(made))) == canonical(made)


@given(st.floats(0, 4_000_000_000))
def test_times_read_back(at):
    assert seconds(instant(at)) == pytest.approx(at, abs=1e-5)


def test_the_other_kinds():
    place = Place(4, "ab" * 32)
    assert begin_body(place, AT, node="mx1", writer="0", day="2026-11-18", software="gatepost 1") == {
        "kind": "begin",
        "format": 1,
        "number": 5,
        "time": instant(AT),
        "node": "mx1",
        "writer": "0",
        "day": "2026-11-18",
        "previous": {"number": 4, "head": "ab" * 32},
        "software": "gatepost 1",
    }
    assert checkpoint_body(place, AT, writer="0", node="mx1")["head"] == "ab" * 32
    assert gap_body(place, AT, what="dropped", count=3)["count"] == 3
    assert gap_body(place, AT, what="torn", count=3, sha256="cd")["sha256"] == "cd"


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (AddressPrivacy.DOMAIN, {"to_domain": "far.example"}),
        (AddressPrivacy.FULL, {"to_domain": "far.example", "to": "keep@far.example"}),
    ],
)
def test_journal_copies_are_kept_with_as_much_of_their_address_as_any(
    kept: AddressPrivacy, expected: dict[str, str]
) -> None:
    copies = [{"to": "keep@far.example", "form": "report", "rules": ["r"]}]
    body = event_body(row(event="RECEIVE", detail={"journaled": copies}), 1, "00", Privacy(kept))
    assert body["journaled"] == [{"form": "report", "rules": ["r"]} | expected]
    sent = event_body(row(detail={"journal": {"form": "copy"}}), 1, "00", Privacy(kept))
    assert sent["journal"] == {"form": "copy"}
    assert "journaled" not in sent
