"""The report of `gatepost check`: findings by stage, one row for each address, and the overall result.

Pure. `analysis.checks.partner` gathers, `analysis.checks.partner_stages` and `analysis.checks.partner_domain` make the
findings, `manage.cli.check` prints them.

Who must act, and how much work it is, is a guess by what is to be changed, not by who asks; people sort by it.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.analysis.checks import partner_advice as advice
from gatepost.analysis.checks.tasks import bounded_transcripts
from gatepost.events.trace import tls_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.decisions.facts import HopFacts


_MAX_TEXT = 400


class Stage(StrEnum):
    """The stage of a delivery that a finding is about, in order."""

    DNS = "dns"
    CONNECT = "connect"
    EHLO = "ehlo"
    TLS = "tls"
    CERTIFICATE = "certificate"
    DANE = "dane"
    MTA_STS = "mta-sts"
    REVOCATION = "revocation"
    REQUIRETLS = "requiretls"
    TLS_RPT = "tls-rpt"


class Mark(StrEnum):
    """The five verdicts of a finding. INFO: neither good nor bad. UNKNOWN: it could not be told, never a pass."""

    PASS = "pass"  # noqa: S105 - no password
    INFO = "info"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


_WEIGHT = {Mark.PASS: 0, Mark.INFO: 1, Mark.WARN: 2, Mark.UNKNOWN: 3, Mark.FAIL: 4}


class PolicyKind(StrEnum):
    """The policy that decides about TLS to a host, strongest last."""

    OPPORTUNISTIC = "opportunistic"
    MTA_STS = "mta-sts"
    DANE = "dane"


class DeliveryForecast(StrEnum):
    """The predicted result of a delivery."""

    DELIVER = "deliver"  # over TLS, as the policy in force asks
    CLEARTEXT = "cleartext"  # readable on the way: nobody asks for more, and TLS is not offered
    HOLD = "hold"  # kept, and returned in the end
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was learnt.

    text: a sentence. evidence: what shows it, in the words of the peer or of the DNS. fix: what to do and who must act,
    "" if there is nothing. short: for a cell of the matrix. stops: because of it no mail goes this way (if FAIL), or
    it is not known whether any does (if UNKNOWN). because: the stage that kept this one from being looked at; None if
    it was. options: of `gatepost check`, by which the fix is done there ("timeout"); the text names none, as pages show
    it, too.
    """

    stage: Stage
    verdict: Mark
    text: str
    evidence: str = ""
    fix: str = ""
    short: str = ""
    stops: bool = False
    because: Stage | None = None
    options: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One address of one host.

    preference: of the MX record, None for a host that was named. address: with its port, "" if there is none. policy:
    what decides here. facts: what the connection showed, as far as it came. transcript: what was said. looking: the
    stage that is looked at now, None if the row is done.
    """

    host: str
    preference: int | None
    address: str
    policy: PolicyKind
    findings: tuple[Finding, ...]
    facts: HopFacts | None = None
    transcript: Sequence[str] = ()
    looking: Stage | None = None

    @property
    def outcome(self) -> DeliveryForecast:
        """The predicted result of a delivery to this address."""
        if any(finding.stops and finding.verdict is Mark.FAIL for finding in self.findings):
            return DeliveryForecast.HOLD
        if self.looking is not None or any(finding.stops for finding in self.findings):
            return DeliveryForecast.UNKNOWN
        return (
            DeliveryForecast.DELIVER
            if self.facts is not None and self.facts.tls is not None
            else DeliveryForecast.CLEARTEXT
        )

    def cell(self, stage: Stage) -> Finding | None:
        """The gravest finding of a stage, None if there is none."""
        return worst([finding for finding in self.findings if finding.stage is stage])


class PartnerCheck(msgspec.Struct, frozen=True):
    """A whole check. kind: "partner" or "host". at: seconds since 1970. findings: of the domain, not of one host."""

    target: str
    kind: str
    at: float
    seconds: float
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]

    @property
    def deciding(self) -> Row | None:
        """The row that a message would take, else the first one that leaves it open, else the first; None without rows.

        Hosts are tried in the order of their preference; among equals it is chance, so that the worst one counts.
        """
        open_one = None
        for _, group in groupby(self.rows, lambda row: row.preference):
            rows = list(group)
            for wanted in (DeliveryForecast.CLEARTEXT, DeliveryForecast.DELIVER):
                if taken := next((row for row in rows if row.outcome is wanted), None):
                    return taken
            open_one = open_one or next((row for row in rows if row.outcome is DeliveryForecast.UNKNOWN), None)
        return open_one or next(iter(self.rows), None)

    @property
    def outcome(self) -> DeliveryForecast:
        """The predicted result of a delivery."""
        if any(finding.stops and finding.verdict is Mark.FAIL for finding in self.findings):
            return DeliveryForecast.HOLD
        if any(finding.stops for finding in self.findings):
            return DeliveryForecast.UNKNOWN
        row = self.deciding
        return row.outcome if row is not None else DeliveryForecast.HOLD

    @property
    def counts(self) -> Counter[Mark]:
        """The number of findings by verdict; those that another one kept from being reached do not count."""
        return Counter(finding.verdict for finding in self._all() if finding.because is None)

    @property
    def last_line(self) -> str:
        """For scripts: always these keys, in this order; "-" for what is not known."""
        counts, row = self.counts, self.deciding
        tls = row.facts.tls if row is not None and row.facts is not None else None
        policy = row.policy if row is not None else "-"
        version, group = (tls.version, tls.group or "-") if tls else ("-", "-")
        return (
            f"verdict={self.outcome} policy={policy} tls={version} group={group} fails={counts[Mark.FAIL]} "
            f"warnings={counts[Mark.WARN]} unknown={counts[Mark.UNKNOWN]}"
        )

    def _all(self) -> Iterator[Finding]:
        yield from self.findings
        for row in self.rows:
            yield from row.findings


def worst(findings: list[Finding]) -> Finding | None:
    """The gravest of some findings, the first among equals; None if there are none."""
    return max(findings, key=lambda finding: _WEIGHT[finding.verdict], default=None)


def missed(stage: Stage, because: Stage, why: str) -> Finding:
    """A stage that could not be looked at."""
    return Finding(stage, Mark.UNKNOWN, why, short="?", because=because)


def check_record(check: PartnerCheck) -> dict[str, Any]:
    """The check as JSON shows it. The keys do not change; tls: as in the trace, {} without TLS."""
    counts, row = check.counts, check.deciding
    tls = row.facts.tls if row is not None and row.facts is not None else None
    dialogues = bounded_transcripts(host_row.transcript for host_row in check.rows)
    return {
        "target": check.target,
        "kind": check.kind,
        "at": round(check.at, 3),
        "seconds": round(check.seconds, 3),
        "verdict": str(check.outcome),
        "policy": str(row.policy) if row is not None else "",
        "tls": tls.version if tls else "",
        "group": tls.group if tls else "",
        "fails": counts[Mark.FAIL],
        "warnings": counts[Mark.WARN],
        "unknown": counts[Mark.UNKNOWN],
        "findings": [_finding_record(finding) for finding in check.findings],
        "hosts": [_row_record(*pair) for pair in zip(check.rows, dialogues, strict=True)],
    }


def _row_record(row: Row, transcript: list[str]) -> dict[str, Any]:
    cells = {stage: row.cell(stage) for stage in Stage}
    return {
        "host": row.host,
        "preference": row.preference,
        "address": row.address,
        "outcome": str(row.outcome),
        "policy": str(row.policy),
        "stages": {str(stage): str(cell.verdict) for stage, cell in cells.items() if cell is not None},
        "findings": [_finding_record(finding) for finding in row.findings],
        "tls": tls_record(row.facts.tls, row.facts.chain) if row.facts is not None else {},
        "transcript": transcript,
        "looking": str(row.looking) if row.looking is not None else "",
    }


def _finding_record(finding: Finding) -> dict[str, Any]:
    return {
        "stage": str(finding.stage),
        "verdict": str(finding.verdict),
        "text": finding.text[:_MAX_TEXT],
        "evidence": finding.evidence[:_MAX_TEXT],
        "fix": finding.fix,
        "stops": finding.stops,
        "because": str(finding.because) if finding.because is not None else "",
    }


class Actor(StrEnum):
    """The party that must act."""

    OURS = "ours"
    THEIRS = "theirs"
    NOBODY = ""


class Effort(StrEnum):
    """LOW: a record or a setting. MEDIUM: a new certificate or server setting. HIGH: a project, such as DNSSEC."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    NONE = ""


_OF_ADVICE = {advice.SIGN: Effort.HIGH, advice.BOGUS: Effort.HIGH, advice.REVOKED: Effort.MEDIUM}
_OF_STAGE = {
    Stage.DNS: Effort.LOW,
    Stage.CONNECT: Effort.LOW,
    Stage.EHLO: Effort.LOW,
    Stage.TLS: Effort.MEDIUM,
    Stage.CERTIFICATE: Effort.MEDIUM,
    Stage.DANE: Effort.LOW,
    Stage.MTA_STS: Effort.MEDIUM,
    Stage.REVOCATION: Effort.LOW,
    Stage.REQUIRETLS: Effort.LOW,
    Stage.TLS_RPT: Effort.LOW,
}


def actor_of(finding: Finding) -> Actor:
    """As what to do says it: "Here: …" or "They …"."""
    if not finding.fix:
        return Actor.NOBODY
    return Actor.OURS if finding.fix.startswith("Here:") else Actor.THEIRS


def effort_of(finding: Finding) -> Effort:
    """NONE where there is nothing to do."""
    return _OF_ADVICE.get(finding.fix, _OF_STAGE[finding.stage]) if finding.fix else Effort.NONE
