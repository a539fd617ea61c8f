from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.names import SmartHost
from gatepost.policy.connectors.records import Organization, OutboundConnector
from gatepost.policy.connectors.values import Cleartext, Mode, RevocationCheck
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import (
    both,
    by_organization,
    deferral,
    describe,
    describe_achieved,
    expired,
    judge,
    rehearsed,
    required,
    with_tls,
)
from gatepost.policy.decisions.requirement import (
    Achieved,
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    MxLevel,
    Opportunistic,
    Proof,
    Requirement,
    Shortfall,
    Source,
    StsProof,
    TlsLevel,
)
from gatepost.protocols.dane.match import DaneFailure, DaneVerdict
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, Unusable, Usage
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.protocols.tls.limits import TlsLimits, limited
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

MakeHop = Callable[..., HopFacts]
MakeChain = Callable[..., ChainVerdict]

ORGANIZATION = Organization(name="contoso")
CONTOSO = (Source("organization", "contoso"),)
OUT = (Source("connector", "out"),)
ENCRYPTED = Encrypted(OUT)
TRUSTED = Authenticated(OUT, (Identity(()),))
NAMED = Authenticated(OUT, (Identity(("*.b.example",)),))


def connector(**fields: Any) -> OutboundConnector:
    return OutboundConnector.model_validate({"name": "out", "recipient_domains": ["b.example"], **fields})


# required


@pytest.mark.parametrize(
    ("fields", "requirement"),
    [
        ({}, Opportunistic(OUT, cleartext_by=CONTOSO)),
        ({"tls_settings": "encryption-only"}, ENCRYPTED),
        ({"tls_settings": "certificate-validation"}, TRUSTED),
        ({"tls_settings": "domain-validation", "tls_domain": "*.b.example"}, NAMED),
        ({"tls_settings": "domain-validation"}, Authenticated(OUT, (Identity(("next.example",)),))),
        (
            {"tls_settings": "domain-validation", "smart_hosts": ["a.example"]},
            Authenticated(OUT, (Identity(("next.example",)),)),
        ),
        ({"cleartext": "never"}, ENCRYPTED),
        ({"cleartext": "never", "min_tls_version": "1.3"}, Encrypted(OUT, min_version="TLSv1.3")),
        ({"cleartext": "after-failed-handshake"}, Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE)),
        ({"profile": "legacy"}, Opportunistic(OUT, profile="legacy", cleartext_by=CONTOSO)),
        (
            {"tls_settings": "encryption-only", "profile": "modern", "min_tls_version": "TLSv1.3"},
            Encrypted(OUT, "modern", "TLSv1.3"),
        ),
        (
            {"tls_settings": "certificate-validation", "trust_anchors": "/r.pem", "min_tls_version": "TLSv1.2"},
            Authenticated(OUT, (Identity((), "/r.pem"),), "default", "TLSv1.2"),
        ),
    ],
)
def test_what_a_connector_requires(fields: dict[str, Any], requirement: Requirement) -> None:
    assert required(connector(**fields), ORGANIZATION, ("next.example",)) == requirement
    assert rehearsed(connector(**fields), ORGANIZATION, ("next.example",)) is None


@pytest.mark.parametrize("fields", [{}, {"tls_settings": "encryption-only"}, {"cleartext": "never"}])
def test_in_rehearsal_nothing_more_is_required_but_it_is_known_what_would_be(fields: dict[str, Any]) -> None:
    trial = connector(mode="rehearse", profile="modern", **fields)
    assert required(trial, ORGANIZATION, (), profile="compatible") == required(
        None, ORGANIZATION, (), profile="compatible"
    )
    enforced = connector(profile="modern", **fields)
    assert rehearsed(trial, ORGANIZATION, ()) == required(enforced, ORGANIZATION, ())


@pytest.mark.parametrize(
    ("cleartext", "requirement"),
    [
        ("only-if-not-offered", Opportunistic((Source("default"),), profile="modern", cleartext_by=CONTOSO)),
        (
            "after-failed-handshake",
            Opportunistic((Source("default"),), Cleartext.AFTER_FAILED_HANDSHAKE, "modern", CONTOSO),
        ),
        ("never", Encrypted((Source("organization", "contoso"),), "modern")),
    ],
)
def test_without_a_connector_the_organization_decides_on_cleartext(cleartext: str, requirement: Requirement) -> None:
    organization = Organization.model_validate({"name": "contoso", "cleartext": cleartext})
    assert required(None, organization, (), profile="modern") == requirement
    assert rehearsed(None, organization, ()) is None


def test_a_connector_decides_on_cleartext_before_the_organization() -> None:
    organization = Organization(name="contoso", cleartext=Cleartext.NEVER)
    assert required(connector(), organization, ()) == Encrypted((Source("organization", "contoso"),))
    assert required(connector(cleartext="only-if-not-offered"), organization, ()) == Opportunistic(OUT)


