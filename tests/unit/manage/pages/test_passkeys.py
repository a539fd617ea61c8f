"""What strangers may send to where passkeys log in. What a real authenticator signs is in the system tests."""

from __future__ import annotations

import json

import pytest

from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import AuditFilter, AuditOutcome, Passkey

HERE = {"authorization": "", "sec_fetch_site": "same-origin"}
ID = b"\x01" * 16
KNOWN = json.dumps({"id": "AQEBAQEBAQEBAQEBAQEBAQ", "rawId": "AQEBAQEBAQEBAQEBAQEBAQ", "type": "public-key"})
ANN = Principal("ann", ROLES[Role.OWNER])


@pytest.fixture
def centre(centre):
    by = centre.accounts.add_user("ann", Role.OWNER, "correct horse battery", actor=("root", ""))
    centre.accounts.add_passkey(Passkey(ID, by.name, "Key", b"no key at all", 0, 0.0, 0.0), actor=("root", ""))
    return centre


def ticket(centre):
    answer = centre.post("/login/passkey/options", headers=HERE)
    assert answer.status == 200
    return answer, answer.headers["set-cookie"].partition(";")[0]


def test_what_an_authenticator_is_asked_for(centre):
    answer, cookie = ticket(centre)
    assert (answer.json["rpId"], answer.json["userVerification"]) == ("localhost", "required")
    assert answer.json["allowCredentials"] == [], "nobody learns who has a passkey"
    assert cookie.startswith("__Host-gatepost-passkey=")
    assert ticket(centre)[0].json["challenge"] != answer.json["challenge"]


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "nonsense",
        "[]",
        "null",
        '{"id": 5}',
        '{"id": "é"}',
        '{"id": "\ud83d"}'.encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
        '{"id": "\\ud83d"}',
        '{"id": "AAAA"}',
        '{"id": "%s"}' % ("A" * 3000),
        '{"id": ' + "[" * 15_000,
        '{"id": "AQEBAQEBAQEBAQEBAQEBAQ", "x": ' + "[" * 15_000,
        KNOWN,
        KNOWN[:-1] + ', "response": {"authenticatorData": "", "clientDataJSON": "", "signature": ""}}',
        KNOWN[:-1] + ', "response": {"authenticatorData": "AA", "clientDataJSON": "W10", "signature": "AA"}}',
        KNOWN[:-1] + ', "response": 5}',
    ],
)
def test_what_nobody_signed(centre, credential):
    _, cookie = ticket(centre)
    for given in ({"cookie": cookie}, {}):
        answer = centre.post("/login/passkey", headers=HERE | given, credential=credential)
        assert (answer.status, answer.json) == (422, {"error": "The passkey was not accepted."})
        assert "__Host-gatepost=" not in answer.headers.get("set-cookie", "")
    events = centre.accounts.audit_events(ANN, AuditFilter(action="log-in"))
    assert [event.outcome for event in events] == [AuditOutcome.REFUSED] * 2
    assert "no key at all" not in repr(events)


def test_whose_passkey_it_was_is_on_record(centre):
    centre.post("/login/passkey", headers=HERE, credential=KNOWN)
    centre.post("/login/passkey", headers=HERE, credential='{"id": "AAAA"}')
    assert [event.who for event in centre.accounts.audit_events(ANN, AuditFilter(action="log-in"))] == ["", "ann"]


def test_whoever_fails_often_is_not_even_tried(centre):
    answers = [centre.post("/login/passkey", headers=HERE, credential=KNOWN) for _ in range(9)]
    assert [one.status for one in answers] == [422] * 6 + [429] * 3
    assert "wait 10 s" in answers[-1].json["error"]
    assert len(centre.accounts.audit_events(ANN, AuditFilter(action="log-in"))) == 6
    (kept,) = centre.accounts.audit_events(ANN, AuditFilter(action="request"))
    assert kept.detail["why"] == "too many log-ins failed before; it has to wait"
    assert centre.post("/login", headers=HERE, name="ann", password="x" * 20).status == 429, "as for passwords"


@pytest.mark.parametrize("path", ["/login/passkey", "/login/passkey/options"])
def test_an_ip_address_has_none(centre, path):
    answer = centre.post(path, headers=HERE | {"host": "127.0.0.1:8443"})
    assert answer.status == 404


@pytest.mark.parametrize("path", ["/account/passkeys", "/account/passkeys/options", "/account/passkeys/remove"])
def test_a_program_has_none(centre, path):
    assert centre.post(path, credential=KNOWN).status == 404


def test_another_site_cannot_ask(centre):
    assert centre.post("/login/passkey", headers=HERE | {"sec_fetch_site": "cross-site"}).status == 403
