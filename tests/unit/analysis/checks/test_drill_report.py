"""What a drill says at its end, and what it leaves as evidence."""

from __future__ import annotations

import json

import pytest

from gatepost.analysis.checks.adversary import Channel, Seen
from gatepost.analysis.checks.attacks import Attack, control
from gatepost.analysis.checks.drill_context import make_context
from gatepost.analysis.checks.drill_report import Attempt, DrillReport, Played
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.protocols.tls.facts import CertificateFacts

LEAF = CertificateFacts(
    "CN=x", "CN=root", "1f", "x", ("x.example",), ("192.0.2.1",), "ab", "cd", "ef", 0.0, 1_795_528_800.5, "EC-P-256"
)


def attempt(number=1, *, clear=None, tls=None, delivered=False, verbs=("EHLO", "QUIT")):
    seen = Seen(1, clear or Channel(), tls or Channel(), list(verbs))
    return Attempt(number, delivered, "450 4.4.317 No", "Word", "validation-failure", seen)


def played(key, *attempts, promised=True):
    attack = Attack(key, key.title(), "It does something.", "to an impostor", lambda _: promised)
    return Played(attack, promised, LEAF, attempts or (attempt(), attempt(2)))


GONE = Channel(octets=100, mail=1, rcpt=1, data=1, content_octets=50, marker_found=True)
ARRIVED = Played(control(), False, LEAF, (attempt(tls=GONE, delivered=True),))


def report(*attacks, arrived=True, **fields):
    connector = {"name": "out", "recipient_domains": ["b.example"], "tls_settings": "encryption-only", **fields}
    directory = Directory(parse({"organization": {"contoso": {"outbound_connector": [connector]}}}), 5)
    (organization,) = directory.resources.organizations
    context = make_context(directory, organization, organization.outbound_connectors[0], profile="default", marker="77")
    return DrillReport(context, 1_795_528_800.9, "77", {"drill": "aa"}, ARRIVED, arrived, attacks)


HELD, WEAK = played("held"), played("weak", attempt(tls=GONE, delivered=True), promised=False)
BROKEN = played("broken", attempt(clear=GONE, delivered=True))
BETTER = played("better", promised=False)

VERDICTS = [
    ([HELD], {}, True, "drill passed: 1 attack, 0 messages left"),
    ([HELD, BETTER], {}, True, "drill passed: 1 attack, 0 messages left"),
    (
        [HELD, WEAK],
        {},
        True,
        "drill passed: 1 attack, 0 messages left; 1 out-of-scope attack succeeded",
    ),
    (
        [HELD],
        {"mode": "rehearse"},
        True,
        "drill passed: 1 attack, 0 messages left; but the connector is in rehearsal: real mail is not protected yet",
    ),
    ([HELD, BROKEN, WEAK], {}, False, "drill FAILED: 1 of 2 attacks took the message: Broken"),
    (
        [WEAK, BETTER, played("bare", attempt(clear=GONE), promised=False)],
        {},
        False,
        "drill FAILED: the connector requires no TLS: 2 of 3 attacks took the message, 1 of them unencrypted",
    ),
]


@pytest.mark.parametrize(("attacks", "fields", "passed", "verdict"), VERDICTS)
def test_the_verdict(attacks, fields, passed, verdict):
    found = report(*attacks, **fields)
    assert (found.passed, found.verdict) == (passed, verdict)


def test_without_the_control_nothing_is_shown():
    found = report(arrived=False)
    assert not found.passed
    assert found.verdict.startswith("drill FAILED: the message did not arrive even without an attack")