@pytest.mark.parametrize("names", [(), ("",)])
def test_domain_validation_without_any_name_is_refused_and_not_weakened(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no name to expect is known"):
        required(connector(tls_settings="domain-validation"), ORGANIZATION, names)


# both

RULE = (Source("rule", "secret"),)
BOTH_SOURCES = OUT + RULE


@pytest.mark.parametrize(
    ("requirement", "together"),
    [
        (Opportunistic(OUT), Encrypted(RULE)),
        (Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE, "legacy"), Encrypted(RULE, "legacy")),
        (Encrypted(OUT, "modern", "TLSv1.3"), Encrypted(BOTH_SOURCES, "modern", "TLSv1.3")),
        (
            Authenticated(OUT, (Identity(("b.example",), "/r.pem"),), "legacy", "TLSv1.1", RevocationCheck.HARD_FAIL),
            Authenticated(
                BOTH_SOURCES, (Identity(("b.example",), "/r.pem"),), "legacy", "TLSv1.1", RevocationCheck.HARD_FAIL
            ),
        ),
    ],
)
def test_a_rule_requires_tls_on_top_of_whatever_is_required(requirement: Requirement, together: Requirement) -> None:
    assert with_tls(requirement, RULE) == together
    assert with_tls(requirement, ()) is requirement


DANE = (Source("dane"),)
MAIL, ANY_B = ("mail.b.example",), ("*.b.example",)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (
            Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE, "legacy"),
            Opportunistic(DANE, Cleartext.ONLY_IF_NOT_OFFERED, "modern"),
            Opportunistic(OUT + DANE, Cleartext.ONLY_IF_NOT_OFFERED, "modern", DANE),
        ),
        (
            Encrypted(OUT, "legacy", "TLSv1.1"),
            Encrypted(DANE, "compatible"),
            Encrypted(OUT + DANE, "compatible", "TLSv1.1"),
        ),
        (ENCRYPTED, Authenticated(DANE, (Identity(MAIL),)), Authenticated(OUT + DANE, (Identity(MAIL),))),
        # a chain alone is asked for already where a name in it is; other names, or other anchors, are asked for as well
        (TRUSTED, Authenticated(DANE, (Identity(MAIL),)), Authenticated(OUT + DANE, (Identity(MAIL),))),
        (NAMED, Authenticated(DANE, (Identity(MAIL),)), Authenticated(OUT + DANE, (Identity(ANY_B), Identity(MAIL)))),
        (
            TRUSTED,
            Authenticated(DANE, (Identity(MAIL, "/r"),)),
            Authenticated(OUT + DANE, (Identity(()), Identity(MAIL, "/r"))),
        ),
        (
            Authenticated(OUT, (Identity(MAIL),), revocation=RevocationCheck.NONE),
            Authenticated(DANE, (Identity(MAIL),), revocation=RevocationCheck.HARD_FAIL),
            Authenticated(OUT + DANE, (Identity(MAIL),), revocation=RevocationCheck.HARD_FAIL),
        ),
    ],
)
def test_two_requirements_together(one: Requirement, other: Requirement, together: Requirement) -> None:
    assert both(one, other) == together


def test_each_proof_that_is_missing_is_told(hop: MakeHop, chain: MakeChain) -> None:
    asked = both(NAMED, Authenticated(DANE, (Identity(("mx.test",)),)))
    facts = hop(chain=chain("mail.b.example"))
    assert "Expected Subject: mx.test. Presented Subject: CN=mail.b.example." in shortfall_of(asked, facts).detail
    assert judge(asked, facts).achieved.tls is TlsLevel.ENCRYPTED
    assert judge(asked, hop(chain=chain("mail.b.example", "mx.test"))).passed


@pytest.mark.parametrize(("anchors", "by"), [("/r.pem", "by /r.pem"), ("", "by the trust anchors of the server")])
def test_a_chain_that_was_not_judged_by_all_anchors_will_not_do(hop: MakeHop, anchors: str, by: str) -> None:
    asked = Authenticated(BOTH_SOURCES, (Identity(ANY_B, "/first.pem"), Identity(MAIL, anchors)))
    verdict = judge(asked, hop())
    assert verdict.achieved.tls is TlsLevel.ENCRYPTED
    assert verdict.shortfall is not None
    assert f"was not checked {by}. A trusted one is required by connector 'out'." in verdict.shortfall.detail


def test_a_rule_asks_for_no_version(hop: MakeHop) -> None:
    asked = with_tls(Encrypted(OUT, min_version="TLSv1.3"), RULE)
    old = hop(tls=replace(hop().tls, version="TLSv1.2"))
    assert shortfall_of(asked, old).detail.endswith("Set by connector 'out'.")
    assert "ruled out by connector 'out' and rule 'secret'" in shortfall_of(asked, hop(tls=None)).detail


# judge


def facts_named(name: str, hop: MakeHop, chain: MakeChain) -> HopFacts:
    """The connections that the tables speak of."""
    clear = {"tls": None, "chain": None}
    return {
        "verified": hop,
        "other name": lambda: hop(chain=chain("other.example")),
        "no name": lambda: hop(chain=chain()),
        "self-signed": lambda: hop(chain=chain("mail.b.example", status="self-signed", detail="it signed itself")),
        "not judged": lambda: hop(chain=None),
        "no starttls": lambda: hop(starttls_offered=False, **clear),
        "not begun": lambda: hop(**clear),
        "failed": lambda: hop(handshake_error="alert 40", **clear),
        "failed, then not offered": lambda: hop(starttls_offered=False, handshake_error="alert 40", **clear),
    }[name]()


NONE, ENC, AUTH = TlsLevel.NONE, TlsLevel.ENCRYPTED, TlsLevel.AUTHENTICATED
NO_STARTTLS, VALIDATION = ResultType.STARTTLS_NOT_SUPPORTED, ResultType.VALIDATION_FAILURE
UNTRUSTED, MISMATCH = ResultType.CERTIFICATE_NOT_TRUSTED, ResultType.CERTIFICATE_HOST_MISMATCH


