"""What the addresses answered, as findings."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import server
from support.status_authority import StatusAuthority

from gatepost.analysis.checks.chain import link
from gatepost.analysis.checks.chain_facts import ChainFacts, From, Kind, Store, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_file import parse_file
from gatepost.analysis.checks.chain_stages import issuer_findings, revocation_findings, staple_findings
from gatepost.analysis.checks.partner_report import Mark
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict
from gatepost.values import replace

ROOT = StatusAuthority("Root")
CRL, OCSP, AIA = "http://crl.example/a.crl", "http://ocsp.example:8080/", "http://aia.example/a.cer"
LEAF = server(ROOT, crl=[CRL], ocsp=[OCSP], issuers=[AIA])
BARE = server(ROOT)
LDAP = server(ROOT, crl=["ldap://ldap.example/a"])
MIXED = server(ROOT, crl=["ldap://ldap.example/a", CRL])
MUST = server(ROOT, ocsp=[OCSP], more=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)])
MUST_BARE = server(ROOT, more=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)])
NOW = 1_800_000_000.0


def facts(made, *answers, **fields):
    """A leaf with what its addresses answered, below a root in this machine's store."""
    path = (
        replace(link(made.der, From.FILE), answers=answers),
        link(ROOT.certificate.public_bytes(Encoding.DER), From.STORE),
    )
    verdict = ChainVerdict(ChainStatus.TRUSTED, "", path[0].facts)
    usual = {"stores": (Store("this machine's store", True, 1),), "anchors": "this machine's store", "now": NOW}
    return ChainFacts(parse_file(made.pem, "x"), 0, verdict, path, **(usual | fields))


def answer(kind, result, **fields):
    url = {Kind.CRL: CRL, Kind.OCSP: OCSP, Kind.ISSUER: AIA}[kind]
    return UrlResult(kind, url, result, fields.pop("detail", ""), **fields)


GOOD_LIST = answer(Kind.CRL, UrlStatus.GOOD, seconds=0.04, size=480, since=NOW - 60, until=NOW + 60)
GOOD_OCSP = answer(Kind.OCSP, UrlStatus.GOOD, seconds=0.04, size=480, until=NOW + 3600)
BAD_LIST = answer(Kind.CRL, UrlStatus.WRONG, detail="status 404")
NO_LIST = answer(Kind.CRL, UrlStatus.UNREACHABLE, detail="refused")
NO_OCSP = answer(Kind.OCSP, UrlStatus.UNREACHABLE, detail="refused")

# answers of a leaf with a CRL and a responder -> verdicts, words of the first text and of its fix
REVOCATION = [
    ((GOOD_LIST, GOOD_OCSP), ["pass", "pass"], "not revoked; HTTP 200, 40 ms, 480 bytes, signature good, of 2027-", ""),
    ((replace(GOOD_LIST, seconds=4.0),), ["warn"], "slow", "Partners may give up"),
    ((replace(GOOD_LIST, size=11 << 20),), ["warn"], "very long", "Some servers do not read"),
    (
        (BAD_LIST,),
        ["fail"],
        "CRL of mx1.contoso.example is not usable: http://crl.",
        "the authority's fault, or a proxy's",
    ),
    ((BAD_LIST, GOOD_OCSP), ["warn", "pass"], "is not usable", "then tell CN=Root."),
    (
        (NO_LIST,),
        ["unknown"],
        "CRL of mx1.contoso.example could not be fetched",
        "Let this machine out to crl.example:80",
    ),
    ((NO_LIST, NO_OCSP), ["unknown", "unknown"], "could not be fetched", "crl.example:80"),
    (
        (replace(NO_LIST, status=503),),
        ["unknown"],
        "could not be fetched",
        "The server at crl.example:80 is in trouble",
    ),
    ((NO_LIST, GOOD_OCSP), ["warn", "pass"], "could not be fetched", "crl.example:80"),
    ((NO_LIST, replace(GOOD_OCSP, result=UrlStatus.REVOKED, detail="revoked on X")), ["warn", "fail"], "", ""),
    (
        (replace(NO_LIST, result=UrlStatus.FORBIDDEN),),
        ["unknown"],
        "could not be fetched",
        "if this one is your own",
    ),
    ((replace(NO_LIST, result=UrlStatus.SKIPPED),), ["unknown"], "was not asked for", "Complete the chain first."),
    (
        (replace(GOOD_LIST, result=UrlStatus.REVOKED, detail="revoked on X, reason keyCompromise"),),
        ["fail"],
        "was revoked on X, reason keyCompromise",
        "Do not use it",
    ),
]


