"""The gates before a switch: what is checked of a staged certificate, each result, and all together.

Pure. `analysis.checks.changeover` gathers, the other `checks.gates_*` judge, `manage.cli.certificate_changeover`
prints. What may be switched is decided here alone: a gate that failed, or of which nothing could be told, refuses.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.analysis.checks.chain_report import Part
from gatepost.analysis.checks.partner_report import Mark
from gatepost.pki.certificates.entry import Purpose
from gatepost.texts import own
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.analysis.checks.chain_report import ChainCheck, ChainFinding
    from gatepost.pki.certificates.entry import Entry


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