@pytest.mark.parametrize(
    ("requirement", "connection", "level", "result"),
    [
        (Opportunistic(OUT), "verified", AUTH, None),
        (Opportunistic(OUT), "other name", ENC, None),
        (Opportunistic(OUT), "self-signed", ENC, None),
        (Opportunistic(OUT), "no starttls", NONE, None),  # O1
        (Opportunistic(OUT), "not begun", NONE, VALIDATION),
        (Opportunistic(OUT), "failed", NONE, VALIDATION),
        (Opportunistic(OUT), "failed, then not offered", NONE, VALIDATION),
        (Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE), "failed", NONE, None),
        (Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE), "failed, then not offered", NONE, None),
        (Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE), "no starttls", NONE, None),
        (Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE), "not begun", NONE, VALIDATION),
        (Opportunistic(OUT, Cleartext.NEVER), "no starttls", NONE, NO_STARTTLS),
        (ENCRYPTED, "verified", AUTH, None),
        (ENCRYPTED, "self-signed", ENC, None),  # O2
        (ENCRYPTED, "not judged", ENC, None),
        (ENCRYPTED, "no starttls", NONE, NO_STARTTLS),  # O5
        (ENCRYPTED, "not begun", NONE, VALIDATION),
        (ENCRYPTED, "failed", NONE, VALIDATION),
        (TRUSTED, "verified", AUTH, None),
        (TRUSTED, "other name", AUTH, None),
        (TRUSTED, "self-signed", ENC, UNTRUSTED),  # O3
        (TRUSTED, "not judged", ENC, VALIDATION),
        (TRUSTED, "no starttls", NONE, NO_STARTTLS),  # O5
        (NAMED, "verified", AUTH, None),
        (NAMED, "other name", ENC, MISMATCH),  # O4
        (NAMED, "no name", ENC, MISMATCH),
        (NAMED, "self-signed", ENC, UNTRUSTED),
        (NAMED, "failed", NONE, VALIDATION),
        (NAMED, "no starttls", NONE, NO_STARTTLS),  # O5
    ],
)
def test_what_a_connection_achieves_and_whether_it_is_enough(
    hop: MakeHop,
    chain: MakeChain,
    requirement: Requirement,
    connection: str,
    level: TlsLevel,
    result: ResultType | None,
) -> None:
    verdict = judge(requirement, facts_named(connection, hop, chain))
    assert verdict.achieved.tls is level
    assert (verdict.shortfall.result_type if verdict.shortfall else None) is result
    assert verdict.passed is (result is None)
    assert verdict.requirement is requirement


def test_the_other_ladder_is_carried_over(hop: MakeHop) -> None:
    assert judge(ENCRYPTED, hop(mx=MxLevel.DNSSEC)).achieved == Achieved(AUTH, MxLevel.DNSSEC)


@pytest.mark.parametrize(
    ("status", "result", "word"),
    [
        ("no-certificate", UNTRUSTED, "NoCertificate"),
        ("self-signed", UNTRUSTED, "UntrustedRoot"),
        ("untrusted-root", UNTRUSTED, "UntrustedRoot"),
        ("chain-incomplete", UNTRUSTED, "ChainIncomplete"),
        ("expired", ResultType.CERTIFICATE_EXPIRED, "CertificateExpired"),
        ("not-yet-valid", UNTRUSTED, "CertificateNotYetValid"),
        ("revoked", UNTRUSTED, "CertificateRevoked"),
        ("wrong-purpose", UNTRUSTED, "CertificateWrongPurpose"),
        ("weak-key", UNTRUSTED, "CertificateWeakKey"),
        ("weak-signature", UNTRUSTED, "CertificateWeakSignature"),
        ("invalid", VALIDATION, "CertificateInvalid"),
    ],
)
def test_each_reason_against_a_chain_has_its_result_and_word(
    hop: MakeHop, chain: MakeChain, status: str, result: ResultType, word: str
) -> None:
    shortfall = judge(NAMED, hop(chain=chain("mail.b.example", status=status, detail="Because."))).shortfall
    assert shortfall is not None
    assert (shortfall.result_type, shortfall.enhanced, shortfall.message) == (result, "4.7.320", word)
    assert shortfall.detail.endswith("Because.")


def test_no_reason_against_a_chain_is_forgotten(hop: MakeHop, chain: MakeChain) -> None:
    for status in ChainStatus:
        assert judge(TRUSTED, hop(chain=chain("mail.b.example", status=status))).passed is (status == "trusted")


def test_a_trusted_chain_without_a_readable_leaf_is_not_believed(hop: MakeHop) -> None:
    shortfall = judge(NAMED, hop(chain=ChainVerdict(ChainStatus.TRUSTED, "", None))).shortfall
    assert shortfall is not None
    assert shortfall.message == "CertificateInvalid"
    assert shortfall.detail == "Expected Subject: *.b.example. Presented Subject: none."


