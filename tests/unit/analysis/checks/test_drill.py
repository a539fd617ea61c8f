"""A drill shows what the delivering code does: as it is, nothing leaves; weakened in one place, the drill finds it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time

import pytest
from tests.unit.analysis.checks.conftest import CHAIN, CHANNEL, NAME

from gatepost.analysis.checks import drill
from gatepost.analysis.checks.drill import run_drill
from gatepost.analysis.checks.drill_context import DrillImpossible
from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.outbound.contexts import ClientContexts
from gatepost.mail.outbound.hop import HopOpener
from gatepost.net import chain
from gatepost.net.lookups.revocation import RevocationChecker
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.requirement import Achieved, Encrypted, Opportunistic, TlsLevel, Verdict
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.reply_parser import ReplyParser
from gatepost.protocols.tls.facts import ChainStatus, Revocation
from gatepost.settings.loader import load


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text('[server]\nhostname = "gate.example"\ndata_dir = "data"\n')
    return load(str(file), {})


@pytest.fixture
def held(settings):
    """held(fields of the connector, of the organization) -> the report of a drill."""

    def hold(own=None, **fields):
        base = {"name": "out", "recipient_domains": ["b.example"]}
        document = {"organization": {"contoso": {**(own or {}), "outbound_connector": [base | fields]}}}
        directory = Directory(parse(document), 3)
        (organization,) = directory.resources.organizations
        (connector,) = organization.outbound_connectors
        return asyncio.run(run_drill(settings, directory, organization, connector))

    return hold


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """As long as a test may take: what a drill finds does not depend on how busy the machine is."""
    monkeypatch.setattr(drill, "_SECONDS", 60.0)


def keys(played):
    return {one.attack.key for one in played}


REVOCATION = {"revoked", "revocation-blocked"}

LEVELS = [
    # fields, attacks that are promised to be stopped, attacks that took the message
    ({"tls_settings": "encryption-only"}, CHANNEL, CHAIN | NAME | REVOCATION),
    ({"cleartext": "never"}, CHANNEL, CHAIN | NAME | REVOCATION),
    ({"tls_settings": "certificate-validation"}, CHANNEL | CHAIN | {"revoked"}, NAME | {"revocation-blocked"}),
    ({"tls_settings": "domain-validation"}, CHANNEL | CHAIN | NAME | {"revoked"}, {"revocation-blocked"}),
    (
        {"tls_settings": "domain-validation", "revocation_check": "hard-fail", "mode": "rehearse", "enabled": False},
        CHANNEL | CHAIN | NAME | REVOCATION,
        set(),
    ),
    ({"tls_settings": "domain-validation", "revocation_check": "none"}, CHANNEL | CHAIN | NAME, REVOCATION),
    (
        {"tls_settings": "domain-validation", "profile": "legacy", "smart_hosts": ["mx.b.example", "192.0.2.1:26"]},
        (CHANNEL - {"tls-1.0-only"}) | CHAIN | NAME | {"revoked"},
        {"tls-1.0-only", "revocation-blocked"},
    ),
    (
        {"tls_settings": "encryption-only", "min_tls_version": "TLSv1.3"},
        CHANNEL | {"below-min-tls-version"},
        CHAIN | NAME | REVOCATION,
    ),
    (
        {"tls_settings": "encryption-only", "min_key_exchange": "post-quantum"},
        CHANNEL | {"below-min-tls-version", "classical-key-exchange"},
        CHAIN | NAME | REVOCATION,
    ),
    (
        {"tls_settings": "encryption-only", "groups": ["X25519"], "cipher_suites": ["ECDHE-RSA-AES256-GCM-SHA384"]},
        CHANNEL | {"group-not-allowed", "cipher-suite-not-allowed"},
        CHAIN | NAME | REVOCATION,
    ),
]


@pytest.mark.parametrize(("fields", "promised", "took"), LEVELS)
def test_what_is_promised_is_kept_to_the_last_octet(held, fields, promised, took):
    report = held(**fields)
    assert report.arrived
    assert report.control.decisive.seen.content.count(report.marker.encode()) >= 2
    assert keys(report.promised) == promised
    assert keys(report.open) == took
    assert report.passed
    for one in report.promised:
        assert (one.left, one.happened, len(one.attempts)) == (False, "waited", 2)
        for attempt in one.attempts:
            assert attempt.seen.connections >= 1
            assert not attempt.seen.leaked
            assert attempt.reply.startswith("450 4.")
            assert attempt.result_type
            assert attempt.message


TYPES = {
    "starttls-stripped": ("starttls-not-supported", "STARTTLS is required to send mail"),
    "starttls-refused": ("validation-failure", "TlsHandshakeFailed"),
    "handshake-broken": ("validation-failure", "TlsHandshakeFailed"),
    "response-injection": ("validation-failure", "TlsHandshakeFailed"),
    "response-injection-begun": ("validation-failure", "TlsHandshakeFailed"),
    "tls-1.0-only": ("validation-failure", "TlsHandshakeFailed"),
    "self-signed": ("certificate-not-trusted", "UntrustedRoot"),
    "unknown-ca": ("certificate-not-trusted", "UntrustedRoot"),
    "expired": ("certificate-expired", "CertificateExpired"),
    "not-yet-valid": ("certificate-not-trusted", "CertificateNotYetValid"),
    "chain-incomplete": ("certificate-not-trusted", "ChainIncomplete"),
    "wrong-name": ("certificate-host-mismatch", "SubjectMismatch"),
    "mx-redirected": ("certificate-host-mismatch", "SubjectMismatch"),
    "revoked": ("certificate-not-trusted", "CertificateRevoked"),
    "revocation-blocked": ("validation-failure", "RevocationUnknown"),
}


def test_each_attack_is_stopped_for_its_own_reason(held):
    report = held(tls_settings="domain-validation", revocation_check="hard-fail")
    found = {one.attack.key: (one.decisive.result_type, one.decisive.message) for one in report.played}
    assert found == TYPES
    blocked = next(one for one in report.played if one.attack.key == "mx-redirected")
    assert blocked.seen == "EHLO, STARTTLS, handshake, EHLO; 2 attempts, 0 MAIL, 0 octets of content"


def test_an_opportunistic_connector_fails_and_says_what_left_in_clear(held):
    report = held()
    assert (report.arrived, report.passed, report.promised) == (True, False, [])
    assert keys(one for one in report.played if one.in_clear) == {"starttls-stripped"}
    assert keys(report.open) == {"starttls-stripped"} | CHAIN | NAME | REVOCATION


def test_an_attacker_who_waits_gets_cleartext_on_the_second_attempt(held, caplog):
    caplog.set_level(logging.CRITICAL)
    report = held(cleartext="after-failed-handshake")
    late = [one for one in report.played if one.happened == "LEFT unencrypted, on attempt 2"]
    assert keys(late) == CHANNEL - {"starttls-stripped"}
    assert not any(one.attempts[0].seen.leaked for one in late)
    assert report.verdict.endswith("15 of 15 attacks took the message, 6 of them unencrypted")


def test_the_organization_may_rule_out_cleartext(held):
    assert keys(held({"cleartext": "never"}).promised) == CHANNEL


def test_attacks_that_do_not_take_place_are_no_proof(held, monkeypatch):
    """The control arrives; then the machine is out of sockets, so that every attack "held"."""
    real, calls = drill.dial.connect, []

    async def connect(host, port, *, timeout):  # noqa: ASYNC109 - as in net.dial
        calls.append(port)
        if len(calls) > 1:
            raise OSError(24, "Too many open files")
        return await real(host, port, timeout=timeout)

    monkeypatch.setattr(drill.dial, "connect", connect)
    with pytest.raises(DrillImpossible, match=r"not carried out: STARTTLS stripped, .*: 450 4\.4\.317 Cannot connect"):
        held(tls_settings="encryption-only")


# --- the drill can fail: the same attacks on code that is weakened in one place


def let_all_pass(monkeypatch):
    """What was agreed on is never too little; only what broke is."""

    def judged(requirement, facts):
        if facts.handshake_error:
            return judge(requirement, facts)
        return Verdict(requirement, Achieved(TlsLevel.NONE), None)

    monkeypatch.setattr("gatepost.mail.outbound.hop.judge", judged)


def trust_all(monkeypatch):
    real = chain.judge

    def judge(ders, anchors, **options):
        found = real(ders, anchors, **options)
        return found if found.trusted else type(found)(ChainStatus.TRUSTED, "", found.leaf, path=tuple(ders[:1]))

    monkeypatch.setattr("gatepost.mail.outbound.contexts.chain.judge", judge)


def any_name(monkeypatch):
    monkeypatch.setattr("gatepost.policy.decisions.outbound.matches", lambda *_: True)


def nothing_is_revoked(monkeypatch):
    async def check(*_, **__):
        return Revocation("good", "")

    monkeypatch.setattr(RevocationChecker, "check", check)


def unknown_is_good(monkeypatch):
    real = RevocationChecker.check

    async def check(self, verdict, **options):
        found = await real(self, verdict, **options)
        return Revocation("good", "") if found.status == "unknown" else found

    monkeypatch.setattr(RevocationChecker, "check", check)


def any_version(monkeypatch):
    real = ClientContexts.context

    def context(self, requirement, certificate, **options):
        return real(self, Opportunistic(requirement.sources, profile="legacy"), certificate, **options)

    monkeypatch.setattr(ClientContexts, "context", context)


def injection_is_forgotten(monkeypatch):
    def tls_started(self):
        self._starting_tls, self.failure, self._parser = False, None, ReplyParser()
        self.extensions = {}

    monkeypatch.setattr(Client, "tls_started", tls_started)


def encryption_is_enough(monkeypatch):
    """The requirement itself is computed too weak."""
    weak = lambda connector, *_, **__: Encrypted((), "default") if connector else Opportunistic(())  # noqa: E731
    monkeypatch.setattr("gatepost.policy.decisions.route.required", weak)


def nothing_is_required(monkeypatch):
    monkeypatch.setattr("gatepost.policy.decisions.route.required", lambda *_, **__: Opportunistic(()))


WEAKENED = [
    (let_all_pass, {"starttls-stripped", *CHAIN, *NAME, *REVOCATION}),
    (trust_all, {"self-signed", "unknown-ca", "expired", "not-yet-valid", "chain-incomplete"}),
    (any_name, {"wrong-name", "mx-redirected"}),
    (nothing_is_revoked, {"revoked", "revocation-blocked"}),
    (unknown_is_good, {"revocation-blocked"}),
    (any_version, {"tls-1.0-only", "below-min-tls-version", "classical-key-exchange", "cipher-suite-not-allowed"}),
    (injection_is_forgotten, {"response-injection-begun"}),
    (encryption_is_enough, {*CHAIN, *NAME, *REVOCATION}),
    (nothing_is_required, {"starttls-stripped", *CHAIN, *NAME, *REVOCATION}),
]


@pytest.mark.parametrize(("weaken", "expected"), WEAKENED)
def test_code_that_is_weakened_is_found_out(held, monkeypatch, weaken, expected):
    weaken(monkeypatch)
    floor = {
        "min_tls_version": "TLSv1.3",
        "min_key_exchange": "post-quantum",
        "cipher_suites": ["TLS_AES_256_GCM_SHA384"],
    }
    version = floor if weaken is any_version else {}
    if weaken is any_version:
        monkeypatch.setattr("gatepost.policy.decisions.outbound._below_floor", lambda *_: None)
    report = held(tls_settings="domain-validation", revocation_check="hard-fail", **version)
    assert report.arrived
    assert not report.passed
    assert keys(report.broken) == expected
    assert report.verdict.startswith(f"drill FAILED: {len(expected)} of ")
    for one in report.broken:
        assert one.decisive.seen.leaked
        assert one.decisive.seen.content.count(report.marker.encode()) >= 2
        assert one.happened.startswith("LEFT ")
        assert one.in_clear == (one.attack.key == "starttls-stripped")


def test_cleartext_after_a_broken_handshake_is_found_out(held, monkeypatch, caplog):
    """TLS broke, and a fresh connection in clear takes the message, whatever the requirement."""
    caplog.set_level(logging.CRITICAL)
    fresh = contextvars.ContextVar("fresh", default=False)
    real = HopOpener.open

    async def opened(self, hop, *, handshake_error="", **options):
        fresh.set(bool(handshake_error))
        return await real(self, hop, handshake_error=handshake_error, **options)

    def judged(requirement, facts):
        return Verdict(requirement, Achieved(TlsLevel.NONE), None) if fresh.get() else judge(requirement, facts)

    monkeypatch.setattr(HopOpener, "open", opened)
    monkeypatch.setattr("gatepost.mail.outbound.hop.judge", judged)
    monkeypatch.setattr("gatepost.mail.outbound.hosts.may_go_clear", lambda *_: True)
    report = held(tls_settings="encryption-only")
    assert keys(report.broken) == CHANNEL - {"starttls-stripped"}
    assert {one.happened for one in report.broken} == {"LEFT unencrypted"}


def test_what_the_deliverer_believes_counts_too(held, monkeypatch):
    """It says that the message was taken, and the far end saw nothing: something else has it."""
    monkeypatch.setattr("gatepost.mail.outbound.delivery_attempt.disposition_of", lambda _: Disposition.DELIVERED)
    report = held(tls_settings="encryption-only")
    assert keys(report.broken) == CHANNEL
    assert {one.happened for one in report.broken} == {"LEFT somewhere: the far end saw nothing"}


# --- what cannot be held


def test_a_control_that_does_not_arrive_shows_nothing(held, caplog):
    caplog.set_level(logging.CRITICAL)
    report = held(
        tls_settings="encryption-only", client_certificate={"chain": "/nowhere/c.pem", "key": "/nowhere/k.pem"}
    )
    assert (report.arrived, report.passed, report.played) == (False, False, ())
    assert report.control.happened == "did NOT arrive"
    assert "client certificate" not in report.control.decisive.reply
    assert report.control.decisive.reply.startswith("450 4.3.5")
    assert (
        report.verdict == "drill FAILED: the message did not arrive even without an attack, so the drill shows nothing"
    )


def test_anchors_that_cannot_be_read_are_told_since_the_drill_has_its_own(held):
    report = held(tls_settings="certificate-validation", trust_anchors="/nowhere/anchors.pem")
    assert report.passed
    (note,) = report.context.notes
    assert note.startswith("the connector's own trust anchors cannot be read, REAL MAIL WAITS: /nowhere/anchors.pem")
    assert report.anchors["/nowhere/anchors.pem"] == ""
    assert len(report.anchors["drill"]) == 64


def test_a_drill_ends_in_time(held, monkeypatch):
    monkeypatch.setattr(drill, "_SECONDS", 0.2)

    async def never(*_, **__):
        await asyncio.sleep(60)

    monkeypatch.setattr("gatepost.analysis.checks.drill.dial.connect", never)
    begun = time.monotonic()
    with pytest.raises(DrillImpossible, match=r"did not end within 0\.2 s"):
        held(tls_settings="encryption-only")
    assert time.monotonic() - begun < 5


def test_a_machine_without_loopback_is_no_stage(held, monkeypatch):
    def bind(_):
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr("gatepost.analysis.checks.adversary.bind", bind)
    with pytest.raises(DrillImpossible, match=r"the drill cannot listen on 127\.0\.0\.1"):
        held(tls_settings="encryption-only")
