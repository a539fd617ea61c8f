"""Results of use cases about certificates: certificates and gate checks, as REST and `--json` show them.

Times are seconds since 1970 UTC. No private key is in anything here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.gates import MAX_TEXT, gates_record
from gatepost.manage.use_cases.declaration import Cli
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from gatepost.analysis.checks.gates import GateReport
    from gatepost.pki.certificates.entry import Entry


type CertificateNumber = Annotated[
    str,
    Meta(description="Id, the beginning of a SHA-256 thumbprint, or label."),
    Cli(argument=True, metavar="ID"),
]
type Reason = Annotated[str, Meta(max_length=1000), Cli(metavar="REASON")]
type Note = Annotated[str, Meta(max_length=1000), Cli(help="Reason, recorded in the history.")]

_DAY = 86400.0


class CertificateSummary(msgspec.Struct):
    """One of our certificates. Times: seconds since 1970, null if not yet or not known.

    state: next, current, deprecated or retired. purpose: server or client. since: in this state. current_from,
    current_until: presented. switch_at: planned. replaces: ids of those whose place it takes, or took. told: partners
    that know of it. forced: why it is to become current whatever the gates say. held: why it did not at its time.
    """

    id: str
    state: str
    purpose: str
    organization: str
    label: str
    names: list[str]
    subject: str
    issuer: str
    key: str
    not_before: float
    not_after: float
    days_left: int
    origin: str
    added: float | None
    since: float | None
    current_from: float | None
    current_until: float | None
    switch_at: float | None
    replaces: list[str]
    must_staple: bool
    common_name: str
    serial: str
    sha1: str
    sha256: str
    spki_sha256: str
    key_file: str
    chain_file: str
    told: list[str]
    forced: str
    held: str


def certificate_of(entry: Entry, now: float | None = None) -> CertificateSummary:
    """Summary of a certificate, without its chain. now: for the days that are left."""
    leaf = entry.leaf
    return copy_fields(
        CertificateSummary,
        entry,
        leaf,
        names=[*leaf.dns_names, *leaf.ip_addresses],
        days_left=int((leaf.not_after - (time.time() if now is None else now)) // _DAY),
        added=entry.added or None,
        since=entry.since or None,
        current_from=entry.current_from or None,
        current_until=entry.current_until or None,
        switch_at=entry.switch_at or None,
    )


class GateCheckFinding(msgspec.Struct):
    """A finding of a gate check. verdict: pass, info, warn, fail, unknown. until: when waiting alone resolves it."""

    gate: str
    verdict: str
    text: str
    evidence: str
    fix: str
    until: float | None


class GateSummary(msgspec.Struct):
    """A look at the gates. light: green, red or unknown. green_at: when waiting alone opens all of them."""

    id: str
    at: float
    seconds: float
    light: str
    fails: int
    warnings: int
    unknown: int
    green_at: float | None
    findings: list[GateCheckFinding]

    @property
    def reasons(self) -> str:
        """Findings that block the switch, in one line: failed ones before unknown ones."""
        stopping = [
            finding for verdict in ("fail", "unknown") for finding in self.findings if finding.verdict == verdict
        ]
        return "; ".join(f"{finding.gate}: {finding.text}" for finding in stopping)[:MAX_TEXT]


class CertificateGates(GateSummary):
    """The same, with the certificate that it is of."""

    certificate: CertificateSummary


def gates_of_report(report: GateReport) -> GateSummary:
    """The report as JSON has it."""
    record = gates_record(report)
    findings = [GateCheckFinding(**finding) for finding in record.pop("findings")]
    return GateSummary(**record, findings=findings)


def certificate_gates(report: GateReport) -> CertificateGates:
    """The same with its certificate."""
    gates = msgspec.structs.asdict(gates_of_report(report))
    return CertificateGates(**gates, certificate=certificate_of(report.entry))
