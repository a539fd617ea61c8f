from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.records import OutboundConnector
from gatepost.policy.connectors.values import Cleartext, MtaStsMode, RevocationCheck, SmtpDaneMode
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import both, deferral, describe, expired, judge
from gatepost.policy.decisions.parties import SenderPart
from gatepost.policy.decisions.published import (
    NOTHING,
    Modes,
    Naming,
    Published,
    StsFound,
    Terms,
    by_dane,
    by_mta_sts,
    dnssec_failed,
    joined_modes,
    modes,
    terms,
)
from gatepost.policy.decisions.requirement import (
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    MxLevel,
    Opportunistic,
    Requirement,
    Shortfall,
    Source,
    StsProof,
    TlsLevel,
)
from gatepost.policy.decisions.requiretls import Asks
from gatepost.protocols.dane.match import DaneVerdict
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, TlsaLookup, TlsaStatus, Unusable, Usage
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

HOST, DOMAIN = "mx.b.example", "b.example"
RECORD = Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32))
USABLE = TlsaLookup(TlsaStatus.USABLE, "one", Records((RECORD,)), HOST, (HOST, DOMAIN))
UNUSABLE = TlsaLookup(TlsaStatus.UNUSABLE, "none can be used", Records((), (Unusable("0 0 1", "usage 0"),)), HOST)
NONE = TlsaLookup(TlsaStatus.NONE, "no TLSA records")
INSECURE = TlsaLookup(TlsaStatus.INSECURE, "DNSSEC does not prove it")
BOGUS = TlsaLookup(TlsaStatus.FAILED, "the signature is wrong", bogus=True)
SILENT = TlsaLookup(TlsaStatus.FAILED, "no nameserver answers")
FOUND = [None, USABLE, UNUSABLE, NONE, INSECURE, BOGUS, SILENT]

OPPORTUNISTIC, MANDATORY, OFF = SmtpDaneMode
BY_CONNECTOR = (Source("connector", "out"),)
BY_DANE = (Source("dane", HOST),)
PROVED = Authenticated(BY_DANE, (DaneProof(USABLE.records, USABLE.names),), revocation=RevocationCheck.NONE)
BY_STS = Authenticated((Source("mta-sts", DOMAIN),), (StsProof(DOMAIN, HOST),), revocation=RevocationCheck.NONE)


def policy(mode: str = "enforce", *mx: str) -> StsFound:
    return StsFound(DOMAIN, StsPolicy(StsMode(mode), mx or ("*.b.example",), 86400), "1")


ENFORCE, TESTING, WITHDRAWN = policy(), policy("testing"), policy("none")
OTHER, OTHER_TESTING = policy("enforce", "mx.c.example"), policy("testing", "mx.c.example")


# DANE


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (USABLE, PROVED),
        (UNUSABLE, Encrypted(BY_DANE)),  # D1
        (NONE, None),
        (INSECURE, None),
        (None, None),
        (BOGUS, "4.7.324 dnssec-invalid"),
        (SILENT, "4.4.312 validation-failure"),
    ],
)
@pytest.mark.parametrize("mode", SmtpDaneMode)
def test_what_tlsa_records_ask_for(
    found: TlsaLookup | None, asked: Requirement | str | None, mode: SmtpDaneMode
) -> None:
    if mode is OFF:
        asked = None
    elif mode is MANDATORY and (asked is None or isinstance(asked, Encrypted)):
        asked = "4.7.323 dane-required"  # D2
    assert told(by_dane(mode, found, HOST)) == asked


def told(asked: Requirement | Shortfall | None) -> Requirement | str | None:
    return f"{asked.enhanced} {asked.result_type}" if isinstance(asked, Shortfall) else asked


@pytest.mark.parametrize(("found", "why"), [(None, "there was no lookup"), (INSECURE, "DNSSEC does not prove it")])
def test_dane_that_is_demanded_and_missing_is_told(found: TlsaLookup | None, why: str) -> None:
    missing = by_dane(MANDATORY, found, HOST)
    assert isinstance(missing, Shortfall)
    assert missing.detail == f'Expected: DANE at {HOST}, by smtp_dane_mode = "mandatory". Found: {why}.'


def test_the_profile_of_the_way_holds() -> None:
    for found in (USABLE, UNUSABLE):
        asked = by_dane(OPPORTUNISTIC, found, HOST, "legacy")
        assert isinstance(asked, Authenticated | Encrypted)
        assert asked.profile == "legacy"


