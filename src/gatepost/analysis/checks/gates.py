"""The gates before a switch: what is checked of a staged certificate, each result, and all together.

Pure. `analysis.checks.changeover` gathers, the other `checks.gates_*` judge, `manage.cli.certificate_changeover`
prints. What may be switched is decided here alone: a gate that failed, or of which nothing could be told, refuses.

The names that a certificate must cover are the gateway's own, those of the certificates that it replaces, the MX hosts
of our accepted domains as the DNS has them, and what our MTA-STS policies promise (RFC 8461 section 4.1). The partners
to notify are those of connectors, and those seen sending over TLS. What a partner compares our certificate with
(exchange.md section 9) cannot be seen from here, so that everybody who might is told.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.analysis.checks.chain_report import ChainCheck, ChainFinding, Part
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.pki.certificates.lifecycle import after_switch, is_covered, lost_names, names_of
from gatepost.protocols.mtasts.policy import StsMode, covers
from gatepost.protocols.mtasts.publish import StsPublication, policy_host
from gatepost.quantity import quantity
from gatepost.texts import own
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.policy.connectors.records import InboundConnector, Organization, OutboundConnector


MAX_TEXT = 600
"""Characters of a finding that are shown."""


class GateCheck(StrEnum):
    """The subject of a gate, in the order of the report."""

    KEY = "key"
    CHAIN = "chain"
    NAMES = "names"
    TLSA = "tlsa"
    STAPLING = "stapling"
    REHEARSAL = "rehearsal"
    PARTNERS = "partners"


class Light(StrEnum):
    """Whether a switch may be made."""

    GREEN = "green"
    RED = "red"
    UNKNOWN = "unknown"


class GateFinding(msgspec.Struct, frozen=True):
    """One thing that was learnt. text: a sentence. evidence: what shows it. fix: what to do, "" if there is nothing.

    until: seconds since 1970 at which waiting alone mends it, 0.0 if that does not.
    """

    gate: GateCheck
    verdict: Mark
    text: str
    evidence: str = ""
    fix: str = ""
    until: float = 0.0


class GateReport(msgspec.Struct, frozen=True):
    """All gates of one certificate at one time. at: seconds since 1970."""

    entry: Entry
    at: float
    findings: tuple[GateFinding, ...]
    seconds: float = 0.0

    @property
    def light(self) -> Light:
        """RED if anything failed, else UNKNOWN if anything could not be told, else GREEN."""
        counts = self.counts
        if counts[Mark.FAIL]:
            return Light.RED
        return Light.UNKNOWN if counts[Mark.UNKNOWN] else Light.GREEN

    @property
    def counts(self) -> Counter[Mark]:
        """The number of findings by verdict."""
        return Counter(finding.verdict for finding in self.findings)

    @property
    def stopping(self) -> tuple[GateFinding, ...]:
        """The findings that stop the switch: failed ones before inconclusive ones."""
        failed = [finding for finding in self.findings if finding.verdict is Mark.FAIL]
        return (*failed, *(finding for finding in self.findings if finding.verdict is Mark.UNKNOWN))

    @property
    def reasons(self) -> str:
        """The same in one line, for a note and for the log."""
        return "; ".join(f"{finding.gate}: {finding.text}" for finding in self.stopping)[:MAX_TEXT]

    @property
    def unusable(self) -> str:
        """Explain why no reason can override the gates, "" if one can: without its key there is no handshake."""
        findings = (
            finding for finding in self.findings if finding.gate is GateCheck.KEY and finding.verdict is Mark.FAIL
        )
        return next((f"{finding.text}: {finding.evidence}" for finding in findings), "")

    @property
    def only_waiting(self) -> float:
        """The time at which all closed gates open by themselves, seconds since 1970; 0.0 if they do not."""
        times = [finding.until for finding in self.stopping]
        return max(times) if times and all(times) else 0.0


def key_finding(problem: str) -> GateFinding:
    """Whether the key can be used here. problem: why not, "" if it can."""
    if problem:
        fix = (
            "Check that store.master_key is the one that the gateway uses. If only the gateway has it (a systemd "
            "credential), "
            "plan the switch for a set time: the gateway then runs the checks itself"
        )
        return GateFinding(GateCheck.KEY, Mark.FAIL, "its private key cannot be opened", problem, fix)
    return GateFinding(GateCheck.KEY, Mark.PASS, "its private key can be opened and belongs to it")


def token_key_finding(problem: str) -> GateFinding:
    """Whether a key in a token can be used here. problem: why not, "" if it can."""
    if problem:
        fix = "Connect the token, and check [pkcs11] in the settings of this node."
        return GateFinding(GateCheck.KEY, Mark.FAIL, "its private key in the token cannot be used", problem, fix)
    return GateFinding(GateCheck.KEY, Mark.PASS, "its private key in the token signs, and belongs to it")


def staple_finding(*, responder: bool, must: bool, kept: bool) -> GateFinding:
    """Whether the first handshake can have an OCSP response stapled. responder: the certificate names one. kept: by us.

    must: it asks to be stapled always (RFC 7633).
    """
    if kept:
        return GateFinding(
            GateCheck.STAPLING, Mark.PASS, "the gateway has an OCSP response and staples it from the first handshake"
        )
    if not must:
        text = (
            "no OCSP response could be fetched; clients check elsewhere" if responder else "it names no OCSP responder"
        )
        return GateFinding(GateCheck.STAPLING, Mark.WARN if responder else Mark.INFO, text)
    fix = (
        "Allow this machine to reach the OCSP responder, and run the checks again: clients that obey "
        "must-staple refuse the certificate without a response."
    )
    if not responder:
        fix = "Get a certificate without must-staple: this one names no OCSP responder, so nothing can be stapled."
    return GateFinding(
        GateCheck.STAPLING, Mark.FAIL, "it requires stapling (must-staple), and there is no OCSP response", fix=fix
    )


# Parts of a chain check that gates of their own look at.
_ELSEWHERE = frozenset({Part.KEY, Part.NAMES, Part.STAPLING})
# What speaks for or against an authority: no worse than now is no reason against a switch.
_AUTHORITY = frozenset({Part.CHAIN, Part.ROOT})
# What partners of a client judge by their own rules.
_SERVERS = frozenset({Part.PURPOSE, Part.CHAIN, Part.ROOT, Part.ISSUERS})


def chain_findings(entry: Entry, check: ChainCheck | None, current: ChainCheck | None) -> Iterator[GateFinding]:
    """Turn the results of `analysis.checks.chain` into findings of a gate. check: None if the chain cannot be read now.

    current: of the certificate to be replaced, None if there is none.
    """
    if check is None:
        yield GateFinding(GateCheck.CHAIN, Mark.FAIL, "its chain cannot be read", fix="Add the certificate again.")
        return
    known = {finding.part for finding in current.findings if finding.verdict is Mark.FAIL} if current else set()
    for finding in check.findings:
        if finding.part is Part.NAMES and finding.verdict is not Mark.INFO:
            yield _as_gate(finding)
        if finding.part in _ELSEWHERE or (entry.purpose is Purpose.CLIENT and finding.part in _SERVERS):
            continue
        made = _as_gate(finding)
        if finding.verdict is Mark.FAIL and finding.part in _AUTHORITY & known:
            made = replace(
                made, verdict=Mark.WARN, text=f"{own(made.text)} (the current certificate has the same problem)"
            )
        yield made


def _as_gate(finding: ChainFinding) -> GateFinding:
    return GateFinding(
        GateCheck.CHAIN, finding.verdict, f"{finding.part}: {own(finding.text)}", finding.evidence, finding.fix
    )


def gates_record(report: GateReport) -> dict[str, Any]:
    """The report as JSON shows it. The keys do not change."""
    counts = report.counts
    return {
        "id": report.entry.id,
        "at": round(report.at, 3),
        "seconds": round(report.seconds, 3),
        "light": str(report.light),
        "fails": counts[Mark.FAIL],
        "warnings": counts[Mark.WARN],
        "unknown": counts[Mark.UNKNOWN],
        "green_at": report.only_waiting or None,
        "findings": [_finding_record(finding) for finding in report.findings],
    }


def _finding_record(finding: GateFinding) -> dict[str, Any]:
    return {
        "gate": str(finding.gate),
        "verdict": str(finding.verdict),
        "text": finding.text[:MAX_TEXT],
        "evidence": finding.evidence[:MAX_TEXT],
        "fix": finding.fix,
        "until": finding.until or None,
    }


def in_order(findings: Iterable[GateFinding]) -> tuple[GateFinding, ...]:
    """By gate, as they were found within one."""
    return tuple(sorted(findings, key=lambda finding: list(GateCheck).index(finding.gate)))


_SHOWN = 8


class Expected(msgspec.Struct, frozen=True):
    """A name that partners look for. why: half a sentence. ours: it is certain that it is this gateway's."""

    name: str
    why: str
    ours: bool = False


