from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.published import NOTHING, Published, StsFound, by_dane, by_mta_sts, dnssec_failed
from gatepost.policy.decisions.requirement import Authenticated, Identity, Opportunistic, Shortfall, Source
from gatepost.policy.decisions.tlsrpt import Seen, attempted, barred, not_fetched
from gatepost.protocols.dane.match import DaneFailure, DaneVerdict
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, TlsaLookup, TlsaStatus, Unusable, Usage
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import PolicyType, TlsSession

HOST, DOMAIN = "mail.b.example", "b.example"
RECORD = Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32))
FULL = Tlsa(Usage.DANE_TA, Selector.CERT, MatchingType.FULL, b"\x30\x40" + bytes(64))
USABLE = TlsaLookup(TlsaStatus.USABLE, "two", Records((RECORD, FULL)), "base.b.example", (HOST, DOMAIN))
UNUSABLE = TlsaLookup(TlsaStatus.UNUSABLE, "none can be used", Records((), (Unusable("0 0 1 aa", "usage 0"),)), HOST)
NONE = TlsaLookup(TlsaStatus.NONE, "no TLSA records")
INSECURE = TlsaLookup(TlsaStatus.INSECURE, "DNSSEC does not prove it")
BOGUS = TlsaLookup(TlsaStatus.FAILED, "the signature is wrong", bogus=True)
SILENT = TlsaLookup(TlsaStatus.FAILED, "no nameserver answers")


def sts(mode: str, *mx: str, failure: ResultType | None = None) -> StsFound:
    return StsFound(DOMAIN, StsPolicy(StsMode(mode), mx or ("*.b.example",), 86400), "1", failure)


ENFORCE, TESTING, WITHDRAWN = sts("enforce"), sts("testing"), sts("none")
ELSEWHERE = sts("enforce", "mx.c.example")
NO_STS = StsFound(DOMAIN)
DOWN = StsFound(DOMAIN, failure=ResultType.STS_POLICY_FETCH_ERROR, detail="nobody answers")

DEFAULT = Opportunistic((Source("default"),))
BY_CONNECTOR = Authenticated((Source("connector", "out"),), (Identity(("mail.b.example",), "/their/anchors"),))
MATCHED = DaneVerdict(RECORD, "matched")
EXPIRED = DaneVerdict(None, "it is over", DaneFailure.CERTIFICATE_EXPIRED)
SEEN = Seen("192.0.2.1", "helo.b.example", "198.51.100.7")

CLEAR: dict[str, Any] = {"tls": None, "chain": None, "starttls_offered": False}
BROKEN = CLEAR | {"starttls_offered": True, "handshake_error": "alert 40"}


def told(session: TlsSession) -> list[str]:
    """ "tlsa", or "sts starttls-not-supported SomeReason"."""
    return [
        f"{policy.type} {failure.result} {failure.reason}".rstrip() if failure else str(policy.type)
        for policy, failure in session.results
    ]


CASES = [
    # dane, sts, facts, results
    (None, None, {}, ["no-policy-found"]),
    (NONE, NO_STS, {}, ["no-policy-found"]),
    (INSECURE, WITHDRAWN, {}, ["no-policy-found"]),
    (None, DOWN, {}, ["no-policy-found"]),
    (None, None, CLEAR, ["no-policy-found starttls-not-supported"]),
    (None, None, BROKEN, ["no-policy-found validation-failure TlsHandshakeFailed"]),
    (None, None, {"chain": "self-signed"}, ["no-policy-found"]),
    (USABLE, None, {"dane": MATCHED}, ["tlsa"]),
    (USABLE, None, {"dane": EXPIRED}, ["tlsa certificate-expired CertificateExpired"]),
    (USABLE, None, CLEAR, ["tlsa starttls-not-supported"]),
    (USABLE, None, BROKEN, ["tlsa validation-failure TlsHandshakeFailed"]),
    (USABLE, None, {}, []),
    (UNUSABLE, None, {}, ["tlsa tlsa-invalid TlsaUnusable"]),
    (UNUSABLE, None, CLEAR, ["tlsa starttls-not-supported"]),
    (BOGUS, None, {}, ["tlsa dnssec-invalid DnssecInvalid"]),
    (SILENT, None, {}, []),
    (None, ENFORCE, {}, ["sts"]),
    (None, ENFORCE, CLEAR, ["sts starttls-not-supported"]),
    (None, ENFORCE, {"chain": "untrusted-root"}, ["sts certificate-not-trusted UntrustedRoot"]),
    (None, ENFORCE, {"chain": "expired"}, ["sts certificate-expired CertificateExpired"]),
    (None, ENFORCE, {"chain": None}, []),
    (NONE, TESTING, {}, ["sts"]),
    (NONE, TESTING, CLEAR, ["sts starttls-not-supported"]),
    (None, ELSEWHERE, {}, ["sts validation-failure HostNotInPolicy"]),
    (USABLE, ENFORCE, {"dane": MATCHED}, ["tlsa", "sts"]),
    (USABLE, ENFORCE, {"dane": MATCHED, "chain": "self-signed"}, ["tlsa", "sts certificate-not-trusted UntrustedRoot"]),
    (USABLE, ELSEWHERE, {"dane": MATCHED}, ["tlsa", "sts validation-failure HostNotInPolicy"]),
    (USABLE, TESTING, CLEAR, ["tlsa starttls-not-supported", "sts starttls-not-supported"]),
]


def seen_facts(hop: Callable[..., HopFacts], chain: Callable[..., Any], fields: dict[str, Any]) -> HopFacts:
    if isinstance(status := fields.get("chain"), str):
        fields = fields | {"chain": chain(HOST, status=status)}
    return hop(**fields)