# MTA-STS


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        (None, None),
        (StsFound(DOMAIN), None),
        (StsFound(DOMAIN, failure=ResultType.STS_WEBPKI_INVALID, detail="expired"), None),
        (WITHDRAWN, None),
        (ENFORCE, BY_STS),
        (TESTING, BY_STS),
        (OTHER, "4.4.8 validation-failure"),  # M1
        (OTHER_TESTING, "4.4.8 validation-failure"),
        (policy("enforce", "*.example"), "4.4.8 validation-failure"),  # one label only
    ],
)
def test_what_a_policy_asks_for(found: StsFound | None, asked: Requirement | str | None) -> None:
    assert told(by_mta_sts(found, HOST)) == asked


def test_a_host_that_is_not_in_the_policy_is_told() -> None:
    missing = by_mta_sts(policy("enforce", *(f"mx{number}.c.example" for number in range(7))), HOST)
    assert isinstance(missing, Shortfall)
    reply = deferral(missing, HopFacts(HOST, ""))
    assert reply.text == (
        "450 4.4.8 MX hosts of b.example failed MTA-STS validation [Message=HostNotInPolicy Expected: mx0.c.example, "
        "mx1.c.example, mx2.c.example, mx3.c.example, mx4.c.example and 2 more. Presented: mx.b.example, by the MX "
        "records of b.example. Its policy and its MX records must agree.] [LastAttemptedServerName=mx.b.example]"
    )
    assert expired(reply).enhanced == "5.4.8"


@pytest.mark.parametrize(
    ("shortfall", "begins"),
    [
        (dnssec_failed("forged"), "450 4.7.324 dnssec-invalid: Destination domain returned invalid DNSSEC records ["),
        (
            by_dane(OPPORTUNISTIC, SILENT, HOST),
            "450 4.4.312 DNS query failed [Message=TlsaLookupFailed Its TLSA records",
        ),
        (
            by_dane(MANDATORY, NONE, HOST),
            "450 4.7.323 tlsa-invalid: The domain failed DANE validation [Message=DaneReq",
        ),
    ],
)
def test_a_host_that_must_not_be_used_has_a_reply(shortfall: Shortfall, begins: str) -> None:
    assert deferral(shortfall, HopFacts(HOST, "")).text.startswith(begins)


# Both


NOTHING_ASKED = Opportunistic(BY_CONNECTOR)
USUAL = Modes()


def held(published: Published, requirement: Requirement = NOTHING_ASKED, asked: Modes = USUAL, **more: Any) -> Terms:
    return terms(requirement, HOST, asked, published, **more)


def test_without_anything_published_the_connector_alone_counts() -> None:
    assert held(NOTHING) == Terms(NOTHING_ASKED, NOTHING, MxLevel.NONE)


@pytest.mark.parametrize(
    ("dane", "sts", "outcome", "testing"),
    [
        (USABLE, ENFORCE, PROVED, None),  # DANE goes first
        (USABLE, OTHER, PROVED, None),
        (USABLE, OTHER_TESTING, PROVED, None),
        (UNUSABLE, ENFORCE, both(Encrypted(BY_DANE), BY_STS), None),
        (UNUSABLE, OTHER, "4.4.8 validation-failure", None),
        (BOGUS, ENFORCE, "4.7.324 dnssec-invalid", None),
        (BOGUS, OTHER, "4.7.324 dnssec-invalid", None),
        (NONE, ENFORCE, BY_STS, None),
        (NONE, TESTING, NOTHING_ASKED, BY_STS),
        (NONE, OTHER_TESTING, NOTHING_ASKED, "4.4.8 validation-failure"),
        (NONE, WITHDRAWN, NOTHING_ASKED, None),
        (None, OTHER, "4.4.8 validation-failure", None),
    ],
)
def test_dane_and_mta_sts_together(
    dane: TlsaLookup | None, sts: StsFound, outcome: Requirement | str, testing: Requirement | str | None
) -> None:
    found = held(Published(dane, sts))
    assert told(found.outcome) == outcome
    assert told(found.published.testing) == testing
    assert (found.published.dane, found.published.sts) == (dane, sts)  # both are reported


