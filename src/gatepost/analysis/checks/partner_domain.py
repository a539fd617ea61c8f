"""Findings about a domain as a whole: its MX records, its MTA-STS policy, its TLS reporting. Pure.

Called by `analysis.checks.partner`, which asked the DNS and the policy host. What concerns one host is
`analysis.checks.partner_stages`'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.analysis.checks import partner_advice as advice
from gatepost.analysis.checks.partner_report import Finding, Mark, Stage
from gatepost.net.lookups.mx import MailHosts, MailHostsKind
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.mtasts.policy import LintKind, StsMode, lint
from gatepost.protocols.tlsrpt.record import TlsRptRecord
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.quantity import quantity
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.net.lookups.mtasts import StsFailure, StsState


_SHOWN = 300
_REMARKS = 5
_DAY = 86400


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """The facts about a domain.

    hosts: None if the MX records could not be looked up. trouble: why not; bogus: DNSSEC proves a fault; temporary: a
    later try may do better. left_out: hosts beyond those that are tried. no_dnssec: why nothing can be said about
    DNSSEC, "" if it can. sts: None if it was not looked up. reports: a sentence if the lookup failed, None if there is
    no record.
    """

    domain: str
    hosts: MailHosts | None = None
    trouble: str = ""
    bogus: bool = False
    temporary: bool = False
    left_out: int = 0
    no_dnssec: str = ""
    sts: StsState | None = None
    reports: TlsRptRecord | RecordError | str | None = None


def domain_findings(facts: DomainFacts) -> tuple[Finding, ...]:
    """All of them; only those about the MX records, if there are no hosts."""
    mx = tuple(_mx(facts))
    if facts.hosts is None or not facts.hosts.hosts:
        return mx
    return (*mx, *_sts(facts), *_reports(facts))


def dnssec_finding(no_dnssec: str) -> Finding:
    """Nothing can be said about DNSSEC. no_dnssec: why, with what to do about it."""
    why, _, fix = no_dnssec.partition("; ")
    text = "it is not known whether DNSSEC protects these answers"
    if fix:
        return Finding(Stage.DNS, Mark.UNKNOWN, text, why, f"Here: {fix}.", "?")
    own = "Here: ask a resolver on this machine that validates, or validate without one."
    return Finding(Stage.DNS, Mark.UNKNOWN, text, why, own, "?", options=("nameserver", "validate"))


def _mx(facts: DomainFacts) -> Iterator[Finding]:
    domain, hosts = facts.domain, facts.hosts
    if hosts is None:
        mark = Mark.UNKNOWN if facts.temporary and not facts.bogus else Mark.FAIL
        fix = advice.BOGUS if facts.bogus else advice.NO_ANSWER if facts.temporary else advice.spelling(domain)
        text = f"the MX records of {domain} cannot be looked up"
        yield Finding(Stage.DNS, mark, text, facts.trouble[:_SHOWN], fix, stops=True)
        return
    if not hosts.hosts:
        text, fix = _NO_HOSTS[hosts.kind]
        yield Finding(Stage.DNS, Mark.FAIL, text.format(domain), fix=fix.format(domain), stops=True)
        return
    listed = ", ".join(f"{host.preference} {host.name}" for host in hosts.hosts)[:_SHOWN]
    if facts.no_dnssec:
        yield dnssec_finding(facts.no_dnssec)
    elif hosts.authentic:
        yield Finding(Stage.DNS, Mark.PASS, "DNSSEC proves the MX records", listed, short="secure")
    else:
        text = "the MX records are not signed: an attacker who forges DNS answers can redirect mail"
        yield Finding(Stage.DNS, Mark.INFO, text, listed, advice.SIGN, "not signed")
    if hosts.kind is MailHostsKind.IMPLICIT:
        text = f"{domain} has no MX records, so that mail goes to its own address (RFC 5321 section 5.1)"
        yield Finding(Stage.DNS, Mark.INFO, text)
    if facts.left_out:
        text = f"{quantity(facts.left_out, 'more host is', 'more hosts are')} not checked"
        yield Finding(Stage.DNS, Mark.UNKNOWN, text, listed, "Here: check them one by one (gatepost check host).")


_NO_HOSTS = {
    MailHostsKind.NO_DOMAIN: ("the domain {} does not exist", advice.spelling("{}")),
    MailHostsKind.NULL: ("{} takes no mail at all (null MX, RFC 7505)", "The administrators of {} say so in the DNS."),
    MailHostsKind.OURSELVES: ("the most preferred MX of {} is this gateway itself", ""),
}


def _sts(facts: DomainFacts) -> Iterator[Finding]:
    state = facts.sts
    if state is None:
        return
    if state.failure is not None:
        yield _sts_failed(state.failure)
    policy = state.policy
    if policy is None:
        if state.failure is None:
            yield Finding(Stage.MTA_STS, Mark.INFO, "no MTA-STS policy", "", advice.MTA_STS, "none")
        return
    patterns = quantity(len(policy.mx), "MX pattern")
    short = f"{policy.mode}, {patterns}, max_age {_days(policy.max_age)}, id {state.id}"
    mark = Mark.PASS if policy.mode is StsMode.ENFORCE else Mark.INFO
    listed = ", ".join(policy.mx)[:_SHOWN]
    yield Finding(
        Stage.MTA_STS, mark, f"policy in mode {policy.mode}", f"mx {listed}"[:_SHOWN] if listed else "", "", short
    )
    if state.origin == "cache":
        text = f"the gateway has this policy from before, and applies it until {second_text(state.expires)}"
        yield Finding(Stage.MTA_STS, Mark.WARN, text, "", advice.STS_KEPT)
    hosts = [host.name for host in facts.hosts.hosts] if facts.hosts is not None else []
    # What a host has to do with it is in the host's own row.
    remarks = [candidate for candidate in lint(policy, hosts) if candidate.kind is not LintKind.HOST_NOT_COVERED]
    for remark in remarks[:_REMARKS]:
        yield Finding(Stage.MTA_STS, Mark(remark.level), remark.text[:_SHOWN])
    if len(remarks) > _REMARKS:
        yield Finding(
            Stage.MTA_STS,
            Mark.INFO,
            f"{quantity(len(remarks) - _REMARKS, 'more remark', 'more remarks')} on the policy not shown",
        )


def _sts_failed(failure: StsFailure) -> Finding:
    match failure.result_type:
        case ResultType.STS_WEBPKI_INVALID:
            mark, text, fix = Mark.FAIL, "the certificate of the policy host is not accepted", advice.STS_WEBPKI
        case ResultType.STS_POLICY_INVALID:
            mark, text, fix = Mark.FAIL, "the MTA-STS record or policy cannot be used", advice.STS_INVALID
        case _:  # whose fault it is that something cannot be fetched shows only from elsewhere
            mark, text, fix = Mark.UNKNOWN, "the MTA-STS policy cannot be fetched", advice.STS_FETCH
    options = ("anchors",) if failure.result_type is ResultType.STS_WEBPKI_INVALID else ()
    return Finding(Stage.MTA_STS, mark, text, failure.detail[:_SHOWN], fix, str(failure.result_type), options=options)


def _reports(facts: DomainFacts) -> Iterator[Finding]:
    match facts.reports:
        case None:
            yield Finding(Stage.TLS_RPT, Mark.INFO, "the domain requests no TLS reports", "", advice.TLS_RPT, "none")
        case str(trouble):
            text = "it is not known whether the domain requests TLS reports"
            yield Finding(Stage.TLS_RPT, Mark.UNKNOWN, text, trouble[:_SHOWN], advice.NO_ANSWER, "?")
        case RecordError(detail=detail):
            text = "the TLS-RPT record of the domain cannot be used"
            yield Finding(Stage.TLS_RPT, Mark.WARN, text, detail[:_SHOWN], advice.TLS_RPT_INVALID, "invalid")
        case TlsRptRecord(rua=rua, ignored=ignored):
            short = f"rua={', '.join(rua)}"[:_SHOWN]
            yield Finding(Stage.TLS_RPT, Mark.PASS, "the domain requests TLS reports", short, "", short)
            if ignored:
                text, evidence = "some addresses for reports are ignored", ", ".join(ignored)[:_SHOWN]
                yield Finding(Stage.TLS_RPT, Mark.WARN, text, evidence, advice.TLS_RPT_INVALID)


def _days(seconds: int) -> str:
    return f"{seconds // _DAY} d" if seconds >= _DAY else f"{seconds} s"