_of_names = partial(GateFinding, GateCheck.NAMES)


def expected_names(
    hostname: str, hosts: Mapping[str, Sequence[str] | str], policies: Sequence[StsPublication], *, served: bool
) -> tuple[Expected, ...]:
    """hosts: of the MX records of each accepted domain; a str is why they are not known. served: policies are."""
    by_name = {hostname: Expected(hostname, "the gateway's own name (server.hostname)", ours=True)}
    for domain, names in hosts.items():
        for name in () if isinstance(names, str) else names:
            by_name.setdefault(name, Expected(name, f"MX host of {domain}"))
    for policy in policies:
        for pattern in policy.policy.mx if policy.policy.mode is not StsMode.NONE else ():
            if not pattern.startswith("*."):
                by_name.setdefault(pattern, Expected(pattern, f"in the MTA-STS policy of {policy.domain}"))
        if served:
            name = policy_host(policy.domain)
            by_name.setdefault(name, Expected(name, f"host of the MTA-STS policy of {policy.domain}"))
    return tuple(by_name.values())


def our_hosts(entry: Entry, hostname: str, hosts: Mapping[str, Sequence[str] | str]) -> dict[str, bool]:
    """Names that the certificate covers: whether mail is known to come there, as to the gateway's own and MX hosts.

    It may come to every other name that stands in it, too: of some domain the MX records may not be known.
    """
    listed = (name for names in hosts.values() if not isinstance(names, str) for name in names)
    result = {name: True for name in (hostname, *listed) if is_covered(name, [entry])}
    for name in entry.leaf.dns_names:
        if not name.startswith("*."):
            result.setdefault(name, False)
    return result