def test_what_a_connector_asks_for_stays() -> None:
    own = Authenticated(BY_CONNECTOR, (Identity(("*.b.example",)),))
    found = held(Published(USABLE), own)
    assert isinstance(found.outcome, Authenticated)
    assert describe(found.outcome) == "authenticated(dane and *.b.example)"
    assert [str(source) for source in found.outcome.sources] == ["connector:out", "dane:mx.b.example"]


@pytest.mark.parametrize(
    ("sts", "authentic", "level"),
    [
        (None, False, MxLevel.NONE),
        (None, True, MxLevel.DNSSEC),
        (ENFORCE, False, MxLevel.MTA_STS),
        (ENFORCE, True, MxLevel.DNSSEC),
        (TESTING, False, MxLevel.NONE),
        (OTHER, False, MxLevel.NONE),
        (WITHDRAWN, False, MxLevel.NONE),
    ],
)
def test_how_the_name_of_the_host_is_known(sts: StsFound | None, authentic: bool, level: MxLevel) -> None:
    assert held(Published(NONE, sts), naming=Naming(DOMAIN, authentic)).mx is level


# What a message asks itself (RFC 8689)

STRICT = Modes(asks=Asks.REQUIRED)
NAMED_BY_MX = Naming(DOMAIN)
PROVED_MX = Naming(DOMAIN, authentic=True)
UNFETCHED = StsFound(DOMAIN, failure=ResultType.STS_POLICY_FETCH_ERROR, detail="connection refused")
KEPT = replace(ENFORCE, failure=ResultType.STS_POLICY_FETCH_ERROR, detail="connection refused")


@pytest.mark.parametrize(
    ("dane", "sts", "naming", "asked", "text"),
    [
        (USABLE, None, PROVED_MX, STRICT, "authenticated(dane) with requiretls"),
        (UNUSABLE, None, PROVED_MX, STRICT, "authenticated(mx.b.example) with requiretls"),
        (NONE, None, PROVED_MX, STRICT, "authenticated(mx.b.example) with requiretls"),
        (INSECURE, ENFORCE, NAMED_BY_MX, STRICT, "authenticated(mx.b.example and mx.b.example) with requiretls"),
        (INSECURE, KEPT, NAMED_BY_MX, STRICT, "authenticated(mx.b.example and mx.b.example) with requiretls"),
        (INSECURE, None, NAMED_BY_MX, STRICT, "5.7.10 "),
        (None, None, NAMED_BY_MX, STRICT, "5.7.10 "),
        (INSECURE, TESTING, NAMED_BY_MX, STRICT, "5.7.10 "),
        (INSECURE, WITHDRAWN, NAMED_BY_MX, STRICT, "5.7.10 "),
        (INSECURE, UNFETCHED, NAMED_BY_MX, STRICT, "4.7.10 "),
        (INSECURE, OTHER, NAMED_BY_MX, STRICT, "4.4.8 validation-failure"),
        (BOGUS, None, PROVED_MX, STRICT, "4.7.324 dnssec-invalid"),
        (INSECURE, None, Naming(), STRICT, "authenticated(mx.b.example) with requiretls"),
        (INSECURE, None, Naming(here=True), STRICT, "opportunistic"),
        (NONE, None, PROVED_MX, Modes(asks=Asks.NOTICE), "authenticated(mx.b.example)"),
        (NONE, None, PROVED_MX, Modes(asks=Asks.REQUIRED, relaxed_by="out"), "authenticated(mx.b.example)"),
        (INSECURE, None, NAMED_BY_MX, Modes(asks=Asks.REQUIRED, relaxed_by="out"), "5.7.10 "),
    ],
)
def test_requiretls_of_a_message(
    dane: TlsaLookup | None, sts: StsFound | None, naming: Naming, asked: Modes, text: str
) -> None:
    outcome = held(Published(dane, sts), asked=asked, naming=naming).outcome
    if isinstance(outcome, Shortfall):
        assert f"{outcome.enhanced} {outcome.result_type or ''}" == text
    else:
        assert describe(outcome) == text