@pytest.mark.parametrize(
    ("version", "least", "passed"),
    [
        ("TLSv1.3", "TLSv1.3", True),
        ("TLSv1.2", "TLSv1.3", False),
        ("TLSv1.0", "TLSv1.1", False),
        ("TLSv1.0", "", True),
    ],
)
@pytest.mark.parametrize("kind", [ENCRYPTED, TRUSTED])
def test_an_older_version_than_demanded_will_not_do(
    hop: MakeHop, kind: Encrypted | Authenticated, version: str, least: str, *, passed: bool
) -> None:
    tls = replace(hop().tls, version=version)
    verdict = judge(replace(kind, min_version=least), hop(tls=tls))
    assert verdict.passed is passed
    if verdict.shortfall:
        assert verdict.shortfall.message == "TlsVersionTooOld"
        assert f"Expected: {least} or newer. Presented: {version}." in verdict.shortfall.detail


QUANTUM = limited(post_quantum=True)


@pytest.mark.parametrize("kind", [ENCRYPTED, TRUSTED])
@pytest.mark.parametrize(
    ("limits", "group", "word"),
    [
        (QUANTUM, "X25519MLKEM768", ""),
        (QUANTUM, "X25519", "KeyExchangeNotAllowed"),
        (limited(groups=["P-256"]), "P-256", ""),
        (limited(groups=["P-256"]), "X25519MLKEM768", "KeyExchangeNotAllowed"),
        (limited(suites=["TLS_CHACHA20_POLY1305_SHA256"]), "X25519", "CipherSuiteNotAllowed"),
    ],
)
def test_what_is_not_allowed_will_not_do(
    hop: MakeHop, kind: Encrypted | Authenticated, limits: TlsLimits, group: str, word: str
) -> None:
    tls = replace(hop().tls, version="TLSv1.3", group=group, suite="TLS_AES_256_GCM_SHA384")
    verdict = judge(replace(kind, limits=limits), hop(tls=tls))
    assert verdict.passed is not bool(word)
    if verdict.shortfall:
        shortfall = verdict.shortfall
        assert (shortfall.message, shortfall.enhanced, shortfall.result_type) == (word, "4.4.317", VALIDATION)
        assert f"Expected: {limits.expectation}. Presented: " in shortfall.detail


def test_limits_of_both_hold_and_are_told() -> None:
    limits = limited(groups=["P-256"], suites=["TLS_AES_256_GCM_SHA384"])
    made = both(replace(ENCRYPTED, limits=QUANTUM), replace(TRUSTED, limits=limits))
    assert made == both(replace(TRUSTED, limits=limits), replace(ENCRYPTED, limits=QUANTUM))
    assert isinstance(made, Authenticated)
    assert made.limits == QUANTUM.joined(limits)
    told = "with post-quantum key exchange and groups P-256 and cipher suites TLS_AES_256_GCM_SHA384"
    assert describe(made) == f"authenticated {told}"
    assert describe(replace(made, requiretls=True)) == f"authenticated {told.replace('with ', 'with requiretls and ')}"
    assert describe(made, mandatory_dane=True) == f"authenticated(dane) {told}"
    assert describe(replace(ENCRYPTED, limits=QUANTUM)) == "encrypted with post-quantum key exchange"


@pytest.mark.parametrize(
    "fields",
    [
        {"tls_settings": "encryption-only"},
        {"tls_settings": "certificate-validation"},
        {"tls_settings": "domain-validation", "tls_domain": "mx.b.example"},
        {"cleartext": "never"},
    ],
)
def test_limits_of_a_connector_are_required(fields: dict[str, str]) -> None:
    out = connector(min_key_exchange="post-quantum", **fields)
    made = required(out, ORGANIZATION, ())
    assert isinstance(made, Encrypted | Authenticated)
    assert made.limits == QUANTUM
    trial = out.model_copy(update={"mode": Mode.REHEARSE})
    assert isinstance(required(trial, ORGANIZATION, ()), Opportunistic)
    assert rehearsed(trial, ORGANIZATION, ()) == made


# What the DNS asks for

BY_DNS = (Source("dane", "mx.b.example"),)
RECORD = Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32))
BY_DANE = DaneProof(Records((RECORD,), (Unusable("0 0 0 aa", "usage 0"),)), ("mx.b.example", "b.example"))
BY_STS = StsProof("b.example", "mail.b.example")
MATCHED = DaneVerdict(RECORD, "it is satisfied")
MISSED = {failure: DaneVerdict(None, "it is not satisfied", failure) for failure in DaneFailure}


@pytest.mark.parametrize(
    ("dane", "status", "result"),
    [
        (MISSED[DaneFailure.TLSA_INVALID], "4.7.323", ResultType.TLSA_INVALID),
        (MISSED[DaneFailure.CERTIFICATE_EXPIRED], "4.7.322", ResultType.CERTIFICATE_EXPIRED),
        (MISSED[DaneFailure.CERTIFICATE_HOST_MISMATCH], "4.7.325", ResultType.CERTIFICATE_HOST_MISMATCH),
        (None, "4.7.323", ResultType.TLSA_INVALID),
    ],
)
def test_a_certificate_that_the_tlsa_records_do_not_announce(
    hop: MakeHop, dane: DaneVerdict | None, status: str, result: ResultType
) -> None:
    asked, facts = Authenticated(BY_DNS, (BY_DANE,)), hop(dane=dane)
    shortfall = shortfall_of(asked, facts)
    assert (shortfall.enhanced, shortfall.result_type) == (status, result)
    assert shortfall.detail.startswith(
        "Expected: a certificate that satisfies the TLSA records of mx.b.example. Presented Subject: CN=mail.b.example."
    )
    assert deferral(shortfall, facts).enhanced == status
    assert judge(asked, facts).achieved.tls is TlsLevel.ENCRYPTED