@pytest.mark.parametrize(("dane", "policy", "fields", "results"), CASES)
def test_each_policy_is_judged_by_itself(
    hop: Callable[..., HopFacts], chain: Callable[..., Any], *, dane: Any, policy: Any, fields: Any, results: list[str]
) -> None:
    facts = seen_facts(hop, chain, fields)
    session = attempted(DOMAIN, DEFAULT, facts, Published(dane, policy), SEEN)
    assert (session.domain, told(session)) == (DOMAIN, results)


def test_what_a_report_shows(hop: Callable[..., HopFacts]) -> None:
    (tlsa, failure), (policy, _) = attempted(
        DOMAIN, DEFAULT, hop(dane=EXPIRED), Published(USABLE, ENFORCE), SEEN
    ).results
    assert (tlsa.type, tlsa.domain, tlsa.mx_hosts) == (PolicyType.TLSA, "base.b.example", ())
    assert tlsa.strings == (f"3 1 1 {'00' * 32}", f"2 0 0 3040{'00' * 64}")
    assert failure is not None
    assert (failure.mx_host, failure.address, failure.helo) == (HOST, "192.0.2.1", "helo.b.example")
    assert failure.sending_address == "198.51.100.7"
    assert (policy.type, policy.domain, policy.mx_hosts) == (PolicyType.STS, DOMAIN, ("*.b.example",))
    assert policy.strings == ("version: STSv1", "mode: enforce", "mx: *.b.example", "max_age: 86400")
    ((unusable, _),) = attempted(DOMAIN, DEFAULT, hop(), Published(UNUSABLE), SEEN).results
    assert unusable.strings == ("0 0 1 aa",)


def test_mta_sts_is_judged_by_the_servers_own_anchors(hop: Callable[..., HopFacts], chain: Callable[..., Any]) -> None:
    untrusted, trusted = chain(HOST, status="untrusted-root"), chain(HOST)
    by = {"own": hop(chain=untrusted, chains=(("", trusted),)), "theirs": hop(chain=trusted)}
    published = Published(None, TESTING)
    assert told(attempted(DOMAIN, BY_CONNECTOR, by["own"], published, SEEN)) == ["sts"]
    assert told(attempted(DOMAIN, BY_CONNECTOR, by["theirs"], published, SEEN)) == []


def of_dane(found: TlsaLookup, mode: str) -> Shortfall:
    from gatepost.policy.connectors.values import SmtpDaneMode  # noqa: PLC0415 - only here

    shortfall = by_dane(SmtpDaneMode(mode), found, HOST)
    assert isinstance(shortfall, Shortfall)
    return shortfall


def of_sts(found: StsFound) -> Shortfall:
    shortfall = by_mta_sts(found, HOST)
    assert isinstance(shortfall, Shortfall)
    return shortfall


BARRED = [
    (of_dane(BOGUS, "opportunistic"), Published(BOGUS, ENFORCE), "tlsa mail.b.example dnssec-invalid 0"),
    (of_dane(SILENT, "opportunistic"), Published(SILENT, ENFORCE), ""),
    (of_dane(NONE, "mandatory"), Published(NONE, ENFORCE), "tlsa mail.b.example dane-required 0"),
    (of_dane(UNUSABLE, "mandatory"), Published(UNUSABLE), "tlsa mail.b.example dane-required 1"),
    (of_sts(ELSEWHERE), Published(NONE, ELSEWHERE), "sts b.example validation-failure 4"),
    (of_dane(SILENT, "opportunistic"), Published(SILENT, ELSEWHERE), ""),
    (of_dane(SILENT, "opportunistic"), Published(SILENT, NO_STS), ""),
    (Shortfall(None, "5.7.30", "NoRequiretls", "why"), NOTHING, ""),
    (dnssec_failed("the MX records are forged"), None, "tlsa mail.b.example dnssec-invalid 0"),
]


@pytest.mark.parametrize(("shortfall", "published", "expected"), BARRED)
def test_a_host_that_nobody_connects_to(shortfall: Shortfall, published: Published | None, expected: str) -> None:
    session = barred(DOMAIN, HOST, shortfall, published)
    if not expected:
        assert session is None
        return
    assert session is not None
    ((policy, failure),) = session.results
    assert failure is not None
    assert f"{policy.type} {policy.domain} {failure.result} {len(policy.strings)}" == expected
    assert (session.domain, failure.mx_host, failure.address) == (DOMAIN, HOST, "")


def test_without_a_host_the_domain_stands_for_it() -> None:
    session = barred(DOMAIN, "", dnssec_failed("forged"), None)
    assert session is not None
    assert (session.results[0][0].domain, session.results[0][1].mx_host) == (DOMAIN, "")  # type: ignore[union-attr] # a failure


NOT_FETCHED = [
    (None, None),
    (ENFORCE, None),
    (DOWN, (0, "sts-policy-fetch-error")),
    (sts("enforce", failure=ResultType.STS_WEBPKI_INVALID), (4, "sts-webpki-invalid")),
]


@pytest.mark.parametrize(("found", "expected"), NOT_FETCHED)
def test_a_policy_that_cannot_be_had(found: StsFound | None, expected: tuple[int, str] | None) -> None:
    result = not_fetched(found)
    assert (result is None) == (expected is None)
    if result is not None:
        policy, failure = result
        assert (policy.type, policy.domain) == (PolicyType.STS, DOMAIN)
        assert failure is not None
        assert (len(policy.strings), str(failure.result)) == expected