@pytest.mark.parametrize(
    ("asked", "naming", "begins"),
    [
        (STRICT, PROVED_MX, ""),
        (Modes(), PROVED_MX, ""),
        (Modes(asks=Asks.NOTICE), PROVED_MX, "relaxed: a notice is not lost"),
        (Modes(asks=Asks.REQUIRED, relaxed_by="out"), PROVED_MX, "relaxed: connector 'out' sends"),
        (Modes(relaxed_by="out"), PROVED_MX, ""),
        (STRICT, Naming(here=True), "local: "),
    ],
)
def test_who_lets_requiretls_go(asked: Modes, naming: Naming, begins: str) -> None:
    without = held(Published(NONE), asked=asked, naming=naming).without_requiretls
    assert without.startswith(begins)
    assert bool(without) is bool(begins)


def test_what_is_known_of_a_host_that_nothing_proves_is_told() -> None:
    outcome = held(Published(INSECURE, UNFETCHED), asked=STRICT, naming=NAMED_BY_MX).outcome
    assert isinstance(outcome, Shortfall)
    assert "Presented: neither. DNSSEC does not prove it. MTA-STS: connection refused. Set by" in outcome.detail


def test_a_smart_host_without_a_name_is_unfit() -> None:
    outcome = terms(NOTHING_ASKED, "192.0.2.1", STRICT, Published(NONE)).outcome
    assert isinstance(outcome, Shortfall)
    assert outcome.message == "HostHasNoName"


EASED = Opportunistic(BY_CONNECTOR, Cleartext.AFTER_FAILED_HANDSHAKE)
KEEPS = "TLS-Required: No lets the message leave unencrypted after a failed TLS handshake"


@pytest.mark.parametrize(
    ("dane", "sts", "asked", "outcome", "aside"),
    [
        (NONE, None, Modes(asks=Asks.WAIVED), EASED, [KEEPS]),
        (NONE, None, Modes(asks=Asks.WAIVED, own_cleartext=True), NOTHING_ASKED, []),
        (
            USABLE,
            None,
            Modes(asks=Asks.WAIVED),
            EASED,
            ["TLS-Required: No overrides DANE: authenticated(dane)", KEEPS],
        ),
        (BOGUS, None, Modes(asks=Asks.WAIVED), EASED, ["TLS-Required: No overrides DANE: DnssecInvalid", KEEPS]),
        (SILENT, None, Modes(asks=Asks.WAIVED), EASED, ["TLS-Required: No overrides DANE: TlsaLookupFailed", KEEPS]),
        (
            NONE,
            ENFORCE,
            Modes(asks=Asks.WAIVED),
            EASED,
            ["TLS-Required: No overrides MTA-STS: authenticated(mx.b.example)", KEEPS],
        ),
        (NONE, OTHER, Modes(asks=Asks.WAIVED), EASED, ["TLS-Required: No overrides MTA-STS: HostNotInPolicy", KEEPS]),
        (NONE, TESTING, Modes(asks=Asks.WAIVED), EASED, [KEEPS]),
        # what an administrator demands is no policy of the domain
        (USABLE, None, Modes(MANDATORY, asks=Asks.WAIVED), PROVED, [KEEPS]),
        (BOGUS, None, Modes(MANDATORY, asks=Asks.WAIVED), "4.7.324 dnssec-invalid", [KEEPS]),
    ],
)
def test_tls_required_no(
    dane: TlsaLookup, sts: StsFound | None, asked: Modes, outcome: Requirement | str, aside: list[str]
) -> None:
    found = held(Published(dane, sts), asked=asked, naming=PROVED_MX)
    assert told(found.outcome) == outcome
    assert list(found.set_aside) == aside
    assert found.published.dane is dane  # it is looked up and told all the same


# Connectors


def connector(**fields: Any) -> OutboundConnector:
    return OutboundConnector.model_validate({"name": "out", "recipient_domains": ["b.example"], **fields})


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, Modes()),
        ({"smtp_dane_mode": "none", "mta_sts_mode": "none"}, Modes(OFF, MtaStsMode.NONE)),
        ({"smtp_dane_mode": "mandatory"}, Modes(MANDATORY)),
        ({"mode": "rehearse", "smtp_dane_mode": "mandatory"}, Modes(dane_on_trial=MANDATORY)),
        ({"mode": "rehearse", "mta_sts_mode": "none"}, Modes(dane_on_trial=OPPORTUNISTIC)),
        ({"requiretls_mode": "relaxed", "cleartext": "never"}, Modes(relaxed_by="out", own_cleartext=True)),
        (
            {"mode": "rehearse", "requiretls_mode": "relaxed", "cleartext": "never"},
            Modes(dane_on_trial=OPPORTUNISTIC),
        ),
    ],
)
@pytest.mark.parametrize("asks", Asks)
def test_what_a_connector_looks_up(fields: dict[str, Any], asked: Modes, asks: Asks) -> None:
    assert modes(connector(**fields), asks) == replace(asked, asks=asks)