@pytest.mark.parametrize(("answers", "verdicts", "text", "fix"), REVOCATION)
def test_revocation(answers, verdicts, text, fix):
    found = list(revocation_findings(facts(LEAF, *answers)))
    assert [one.verdict for one in found] == verdicts
    assert text in found[0].text
    assert fix in found[0].fix


@pytest.mark.parametrize(
    ("made", "answers", "verdict", "text"),
    [
        (BARE, (), "info", "names neither a CRL nor an OCSP responder"),
        (LDAP, (), "warn", "names only what is not asked: ldap address"),
    ],
)
def test_nowhere_to_ask(made, answers, verdict, text):
    (found,) = revocation_findings(facts(made, *answers))
    assert found.verdict == verdict
    assert text in found.text


def test_other_addresses_are_told():
    found = list(revocation_findings(facts(MIXED, GOOD_LIST)))
    assert [one.verdict for one in found] == ["pass", "info"]
    assert "also names what is not asked here: ldap address" in found[1].text


def test_an_intermediate_that_is_trusted_itself_is_not_asked_about():
    assert next(iter(revocation_findings(facts(BARE, stores=())))).text.startswith("mx1.contoso.example names")
    alone = facts(BARE)
    alone = replace(alone, path=alone.path[:1])
    assert list(revocation_findings(alone)) == []
    assert len(list(revocation_findings(replace(alone, stores=())))) == 1


def test_offline():
    (found,) = revocation_findings(facts(LEAF, replace(NO_LIST, result=UrlStatus.SKIPPED), offline=True))
    assert (found.verdict, found.text) == (Mark.INFO, "not looked at, as nothing was to be fetched")


# the leaf, its answers, whether a staple is wanted -> verdicts, words of the last text
STAPLE = [
    (
        LEAF,
        (GOOD_OCSP,),
        False,
        ["pass"],
        "there is an OCSP response to staple: its signature is good, it holds until 2027-",
    ),
    (LEAF, (replace(GOOD_OCSP, until=0.0),), False, ["pass"], "does not say how long it holds"),
    (LEAF, (NO_OCSP,), False, [], ""),
    (LEAF, (NO_OCSP,), True, ["unknown"], "no OCSP response could be fetched for"),
    (LEAF, (replace(NO_OCSP, result=UrlStatus.WRONG),), True, ["fail"], "no OCSP response could be fetched for"),
    (LEAF, (GOOD_LIST,), True, ["info"], "names no OCSP responder; partners use its CRL"),
    (BARE, (), True, ["info"], "names no OCSP responder"),
    (MUST, (GOOD_OCSP,), False, ["warn", "pass"], "there is an OCSP response"),
    (MUST, (NO_OCSP,), False, ["warn", "unknown"], "no OCSP response could be fetched for"),
    (MUST_BARE, (), False, ["fail", "info"], "names no OCSP responder"),
]


@pytest.mark.parametrize(("made", "answers", "wanted", "verdicts", "text"), STAPLE)
def test_stapling(made, answers, wanted, verdicts, text):
    found = list(staple_findings(facts(made, *answers, staple=wanted)))
    assert [one.verdict for one in found] == verdicts
    assert text in (found[-1].text if found else "")


def test_stapling_offline():
    skipped = replace(NO_OCSP, result=UrlStatus.SKIPPED)
    assert list(staple_findings(facts(LEAF, skipped, staple=True, offline=True))) == []


@pytest.mark.parametrize(
    ("result", "verdicts"),
    [
        (UrlStatus.GOOD, ["pass"]),
        (UrlStatus.WRONG, ["warn"]),
        (UrlStatus.UNREACHABLE, ["warn"]),
        (UrlStatus.FORBIDDEN, ["warn"]),
        (UrlStatus.SKIPPED, []),
    ],
)
def test_issuers(result, verdicts):
    found = list(issuer_findings(facts(LEAF, GOOD_LIST, answer(Kind.ISSUER, result, detail="why"))))
    assert [one.verdict for one in found] == verdicts
