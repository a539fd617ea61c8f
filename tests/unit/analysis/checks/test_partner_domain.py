from __future__ import annotations

import pytest

from gatepost.analysis.checks.partner_domain import DomainFacts, dnssec_finding, domain_findings
from gatepost.analysis.checks.partner_report import Mark, Stage
from gatepost.net.lookups.mtasts import StsFailure, StsState
from gatepost.net.lookups.mx import MailHost, MailHosts, MailHostsKind
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tlsrpt.record import TlsRptRecord
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

HOSTS = MailHosts("b.example", MailHostsKind.LISTED, (MailHost("mx.b.example", 10),), authentic=True)
GOOD = DomainFacts("b.example", HOSTS, sts=StsState("b.example"), reports=TlsRptRecord(("mailto:tls@b.example",)))


def without(kind: MailHostsKind) -> MailHosts:
    return MailHosts("b.example", kind, (), authentic=True)


def failed(result: ResultType, policy: StsPolicy | None = None) -> StsState:
    return StsState("b.example", policy, failure=StsFailure(result, "what happened"))


def sts(mode: StsMode, *mx: str, max_age: int = 604800) -> StsState:
    return StsState("b.example", StsPolicy(mode, mx, max_age), "7")


CASES = [
    # facts -> "stage=verdict" of each finding in order, words of a text, evidence or fix, whether mail is stopped
    (GOOD, "dns=pass mta-sts=info tls-rpt=pass", "mailto:tls@b.example", False),
    (DomainFacts("b.example", trouble="SERVFAIL", temporary=True), "dns=unknown", "SERVFAIL", True),
    (DomainFacts("b.example", trouble="forged", temporary=True, bogus=True), "dns=fail", "fix the signatures", True),
    (DomainFacts("b.example", trouble="no name"), "dns=fail", "spelling of b.example", True),
    (DomainFacts("b.example", without(MailHostsKind.NO_DOMAIN)), "dns=fail", "b.example does not exist", True),
    (DomainFacts("b.example", without(MailHostsKind.NULL)), "dns=fail", "RFC 7505", True),
    (DomainFacts("b.example", without(MailHostsKind.OURSELVES)), "dns=fail", "this gateway itself", True),
    (
        replace(GOOD, hosts=replace(HOSTS, authentic=False)),
        "dns=info mta-sts=info tls-rpt=pass",
        "sign the zone",
        False,
    ),
    (replace(GOOD, no_dnssec="DANE is off: x; do y"), "dns=unknown mta-sts=info tls-rpt=pass", "Here: do y.", False),
    (replace(GOOD, left_out=3), "dns=pass dns=unknown mta-sts=info tls-rpt=pass", "3 more hosts", False),
    (
        replace(GOOD, hosts=replace(HOSTS, kind=MailHostsKind.IMPLICIT)),
        "dns=pass dns=info mta-sts=info tls-rpt=pass",
        "no MX records",
        False,
    ),
    (replace(GOOD, sts=None), "dns=pass tls-rpt=pass", "", False),
    (
        replace(GOOD, sts=sts(StsMode.ENFORCE, "mx.b.example")),
        "dns=pass mta-sts=pass tls-rpt=pass",
        "mode enforce",
        False,
    ),
    (
        replace(GOOD, sts=sts(StsMode.ENFORCE, "a.example")),
        "dns=pass mta-sts=pass mta-sts=info tls-rpt=pass",
        "a.example",
        False,
    ),
    (
        replace(GOOD, sts=sts(StsMode.ENFORCE, "mx.b.example", max_age=60)),
        "dns=pass mta-sts=pass mta-sts=warn tls-rpt=pass",
        "max_age 60",
        False,
    ),
    (
        replace(GOOD, sts=sts(StsMode.TESTING, "mx.b.example")),
        "dns=pass mta-sts=info mta-sts=info tls-rpt=pass",
        "testing",
        False,
    ),
    (replace(GOOD, sts=sts(StsMode.NONE)), "dns=pass mta-sts=info mta-sts=info tls-rpt=pass", "withdraws", False),
    (
        replace(GOOD, sts=failed(ResultType.STS_POLICY_FETCH_ERROR)),
        "dns=pass mta-sts=unknown tls-rpt=pass",
        "port 443",
        False,
    ),
    (
        replace(GOOD, sts=failed(ResultType.STS_WEBPKI_INVALID)),
        "dns=pass mta-sts=fail tls-rpt=pass",
        "public authority",
        False,
    ),
    (
        replace(GOOD, sts=failed(ResultType.STS_POLICY_INVALID)),
        "dns=pass mta-sts=fail tls-rpt=pass",
        "what happened",
        False,
    ),
    (
        replace(GOOD, sts=failed(ResultType.STS_POLICY_INVALID, StsPolicy(StsMode.ENFORCE, ("mx.b.example",), 86400))),
        "dns=pass mta-sts=fail mta-sts=pass tls-rpt=pass",
        "what happened",
        False,
    ),
    (replace(GOOD, reports=None), "dns=pass mta-sts=info tls-rpt=info", "_smtp._tls", False),
    (replace(GOOD, reports="SERVFAIL"), "dns=pass mta-sts=info tls-rpt=unknown", "SERVFAIL", False),
    (replace(GOOD, reports=RecordError("no rua")), "dns=pass mta-sts=info tls-rpt=warn", "no rua", False),
    (
        replace(GOOD, reports=TlsRptRecord(("mailto:a@b",), ("ftp://x",))),
        "dns=pass mta-sts=info tls-rpt=pass tls-rpt=warn",
        "ftp://x",
        False,
    ),
]


@pytest.mark.parametrize(("facts", "marks", "words", "stopped"), CASES)
def test_findings(facts: DomainFacts, marks: str, words: str, stopped: bool) -> None:
    found = domain_findings(facts)
    assert " ".join(f"{one.stage}={one.verdict}" for one in found) == marks
    assert words in " | ".join(f"{one.text} {one.evidence} {one.fix} {one.short}" for one in found)
    assert any(one.stops for one in found) is stopped
    assert all(one.because is None for one in found)


@pytest.mark.parametrize(("seconds", "text"), [(604800, "max_age 7 d"), (86399, "max_age 86399 s")])
def test_the_life_of_a_policy_is_short_to_read(seconds: int, text: str) -> None:
    found = domain_findings(replace(GOOD, sts=sts(StsMode.ENFORCE, "mx.b.example", max_age=seconds)))
    assert text in found[1].short


def test_what_others_wrote_is_bounded() -> None:
    many = tuple(f"{'a' * 60}{number}.b.example" for number in range(100))
    facts = replace(
        GOOD, sts=sts(StsMode.ENFORCE, *many), reports=TlsRptRecord(tuple(f"mailto:{'a' * 60}@b" for _ in range(10)))
    )
    found = domain_findings(facts)
    assert len(found) < 15
    assert "95 more remarks" in found[-2].text
    assert all(len(one.evidence) <= 300 and len(one.text) <= 300 for one in found)


@pytest.mark.parametrize(
    ("why", "fix", "options"),
    [
        ("off; do it", "Here: do it.", ()),
        ("off", "Here: ask a resolver on this machine", ("nameserver", "validate")),
    ],
)
def test_without_dnssec(why: str, fix: str, options: tuple[str, ...]) -> None:
    found = dnssec_finding(why)
    assert found.options == options
    assert (found.stage, found.verdict, found.evidence) == (Stage.DNS, Mark.UNKNOWN, "off")
    assert found.fix.startswith(fix)