def names_findings(
    entry: Entry,
    entries: Mapping[str, Entry],
    expected: Sequence[Expected],
    hosts: Mapping[str, Sequence[str] | str],
    policies: Sequence[StsPublication],
) -> Iterator[GateFinding]:
    """Everything there is to say about names. Of a client certificate there is nothing to cover."""
    if entry.purpose is Purpose.CLIENT:
        yield _of_names(Mark.INFO, f"a client certificate, for {entry.label or entry.organization}")
        return
    before = [
        candidate
        for candidate in entries.values()
        if candidate.state is State.CURRENT and candidate.purpose is entry.purpose
    ]
    after = after_switch(entry, entries)
    lost = lost_names(entry, entries)
    covered = [candidate for candidate in expected if is_covered(candidate.name, after)]
    if lost:
        shown = ", ".join(lost[:_SHOWN])
        fix = "Get a certificate with all names, or add another certificate for the missing names."
        yield _of_names(Mark.FAIL, f"it lacks names of the current certificate: {shown}", _borne(entry), fix)
    for expectation in expected:
        if expectation not in covered and expectation.name not in lost:
            yield _uncovered(entry, expectation, lost=is_covered(expectation.name, before))
    if covered:
        shown = ", ".join(f"{expectation.name} ({own(expectation.why)})" for expectation in covered[:_SHOWN])
        yield _of_names(Mark.PASS, f"covered: {shown}", _borne(entry))
    for domain, names in hosts.items():
        if isinstance(names, str):
            text = f"the MX hosts of {domain} cannot be looked up, so it is not known whether they are covered"
            # What the current ones cover stays covered, or it is told above: then it is no worse than now.
            mark = Mark.UNKNOWN if lost or not before else Mark.WARN
            yield _of_names(mark, text, names, "Try again; check [dns] in the settings.")
    yield from _promised(after, hosts, policies)


def _borne(entry: Entry) -> str:
    names = names_of(entry)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it is for {', '.join(names[:_SHOWN]) or 'no name'}{more}"


def _uncovered(entry: Entry, one: Expected, *, lost: bool) -> GateFinding:
    fix = f"Get a certificate with {one.name} as subjectAltName, or add another certificate for that name."
    if lost:
        return _of_names(Mark.FAIL, f"{one.name} would no longer be covered ({own(one.why)})", _borne(entry), fix)
    if one.ours:
        return _of_names(Mark.FAIL, f"{one.name} is not covered ({own(one.why)})", _borne(entry), fix)
    text = f"{one.name} is not covered, neither before nor after the switch ({own(one.why)})"
    return _of_names(Mark.WARN, text, fix=f"If that host is this gateway: {own(fix[0].lower() + fix[1:])}")