def test_without_a_connector_both_are_looked_up() -> None:
    assert modes(None) == Modes(OPPORTUNISTIC, MtaStsMode.OPPORTUNISTIC)
    assert modes(None, Asks.REQUIRED) == STRICT


def test_a_demand_in_rehearsal_is_reported_and_not_made() -> None:
    trial = Modes(dane_on_trial=MANDATORY)
    assert told(held(Published(NONE), asked=trial).published.on_trial) == "4.7.323 dane-required"
    assert held(Published(NONE), asked=trial).outcome == NOTHING_ASKED
    assert held(Published(USABLE), asked=trial).published.on_trial is None
    assert held(Published(BOGUS), asked=trial).published.on_trial is None  # it fails without any rehearsal


# The laws


def facts(
    tls: str, dane: DaneVerdict | None, chain: ChainVerdict | None, requiretls: bool = True, mx: MxLevel = MxLevel.NONE
) -> HopFacts:
    session = TlsFacts(tls, "suite", "X25519", "", False, HOST) if tls else None
    offered = requiretls and session is not None
    return HopFacts(HOST, "192.0.2.1:25", bool(tls), session, chain=chain, dane=dane, mx=mx, requiretls_offered=offered)


LEAF = CertificateFacts("CN=x", "CN=y", "1", "", (HOST,), (), "a" * 64, "b" * 40, "c" * 64, 0, 1, "RSA")
HOPS = st.builds(
    facts,
    st.sampled_from(["", "TLSv1.3"]),
    st.none() | st.just(DaneVerdict(RECORD, "it is satisfied")),
    st.none() | st.builds(lambda status: ChainVerdict(status, "", LEAF), st.sampled_from(ChainStatus)),
    st.booleans(),
    st.sampled_from(MxLevel),
)
POLICIES = st.sampled_from([None, ENFORCE, TESTING, WITHDRAWN, OTHER, OTHER_TESTING])
OWN = st.sampled_from([NOTHING_ASKED, Encrypted(BY_CONNECTOR), Authenticated(BY_CONNECTOR, (Identity((HOST,)),))])
MODES = st.builds(Modes, st.sampled_from(SmtpDaneMode), dane_on_trial=st.none() | st.sampled_from(SmtpDaneMode))
PUBLICATIONS = st.builds(Published, st.sampled_from(FOUND), POLICIES)


@given(OWN, MODES, PUBLICATIONS, HOPS)
def test_whatever_is_published_takes_nothing_away(
    own: Requirement, asked: Modes, what: Published, hop: HopFacts
) -> None:
    found = terms(own, HOST, asked, what)
    if not isinstance(found.outcome, Shortfall) and judge(found.outcome, hop).passed:
        assert judge(own, hop).passed


@given(OWN, MODES, PUBLICATIONS, HOPS)
def test_a_dane_domain_never_gets_mail_in_clear(own: Requirement, asked: Modes, what: Published, hop: HopFacts) -> None:
    outcome = terms(own, HOST, asked, what).outcome
    if asked.dane is OFF or what.dane in {None, NONE, INSECURE}:
        return
    if what.dane in {BOGUS, SILENT}:
        assert isinstance(outcome, Shortfall)
    elif not isinstance(outcome, Shortfall) and judge(outcome, hop).passed:
        assert hop.tls is not None
        assert what.dane is UNUSABLE or hop.dane is not None


NAMINGS = st.builds(Naming, st.sampled_from(["", DOMAIN]), st.booleans(), st.just(False))


