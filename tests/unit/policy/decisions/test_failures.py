from __future__ import annotations

import pytest

from gatepost.policy.connectors.values import Cleartext, RevocationCheck
from gatepost.policy.decisions.failures import outcomes
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.requirement import (
    Authenticated,
    Encrypted,
    Identity,
    MxLevel,
    Opportunistic,
    Requirement,
    Source,
)
from gatepost.protocols.tls.limits import TlsLimits, limited

SOURCES = (Source("connector", "out"),)
HOST = "mx.b.example"
WAITS = "waits"

ALL = ("no-starttls", "handshake-fails", "tls-1.1-only")
CERTIFICATE = ("self-signed", "unknown-root", "chain-incomplete", "expired", "revoked")


def results(requirement: Requirement) -> dict[str, str]:
    return {one.kind: one.result for one in outcomes(requirement, None, HOST)}


def test_every_kind_is_told_in_one_order() -> None:
    kinds = [*ALL, *CERTIFICATE, "revocation-unknown", "wrong-name"]
    assert list(results(Opportunistic(SOURCES))) == kinds
    assert list(results(Authenticated(SOURCES, (Identity(()),)))) == kinds


@pytest.mark.parametrize(
    ("requirement", "no_starttls", "handshake"),
    [
        (Opportunistic(SOURCES), "delivered-in-clear", WAITS),
        (Opportunistic(SOURCES, Cleartext.AFTER_FAILED_HANDSHAKE), "delivered-in-clear", "delivered-in-clear-later"),
        (Encrypted(SOURCES), WAITS, WAITS),
        (Authenticated(SOURCES, (Identity(()),)), WAITS, WAITS),
    ],
)
def test_without_tls(requirement: Requirement, no_starttls: str, handshake: str) -> None:
    found = results(requirement)
    assert (found["no-starttls"], found["handshake-fails"]) == (no_starttls, handshake)
    assert found["tls-1.1-only"] == handshake


@pytest.mark.parametrize(
    ("requirement", "result", "message"),
    [
        (Encrypted(SOURCES), WAITS, "TlsHandshakeFailed"),
        (Encrypted(SOURCES, "legacy"), "delivered", ""),
        (Encrypted(SOURCES, "legacy", "TLSv1.2"), WAITS, "TlsHandshakeFailed"),
        (Authenticated(SOURCES, (Identity((HOST,)),), profile="legacy"), "delivered", ""),
        (Opportunistic(SOURCES, profile="legacy"), "delivered", ""),
    ],
)
def test_tls_1_1_depends_on_what_is_offered(requirement: Requirement, result: str, message: str) -> None:
    (found,) = (one for one in outcomes(requirement, None, HOST) if one.kind == "tls-1.1-only")
    assert (found.result, found.message) == (result, message)


SUITE = "TLS_AES_256_GCM_SHA384"