LEAKS = [
    (attempt(), False, "waited"),
    (attempt(clear=Channel(mail=1)), True, "LEFT unencrypted"),
    (attempt(clear=Channel(rcpt=1)), True, "LEFT unencrypted"),
    (attempt(clear=Channel(data=1)), True, "LEFT unencrypted"),
    (attempt(clear=Channel(content_octets=1)), True, "LEFT unencrypted"),
    (attempt(clear=Channel(marker_found=True)), True, "LEFT unencrypted"),
    (attempt(clear=Channel(octets=999)), False, "waited"),
    (attempt(tls=Channel(mail=1)), True, "LEFT to an impostor"),
    (attempt(2, tls=Channel(mail=1)), True, "LEFT to an impostor, on attempt 2"),
    (attempt(delivered=True), True, "LEFT somewhere: the far end saw nothing"),
]


@pytest.mark.parametrize(("one", "left", "happened"), LEAKS)
def test_a_command_or_an_octet_is_a_leak(one, left, happened):
    found = played("x", one)
    assert (found.left, found.happened) == (left, happened)


SEEN = [
    ((attempt(),), "EHLO; 0 MAIL, 0 octets of content"),
    ((attempt(), attempt(2)), "EHLO; 2 attempts, 0 MAIL, 0 octets of content"),
    ((attempt(verbs=()),), "nothing; 0 MAIL, 0 octets of content"),
    ((attempt(verbs=["EHLO", "STARTTLS", "QUIT"] * 3),), "3 x (EHLO, STARTTLS); 0 MAIL, 0 octets of content"),
    ((attempt(verbs=["EHLO", "MAIL", "RCPT"], tls=GONE),), "EHLO, MAIL, RCPT; 1 MAIL, 50 octets of content"),
    (
        (attempt(verbs=[f"V{number}" for number in range(13)]),),
        "V0, V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, …; 0 MAIL, 0 octets of content",
    ),
]


@pytest.mark.parametrize(("attempts", "text"), SEEN)
def test_what_the_far_end_saw(attempts, text):
    assert played("x", *attempts).seen == text


def test_a_weakness_is_a_sentence():
    (weakness,) = report(HELD, WEAK).weaknesses
    assert weakness == (
        "this connector does not protect against 'Weak': It does something. The message left to an impostor."
    )


def test_the_record_is_json_without_floats():
    record = report(HELD, WEAK, revocation_check="none").record()
    text = json.dumps(record)
    assert json.loads(text, parse_float=pytest.fail) == record
    assert (record["at"], record["configuration"]) == ("2026-11-24T14:00:00Z", 5)
    assert record["resource"]["tls_settings"] == "encryption-only"
    assert record["resource"]["enabled"] is True
    assert record["requirement"]["text"] == "encrypted"
    assert [one["scenario"] for one in record["scenarios"]] == ["control", "held", "weak"]
    assert [one["result"] for one in record["scenarios"]] == ["left", "held", "left"]
    assert record["scenarios"][0]["certificate"]["not_after"] == "2026-11-24T14:00:00Z"
    assert (record["attacks"], record["promised"], record["messages_left"], record["passed"]) == (2, 1, 1, True)


AES = "TLS_AES_256_GCM_SHA384"


def test_the_requirement_says_what_it_is_measured_by():
    record = report(HELD, tls_settings="domain-validation", min_tls_version="TLSv1.3").record()
    assert record["requirement"] == {
        "text": "authenticated(b.example)",
        "sources": ["connector:out"],
        "profile": "default",
        "min_tls_version": "TLSv1.3",
        "min_key_exchange": "classical",
        "revocation_check": "soft-fail",
    }
    limited = {"min_key_exchange": "post-quantum", "groups": ["X25519MLKEM768"], "cipher_suites": [AES]}
    requirement = report(HELD, tls_settings="encryption-only", **limited).record()["requirement"]
    assert {key: requirement[key] for key in limited} == limited
    assert requirement["text"].startswith("encrypted with post-quantum key exchange and groups X25519MLKEM768 and cip")
    opportunistic = report(HELD, tls_settings="opportunistic").record()["requirement"]
    assert opportunistic["cleartext"] == "only-if-not-offered"