def _promised(
    after: Sequence[Entry], hosts: Mapping[str, Sequence[str] | str], policies: Sequence[StsPublication]
) -> Iterator[GateFinding]:
    """Senders that obey a policy deliver to the MX hosts that it allows, if their certificates bear those names."""
    for policy in policies:
        names = hosts.get(policy.domain, ())
        if isinstance(names, str) or policy.policy.mode is StsMode.NONE:
            continue
        allowed = [name for name in names if any(covers(pattern, name) for pattern in policy.policy.mx)]
        if allowed and not any(is_covered(name, after) for name in allowed):
            text = (
                f"it covers no MX host that the MTA-STS policy of {policy.domain} allows: {', '.join(allowed[:_SHOWN])}"
            )
            mark = Mark.FAIL if policy.policy.mode is StsMode.ENFORCE else Mark.WARN
            fix = "Get a certificate with one of these names; otherwise senders that obey the policy stop delivering."
            yield _of_names(mark, text, f"mode of the policy: {policy.policy.mode}", fix)


MOST_SEEN = 20
"""Senders that are listed though no connector names them, those with the most messages first."""


class Partner(msgspec.Struct, frozen=True):
    """A domain that might know our certificate. why: what makes us think so. told: it was told, or that was waived."""

    name: str
    why: tuple[str, ...]
    told: bool = False


def partners_of(entry: Entry, organizations: Sequence[Organization], seen: Mapping[str, int]) -> tuple[Partner, ...]:
    """Everybody, those of connectors first. seen: messages over TLS by the sender's domain, of the last 30 days."""
    found: dict[str, list[str]] = {}
    for organization in organizations:
        own = {domain.name for domain in organization.accepted_domains}
        for name, why in _of_connectors(entry, organization):
            if name not in own:
                found.setdefault(name, []).append(why)
    if entry.purpose is Purpose.SERVER:
        ours = {domain.name for organization in organizations for domain in organization.accepted_domains}
        often = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        for name, count in [candidate for candidate in often if candidate[0] not in ours][:MOST_SEEN]:
            found.setdefault(name, []).append(f"{quantity(count, 'message')} over TLS in the last 30 days")
    return tuple(Partner(name, tuple(dict.fromkeys(why)), name in entry.told) for name, why in found.items())


def _of_connectors(entry: Entry, organization: Organization) -> Iterator[tuple[str, str]]:
    """Names and reasons. Who delivers to us sees our server's certificate; who is delivered to, a client's."""
    if entry.purpose is Purpose.SERVER:
        for connector in organization.inbound_connectors:
            yield from (
                (name, f"inbound connector {connector.name!r} of {organization.name}") for name in _senders(connector)
            )
        return
    if entry.organization not in {"", organization.name}:
        return
    for out in organization.outbound_connectors:
        if out.enabled and out.client_certificate is not None:
            why = f"outbound connector {out.name!r} of {organization.name} presents a client certificate"
            yield from ((name, why) for name in _receivers(out))


def _senders(connector: InboundConnector) -> Iterator[str]:
    if connector.enabled:
        yield from (str(pattern).removeprefix("*.") for pattern in connector.sender_domains if str(pattern) != "*")
        if connector.tls_sender_certificate_name and not connector.sender_domains:
            yield str(connector.tls_sender_certificate_name).removeprefix("*.")


def _receivers(connector: OutboundConnector) -> Iterator[str]:
    names = [str(pattern).removeprefix("*.") for pattern in connector.recipient_domains if str(pattern) != "*"]
    yield from names or [hop.host for hop in connector.smart_hosts]


def partner_findings(partners: Sequence[Partner]) -> Iterator[GateFinding]:
    """The finding whether all partners were notified of the change."""
    if not partners:
        yield GateFinding(GateCheck.PARTNERS, Mark.PASS, "no partner is known to expect the current certificate")
        return
    silent = [partner for partner in partners if not partner.told]
    if not silent:
        yield GateFinding(GateCheck.PARTNERS, Mark.PASS, "all partners were notified")
        return
    more = f" and {len(silent) - _SHOWN} more" if len(silent) > _SHOWN else ""
    names = ", ".join(partner.name for partner in silent[:_SHOWN])
    text = f"partners not yet notified ({len(silent)} of {len(partners)}): {names}{more}"
    evidence = "; ".join(f"{partner.name}: {partner.why[0]}" for partner in silent[:_SHOWN])
    fix = "Send them the notification text (`changeover notice`), then mark them as notified (`changeover told`)"
    yield GateFinding(GateCheck.PARTNERS, Mark.WARN, text, evidence, fix)