@pytest.mark.parametrize("status", ["self-signed", "expired", "trusted"])
def test_whoever_satisfies_a_tlsa_record_needs_no_authority(hop: MakeHop, chain: MakeChain, status: str) -> None:
    facts = hop(chain=chain("other.example", status=status), dane=MATCHED)
    verdict = judge(Authenticated(BY_DNS, (BY_DANE,)), facts)
    assert verdict.passed
    assert verdict.achieved.tls is TlsLevel.AUTHENTICATED
    assert not judge(Authenticated(BY_DNS, (BY_DANE, Identity(("b.example",)))), facts).passed
    assert shortfall_of(Authenticated(BY_DNS, (BY_DANE,)), replace(facts, dane=None, chain=None)).detail.count("none")


def test_a_certificate_of_before_a_node_joined_again_proves_nothing(hop: MakeHop, chain: MakeChain) -> None:
    facts = hop(chain=chain("mail.b.example"))
    assert facts.chain is not None
    assert facts.chain.leaf is not None
    begin = facts.chain.leaf.not_before
    asked = Authenticated((Source("internal", "site"),), (Identity(("mail.b.example",), since=begin),))
    assert judge(asked, facts).passed
    later = replace(asked, proofs=(Identity(("mail.b.example",), since=begin + 1),))
    shortfall = shortfall_of(later, facts)
    assert (shortfall.result_type, shortfall.message) == (UNTRUSTED, "CertificateRevoked")
    assert shortfall.detail.endswith("It is from before the node joined again: another machine has its name now.")
    assert judge(later, facts).achieved.tls is TlsLevel.ENCRYPTED


@pytest.mark.parametrize(
    ("presented", "word", "result"),
    [
        ({"status": "untrusted-root"}, "UntrustedRoot", UNTRUSTED),
        ({"status": "expired"}, "CertificateExpired", ResultType.CERTIFICATE_EXPIRED),
        ({"name": "other.example"}, "SubjectMismatch", MISMATCH),
    ],
)
def test_a_certificate_that_an_mta_sts_policy_does_not_allow(
    hop: MakeHop, chain: MakeChain, presented: dict[str, str], word: str, result: ResultType
) -> None:
    asked = Authenticated((Source("mta-sts", "b.example"),), (BY_STS,))
    judged = chain(presented.get("name", "mail.b.example"), status=presented.get("status", "trusted"))
    facts = hop(chain=judged)
    shortfall = shortfall_of(asked, facts)
    assert (shortfall.result_type, shortfall.message) == (result, word)
    reply = deferral(shortfall, facts)
    assert reply.text.startswith(
        f"450 4.7.5 Remote certificate failed MTA-STS validation. Reason: {word} [Message={word} Expected Subject: "
    )
    assert expired(reply).enhanced == "5.7.5"
    assert judge(asked, hop(chain=chain("mail.b.example"))).passed


def test_a_policy_and_a_connector_with_anchors_of_its_own_are_both_heard(hop: MakeHop, chain: MakeChain) -> None:
    own = Authenticated(OUT, (Identity(("*.b.example",), "/r.pem"),))
    asked = both(own, Authenticated(BY_DNS, (BY_STS,)))
    assert isinstance(asked, Authenticated)
    assert asked.anchors == ("", "/r.pem")
    good = chain("mail.b.example")
    assert judge(asked, hop(chain=good, chains=(("/r.pem", good),))).passed
    bad = chain("mail.b.example", status="untrusted-root")
    assert shortfall_of(asked, hop(chain=good, chains=(("/r.pem", bad),))).enhanced == "4.7.320"
    assert shortfall_of(asked, hop(chain=bad, chains=(("/r.pem", good),))).enhanced == "4.7.5"


# The laws

STATUSES = st.sampled_from(ChainStatus)
LEAVES = st.lists(st.sampled_from(["mail.b.example", "x.b.example", "other.example", "*.b.example"]), max_size=2)


def made_leaf(names: list[str]) -> CertificateFacts:
    return CertificateFacts("CN=x", "CN=y", "1", "", tuple(names), (), "a" * 64, "b" * 40, "c" * 64, 0, 1, "RSA")


CHAINS = st.none() | st.builds(lambda status, names: ChainVerdict(status, "", made_leaf(names)), STATUSES, LEAVES)
VERSIONS = st.sampled_from(["TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"])
SESSIONS = st.builds(lambda version: TlsFacts(version, "suite", "X25519", "", False, ""), VERSIONS)
HOPS = st.builds(
    lambda offered, tls, error, chain, dane, mx, passing, requiretls: HopFacts(
        "mail.b.example",
        "192.0.2.1",
        offered or tls is not None,
        tls,
        "" if tls else error,
        chain if tls else None,
        dane=dane if tls else None,
        mx=mx,
        passing=passing and not tls,
        requiretls_offered=requiretls and tls is not None,
    ),
    st.booleans(),
    st.none() | SESSIONS,
    st.sampled_from(["", "alert 40"]),
    CHAINS,
    st.none() | st.sampled_from([MATCHED, *MISSED.values()]),
    st.sampled_from(MxLevel),
    st.booleans(),
    st.booleans(),
)
LEAST = st.sampled_from(["", "TLSv1.2", "TLSv1.3"])
NAMES = st.sampled_from([(), ("mail.b.example",), ("*.b.example", "other.example")])
NAMED_BY_ADMINISTRATORS = st.builds(lambda names: (Identity(names),), NAMES)
FORCED = st.builds(Encrypted, st.just(OUT), min_version=LEAST) | st.builds(
    Authenticated, st.just(OUT), NAMED_BY_ADMINISTRATORS | st.sampled_from([(BY_DANE,), (BY_STS,)]), min_version=LEAST
)