@given(OWN, MODES, PUBLICATIONS, NAMINGS, HOPS, st.sampled_from([Asks.REQUIRED, Asks.NOTICE]), st.booleans())
def test_requiretls_never_weakens(  # noqa: PLR0917 - drawn one by one
    own: Requirement, asked: Modes, what: Published, naming: Naming, hop: HopFacts, asks: Asks, relaxed: bool
) -> None:
    """Who may have a message with REQUIRETLS may have it without; and is authenticated."""
    usual = terms(own, HOST, asked, what, naming)
    strict = terms(own, HOST, replace(asked, asks=asks, relaxed_by="out" if relaxed else ""), what, naming)
    assert isinstance(strict.outcome, Shortfall | Authenticated)
    if isinstance(usual.outcome, Shortfall):
        assert strict.outcome == usual.outcome
    elif isinstance(strict.outcome, Authenticated):
        verdict = judge(strict.outcome, hop)
        assert not verdict.passed or judge(usual.outcome, hop).passed
        assert not verdict.passed or verdict.achieved.tls is TlsLevel.AUTHENTICATED
        assert not verdict.passed or hop.requiretls_offered or strict.without_requiretls
        assert not verdict.passed or not naming.domain or hop.mx > MxLevel.NONE


@given(OWN, MODES, PUBLICATIONS, NAMINGS, HOPS, st.booleans())
def test_tls_required_no_takes_nothing_from_what_is_demanded(
    own: Requirement, asked: Modes, what: Published, naming: Naming, hop: HopFacts, obeyed: bool
) -> None:
    found = terms(own, HOST, replace(asked, asks=Asks.WAIVED, own_cleartext=obeyed), what, naming)
    if isinstance(found.outcome, Shortfall):
        assert asked.dane is MANDATORY
    elif judge(found.outcome, hop).passed and not isinstance(own, Opportunistic):
        assert judge(own, hop).passed
    if asked.dane is MANDATORY:
        demanded = by_dane(MANDATORY, what.dane, HOST)
        assert isinstance(found.outcome, Shortfall) is isinstance(demanded, Shortfall)


@given(OWN, PUBLICATIONS)
def test_testing_and_rehearsal_change_no_outcome(own: Requirement, what: Published) -> None:
    trial = Modes(dane_on_trial=MANDATORY)
    before = terms(own, HOST, Modes(), what)
    assert terms(own, HOST, trial, what).outcome == before.outcome
    if what.sts in {TESTING, OTHER_TESTING}:
        assert before.outcome == terms(own, HOST, Modes(), Published(what.dane)).outcome


def test_of_two_connectors_the_stricter_modes_count() -> None:
    def one(**fields: Any) -> OutboundConnector:
        return OutboundConnector(name="c", recipient_domains=("*",), **fields)

    lax = one(smtp_dane_mode="none", mta_sts_mode="none", requiretls_mode="relaxed", cleartext="never")
    assert joined_modes(lax, None) == modes(lax)
    usual = joined_modes(lax, SenderPart("o", None))
    assert (usual.dane, usual.sts) == (SmtpDaneMode.OPPORTUNISTIC, MtaStsMode.OPPORTUNISTIC)
    assert (usual.relaxed_by, usual.own_cleartext, usual.dane_on_trial) == ("", True, None)
    both_lax = joined_modes(lax, SenderPart("o", lax))
    assert (both_lax.dane, both_lax.sts, both_lax.relaxed_by) == (SmtpDaneMode.NONE, MtaStsMode.NONE, "c")
    trial = joined_modes(lax, SenderPart("o", one(smtp_dane_mode="mandatory", mode="rehearse")))
    assert (trial.dane, trial.dane_on_trial) == (SmtpDaneMode.OPPORTUNISTIC, SmtpDaneMode.MANDATORY)


@pytest.mark.parametrize(
    ("naming", "fit"),
    [
        (Naming(), True),
        (Naming(DOMAIN), False),
        (Naming(DOMAIN, authentic=True), True),
        (Naming(here=True), True),
    ],
)
def test_the_terms_of_a_host_for_a_journal_copy(naming: Naming, fit: bool) -> None:
    found = terms(Opportunistic(BY_CONNECTOR), HOST, Modes(asks=Asks.JOURNAL), Published(), naming).outcome
    assert isinstance(found, Shortfall) is not fit
    assert isinstance(found, Authenticated) is (fit and not naming.here)


def test_terms_have_the_failure_of_their_own_look_up() -> None:
    """Which does not count where policies are compared: no other look-up's terms may stand for them."""
    failures = (None, ResultType.STS_WEBPKI_INVALID, ResultType.STS_POLICY_FETCH_ERROR)
    looked_up = [replace(policy(), failure=failure) for failure in failures]
    found = [terms(Opportunistic(BY_CONNECTOR), HOST, Modes(), Published(sts=each)) for each in looked_up]
    assert [each.published.sts and each.published.sts.failure for each in found] == list(failures)