@pytest.mark.parametrize(
    ("limits", "kinds"),
    [
        (limited(post_quantum=True), {"no-post-quantum"}),
        (limited(groups=["P-256"]), {"other-groups"}),
        (limited(suites=[SUITE]), {"other-cipher-suites"}),
        (limited(suites=["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]), {"other-cipher-suites"}),
        (
            limited(post_quantum=True, groups=["X25519MLKEM768"], suites=[SUITE]),
            {"no-post-quantum", "other-groups", "other-cipher-suites"},
        ),
    ],
)
def test_who_has_nothing_of_what_is_allowed_gets_nothing(limits: TlsLimits, kinds: set[str]) -> None:
    found = {one.kind: one for one in outcomes(Encrypted(SOURCES, limits=limits), None, HOST)}
    assert kinds == {"no-post-quantum", "other-groups", "other-cipher-suites"} & set(found)
    for kind in kinds:
        reply = found[kind].reply
        assert reply is not None
        assert f"Expected: {limits.expectation}." in reply.text
    assert {found[kind].result for kind in (*CERTIFICATE, "wrong-name")} == {"delivered"}


def test_where_nothing_is_left_to_negotiate_all_waits() -> None:
    nothing = TlsLimits(groups=(), suites=())
    found = results(Encrypted(SOURCES, limits=nothing))
    assert set(found.values()) == {WAITS}


@pytest.mark.parametrize("requirement", [Opportunistic(SOURCES), Encrypted(SOURCES)])
def test_where_nobody_must_prove_anything_certificates_do_not_matter(requirement: Requirement) -> None:
    found = results(requirement)
    assert {found[kind] for kind in (*CERTIFICATE, "revocation-unknown", "wrong-name")} == {"delivered"}


@pytest.mark.parametrize(
    ("check", "revoked", "unknown"),
    [
        (RevocationCheck.NONE, "delivered", "delivered"),
        (RevocationCheck.SOFT_FAIL, WAITS, "delivered"),
        (RevocationCheck.HARD_FAIL, WAITS, WAITS),
    ],
)
def test_revocation_matters_as_far_as_it_is_looked_at(check: RevocationCheck, revoked: str, unknown: str) -> None:
    found = results(Authenticated(SOURCES, (Identity(("*.b.example",)),), revocation=check))
    assert (found["revoked"], found["revocation-unknown"]) == (revoked, unknown)


def test_the_words_are_those_of_real_attempts() -> None:
    found = {one.kind: one for one in outcomes(Authenticated(SOURCES, (Identity(("*.b.example",)),)), None, HOST)}
    words = {
        kind: (one.message, one.reply and one.reply.text[:11], one.returned and one.returned.text[:11])
        for kind, one in found.items()
    }
    cannot, invalid = ("450 4.4.317", "550 5.4.317"), ("450 4.7.320", "550 5.7.320")
    assert words == {
        "no-starttls": ("STARTTLS is required to send mail", *cannot),
        "handshake-fails": ("TlsHandshakeFailed", *cannot),
        "tls-1.1-only": ("TlsHandshakeFailed", *cannot),
        "self-signed": ("UntrustedRoot", *invalid),
        "unknown-root": ("UntrustedRoot", *invalid),
        "chain-incomplete": ("ChainIncomplete", *invalid),
        "expired": ("CertificateExpired", *invalid),
        "revoked": ("CertificateRevoked", *invalid),
        "revocation-unknown": ("", None, None),
        "wrong-name": ("SubjectMismatch", *invalid),
    }


def test_with_requiretls_what_fails_is_returned_at_once() -> None:
    proofs, unasked = (Identity((HOST,)),), RevocationCheck.NONE
    strict = Authenticated((Source("requiretls"),), proofs, revocation=unasked, mx=MxLevel.MTA_STS, requiretls=True)
    found = {one.kind: one for one in outcomes(strict, None, HOST)}
    fails = {kind: one.reply.enhanced for kind, one in found.items() if one.result == "fails" and one.reply}
    for_want_of_tls = dict.fromkeys([*ALL, "self-signed", "unknown-root", "chain-incomplete", "expired"], "5.7.10")
    assert fails == for_want_of_tls | {"wrong-name": "5.7.10", "no-requiretls": "5.7.30"}
    assert found["no-requiretls"].reply == found["no-requiretls"].returned
    assert found["revoked"].result == "delivered"  # REQUIRETLS alone has nobody look


def test_what_is_in_rehearsal_need_not_know_every_kind() -> None:
    strict = Authenticated((Source("requiretls"),), (Identity((HOST,)),), requiretls=True)
    found = {one.kind: one for one in outcomes(strict, Encrypted(SOURCES), HOST)}
    assert found["no-requiretls"].rehearsed is None
    assert found["no-starttls"].rehearsed is not None


def test_a_name_is_asked_for_only_where_one_is() -> None:
    assert results(Authenticated(SOURCES, (Identity(()),)))["wrong-name"] == "delivered"
    assert results(Authenticated(SOURCES, (Identity((HOST,)),)))["wrong-name"] == WAITS


def test_what_is_in_rehearsal_is_told_beside() -> None:
    found = {
        one.kind: one for one in outcomes(Opportunistic(SOURCES), Authenticated(SOURCES, (Identity((HOST,)),)), HOST)
    }
    assert found["no-starttls"].result == "delivered-in-clear"
    assert found["no-starttls"].rehearsed is not None
    assert found["no-starttls"].rehearsed.enhanced == "4.4.317"
    assert found["wrong-name"].record() == {
        "kind": "wrong-name",
        "result": "delivered",
        "rehearsed": found["wrong-name"].rehearsed.text if found["wrong-name"].rehearsed else "",
    }
    assert found["revocation-unknown"].record() == {"kind": "revocation-unknown", "result": "delivered"}
    waits = found["handshake-fails"].record()
    assert waits["message"] == "TlsHandshakeFailed"
    assert waits["reply"].startswith("450 4.4.317 Cannot establish session with remote server [Message=")
    assert waits["returned"].startswith("550 5.4.317 Message expired, ")


def test_between_nodes_the_uri_is_the_name() -> None:
    demand = Nodes("mx1.a.example", "a-site").requirement("mx2.a.example", "default")
    found = {one.kind: one for one in outcomes(demand, None, "mx2.a.example")}
    assert found["revoked"].result == "delivered"  # nobody is asked for revocation
    assert {kind for kind, one in found.items() if one.result == "waits"} >= {"no-starttls", "expired", "wrong-name"}