REQUIRETLS = (Source("requiretls"),)
SOURCES = st.sampled_from([OUT, RULE, BOTH_SOURCES, (Source("mta-sts"),)])
PROFILES = st.sampled_from(["modern", "default", "compatible", "legacy"])
ONE_ANCHORS = st.just("")
ANCHORS = st.sampled_from(["", "/roots.pem"])


def proofs(anchors: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Proof, ...]]:
    proof = st.one_of(st.builds(Identity, NAMES, anchors), st.sampled_from([BY_DANE, BY_STS]))
    return proof.map(lambda one: (one,))


def single(anchors: st.SearchStrategy[str]) -> st.SearchStrategy[Requirement]:
    return st.one_of(
        st.builds(Opportunistic, SOURCES, st.sampled_from(Cleartext), PROFILES),
        st.builds(Encrypted, SOURCES, PROFILES, LEAST),
        st.builds(Authenticated, SOURCES, proofs(anchors), PROFILES, LEAST, st.sampled_from(RevocationCheck)),
        st.builds(
            Authenticated, st.just(REQUIRETLS), proofs(anchors), mx=st.sampled_from(MxLevel), requiretls=st.booleans()
        ),
    )


def joined(anchors: st.SearchStrategy[str]) -> st.SearchStrategy[Requirement]:
    return single(anchors) | st.builds(both, single(anchors), single(anchors))


REQUIREMENTS = joined(ANCHORS)


def sorted_sources(requirement: Requirement) -> Requirement:
    found = replace(requirement, sources=tuple(sorted(requirement.sources, key=str)))
    if isinstance(found, Opportunistic):
        found = replace(found, cleartext_by=tuple(sorted(found.cleartext_by, key=str)))
    return found


@given(REQUIREMENTS, REQUIREMENTS)
def test_the_conjunction_is_the_same_either_way_round(one: Requirement, other: Requirement) -> None:
    assert sorted_sources(both(one, other)) == sorted_sources(both(other, one))


@given(REQUIREMENTS, REQUIREMENTS)
def test_what_is_asked_for_twice_is_asked_for_once(one: Requirement, other: Requirement) -> None:
    assert both(one, one) == one
    together = both(one, other)
    assert sorted_sources(both(together, other)) == sorted_sources(together)


@given(REQUIREMENTS, REQUIREMENTS, REQUIREMENTS)
def test_the_conjunction_of_three_does_not_depend_on_where_one_begins(
    one: Requirement, other: Requirement, third: Requirement
) -> None:
    assert sorted_sources(both(both(one, other), third)) == sorted_sources(both(one, both(other, third)))


@given(REQUIREMENTS, REQUIREMENTS, HOPS)
def test_whatever_meets_the_conjunction_meets_each_part(one: Requirement, other: Requirement, facts: HopFacts) -> None:
    if judge(both(one, other), facts).passed:
        assert judge(one, facts).passed
        assert judge(other, facts).passed


@given(joined(ONE_ANCHORS), joined(ONE_ANCHORS), HOPS)
def test_the_conjunction_asks_for_no_more_than_its_parts(one: Requirement, other: Requirement, facts: HopFacts) -> None:
    """Of a chain that was judged by the anchors of both."""
    together = judge(both(one, other), facts).passed
    assert together is (judge(one, facts).passed and judge(other, facts).passed)


@given(FORCED, HOPS)
def test_nothing_that_is_forced_ever_passes_without_tls(requirement: Requirement, facts: HopFacts) -> None:
    verdict = judge(requirement, replace(facts, tls=None))
    assert not verdict.passed
    assert verdict.achieved.tls is TlsLevel.NONE


@given(st.builds(Authenticated, st.just(OUT), NAMED_BY_ADMINISTRATORS, min_version=LEAST), HOPS)
def test_authentication_passes_only_with_a_trusted_chain_and_a_name(
    requirement: Authenticated, facts: HopFacts
) -> None:
    if judge(requirement, facts).passed:
        assert facts.chain is not None
        assert facts.chain.trusted
        assert judge(requirement, facts).achieved.tls is TlsLevel.AUTHENTICATED


RAISES: dict[str, Callable[[HopFacts], HopFacts]] = {
    "tls": lambda facts: replace(
        facts,
        starttls_offered=True,
        tls=facts.tls or TlsFacts("TLSv1.3", "suite", "X25519", "", False, ""),
        handshake_error="",
    ),
    "version": lambda facts: replace(facts, tls=facts.tls and replace(facts.tls, version="TLSv1.3")),
    "trust": lambda facts: replace(
        facts, chain=ChainVerdict(ChainStatus.TRUSTED, "", facts.chain.leaf) if facts.chain else facts.chain
    ),
    "names": lambda facts: replace(
        facts,
        chain=facts.chain
        and replace(
            facts.chain,
            leaf=made_leaf([*(facts.chain.leaf.dns_names if facts.chain.leaf else ()), "mail.b.example"]),
        ),
    ),
    "judged": lambda facts: replace(
        facts, chain=facts.chain or ChainVerdict(ChainStatus.TRUSTED, "", made_leaf(["mail.b.example"]))
    ),
    "dane": lambda facts: replace(facts, dane=MATCHED if facts.tls else None),
    "mx": lambda facts: replace(facts, mx=MxLevel.DNSSEC),
    "requiretls": lambda facts: replace(facts, requiretls_offered=facts.tls is not None),
}


@given(REQUIREMENTS, HOPS, st.lists(st.sampled_from(sorted(RAISES)), max_size=4))
def test_raising_facts_never_lowers_the_verdict(requirement: Requirement, facts: HopFacts, steps: list[str]) -> None:
    before = judge(requirement, facts)
    for step in steps:
        facts = RAISES[step](facts)
    after = judge(requirement, facts)
    assert after.achieved.tls >= before.achieved.tls
    assert after.achieved.mx >= before.achieved.mx
    assert after.passed or not before.passed


@given(NAMES.filter(bool), HOPS)
def test_whoever_meets_a_stricter_requirement_meets_the_weaker_ones(names: tuple[str, ...], facts: HopFacts) -> None:
    ladder = (Authenticated(OUT, (Identity(names),)), TRUSTED, ENCRYPTED, Opportunistic(OUT))
    passed = [judge(requirement, facts).passed for requirement in ladder]
    assert passed == sorted(passed)


@given(REQUIREMENTS, HOPS)
def test_every_shortfall_can_be_told(requirement: Requirement, facts: HopFacts) -> None:
    shortfall = judge(requirement, facts).shortfall
    if shortfall:
        reply = deferral(shortfall, facts)
        unfit = {(550, "5.7.10"), (550, "5.7.30")} if REQUIRETLS[0] in requirement.sources else set()
        assert (reply.code, reply.enhanced) in {(450, status) for status in STATUSES_OF_TLS} | unfit
        assert re.fullmatch(r"[ -~]+", reply.lines[0])


STATUSES_OF_TLS = {"4.4.317", "4.7.320", "4.7.5", "4.7.322", "4.7.323", "4.7.325"}


@given(HOPS)
def test_without_tls_dane_has_a_status_of_its_own(facts: HopFacts) -> None:
    for asked in (Authenticated(BY_DNS, (BY_DANE,)), both(ENCRYPTED, Encrypted(BY_DNS))):
        assert shortfall_of(asked, replace(facts, tls=None, chain=None)).enhanced == "4.7.321"


# words


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        (Opportunistic(OUT), "opportunistic"),
        (ENCRYPTED, "encrypted"),
        (TRUSTED, "authenticated"),
        (NAMED, "authenticated(*.b.example)"),
        (Authenticated(OUT, (Identity(("a.example", "b.example")),)), "authenticated(a.example,b.example)"),
        (
            Authenticated(OUT, (Identity(ANY_B), Identity(MAIL), Identity((), "/r"))),
            "authenticated(*.b.example and mail.b.example)",
        ),
        (Authenticated(BY_DNS, (BY_DANE,)), "authenticated(dane)"),
        (
            Authenticated(BY_DNS, (BY_DANE, Identity(ANY_B), BY_STS)),
            "authenticated(dane and *.b.example and mail.b.example)",
        ),
    ],
)
def test_requirements_in_words(requirement: Requirement, text: str) -> None:
    assert describe(requirement) == text


@pytest.mark.parametrize(
    ("achieved", "text"),
    [
        (Achieved(TlsLevel.NONE), "none/none"),
        (Achieved(TlsLevel.ENCRYPTED, MxLevel.MTA_STS), "mta-sts/encrypted"),
        (Achieved(TlsLevel.AUTHENTICATED, MxLevel.DNSSEC), "dnssec/authenticated"),
    ],
)
def test_both_ladders_in_words(achieved: Achieved, text: str) -> None:
    assert describe_achieved(achieved) == text


def shortfall_of(requirement: Requirement, facts: HopFacts) -> Shortfall:
    shortfall = judge(requirement, facts).shortfall
    assert shortfall is not None
    return shortfall


def test_a_wrong_name_is_told_with_expected_presented_and_thumbprint(hop: MakeHop, chain: MakeChain) -> None:
    facts = hop(chain=chain("exchange01.b.test", common_name="ExchangeServer01"))
    assert deferral(shortfall_of(NAMED, facts), facts) == Reply(
        450,
        "4.7.320",
        (
            (
                "Certificate validation failed [Message=SubjectMismatch Expected Subject: *.b.example. "
                f"Presented Subject: CN=ExchangeServer01. Issuer: CN=Test CA. Thumbprint: {'BB' * 20} "
                f"(SHA-256 {'AA' * 32}). The certificate is for exchange01.b.test (CN ExchangeServer01).] "
                "[LastAttemptedServerName=mail.b.example] [LastAttemptedIP=192.0.2.1:25]"
            ),
        ),
    )


@pytest.mark.parametrize(
    ("connection", "start"),
    [
        (
            "no starttls",
            (
                "Cannot establish session with remote server [Message=STARTTLS is required to send mail Expected: TLS. "
                "Presented: no STARTTLS. Cleartext is ruled out by connector 'out'; the administrators of "
                "mail.b.example must switch TLS on.]"
            ),
        ),
        (
            "failed",
            (
                "Cannot establish session with remote server [Message=TlsHandshakeFailed The TLS handshake with "
                "mail.b.example (192.0.2.1:25) failed: alert 40. Cleartext is ruled out by connector 'out'.]"
            ),
        ),
        (
            "not begun",
            (
                "Cannot establish session with remote server [Message=STARTTLS is required to send mail mail.b.example "
                "(192.0.2.1:25) offers STARTTLS, but TLS was not begun."
            ),
        ),
    ],
)
def test_missing_tls_is_told(hop: MakeHop, chain: MakeChain, connection: str, start: str) -> None:
    facts = facts_named(connection, hop, chain)
    reply = deferral(shortfall_of(ENCRYPTED, facts), facts)
    assert (reply.code, reply.enhanced) == (450, "4.4.317")
    assert reply.lines[0].startswith(start)


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        (Encrypted(OUT, "default", "TLSv1.3"), "alert 40. Expected: TLSv1.3 or newer. Cleartext"),
        (Authenticated(OUT, (Identity(()),), "modern", "TLSv1.3"), "alert 40. Expected: TLSv1.3 or newer. Cleartext"),
        (Encrypted(OUT, "modern"), "alert 40. Offered: TLS profile modern. Cleartext"),
        (Opportunistic(OUT, profile="modern"), "alert 40. Offered: TLS profile modern. Cleartext"),
        (Opportunistic(OUT), "alert 40. Cleartext"),
    ],
)
def test_a_failed_handshake_says_what_was_insisted_on(
    hop: MakeHop, chain: MakeChain, requirement: Requirement, said: str
) -> None:
    assert said in shortfall_of(requirement, facts_named("failed", hop, chain)).detail


def test_everybody_who_asks_is_named(hop: MakeHop) -> None:
    facts = replace(hop(tls=None), host="192.0.2.1", address="192.0.2.1")
    joint = Encrypted((Source("connector", "out"), Source("dane")))
    assert "Cleartext is ruled out by connector 'out' and dane." in shortfall_of(joint, facts).detail
    assert shortfall_of(joint, facts).detail.startswith("192.0.2.1 offers STARTTLS")
    assert "ruled out by default." in shortfall_of(Opportunistic((Source("default"),)), facts).detail


def test_a_reply_holds_only_printable_ascii(hop: MakeHop, chain: MakeChain) -> None:
    facts = hop(chain=chain("x.example", common_name="Bücher\r\n250 ok"))
    assert "Presented Subject: CN=B?cher??250 ok." in deferral(shortfall_of(NAMED, facts), facts).lines[0]


@pytest.mark.parametrize(
    ("last", "final"),
    [
        (Reply(450, "4.7.320", ("Certificate validation failed",)), "550 5.7.320 Message expired, Certificate"),
        (Reply(421, "", ("busy", "later")), "550 5.4.7 Message expired, busy later"),
        (Reply(451, "4.4.1", ()), "550 5.4.1 Message expired"),
    ],
)
def test_an_expired_message_gets_the_permanent_twin(last: Reply, final: str) -> None:
    assert expired(last).text.startswith(final)


def test_smart_hosts_are_no_part_of_the_requirement() -> None:
    plain = connector(tls_settings="encryption-only")
    routed = connector(tls_settings="encryption-only", smart_hosts=["a.example:26"])
    assert routed.smart_hosts == (SmartHost("a.example", 26),)
    assert required(plain, ORGANIZATION, ()) == required(routed, ORGANIZATION, ())


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        (Opportunistic(OUT), "authenticated(dane)"),
        (ENCRYPTED, "authenticated(dane)"),
        (NAMED, "authenticated(dane and *.b.example)"),
    ],
)
def test_dane_that_is_demanded_is_told_before_it_was_looked_for(requirement: Requirement, text: str) -> None:
    assert describe(requirement, mandatory_dane=True) == text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Cleartext is ruled out by organization 'contoso'"),
        ({"cleartext": "only-if-not-offered"}, "Cleartext is ruled out by connector 'out'"),
        ({"tls_settings": "encryption-only"}, "Cleartext is ruled out by connector 'out'"),
    ],
)
def test_who_rules_cleartext_out_is_named(hop: MakeHop, fields: dict[str, Any], words: str) -> None:
    failed = hop(tls=None, handshake_error="alert 40")
    assert words in shortfall_of(required(connector(**fields), ORGANIZATION, ()), failed).detail


def test_of_two_who_allow_different_things_the_stricter_is_named(hop: MakeHop) -> None:
    lax = Opportunistic(OUT, Cleartext.AFTER_FAILED_HANDSHAKE)
    strict = Opportunistic(RULE)
    for asked in (both(lax, strict), both(strict, lax)):
        assert "ruled out by rule 'secret'." in shortfall_of(asked, hop(tls=None, handshake_error="no")).detail
    assert both(strict, Opportunistic(OUT)).cleartext_by == ()


def test_sources_of_another_organization_say_whose_they_are() -> None:
    asking = (Source("connector", "hq"), Source("rule", "r"), Source("organization", "o"), Source("default"))
    named = by_organization(Encrypted(asking), "o")
    assert [str(one) for one in named.sources] == ["connector:hq of o", "rule:r of o", "organization:o", "default"]
    facts = HopFacts("mx.b.example", "192.0.2.1:25")
    shortfall = judge(named, facts).shortfall
    assert shortfall is not None
    assert "connector 'hq' of o and rule 'r' of o and organization 'o'" in shortfall.detail
