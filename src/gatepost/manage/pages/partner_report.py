"""A check of a partner as pages and the file for the partner's postmaster show it: answer, matrix, findings. Pure.

Made of what `analysis.checks.partner` found, for the templates in `partner/`. The worst finding stands first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gatepost.analysis.checks.partner_report import DeliveryForecast, Mark, PolicyKind, Stage, actor_of, effort_of
from gatepost.language import _
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.analysis.checks.partner_report import Finding, PartnerCheck, Row


_STAGES: Final = {
    Stage.DNS: "DNS",
    Stage.CONNECT: N_("Connect"),
    Stage.EHLO: "EHLO",
    Stage.TLS: "TLS",
    Stage.CERTIFICATE: N_("Certificate"),
    Stage.DANE: "DANE",
    Stage.MTA_STS: "MTA-STS",
    Stage.REVOCATION: N_("Revocation"),
    Stage.REQUIRETLS: "REQUIRETLS",
}
_NAMES: Final = _STAGES | {Stage.TLS_RPT: "TLS-RPT"}
_ORDER: Final = (Mark.FAIL, Mark.WARN, Mark.UNKNOWN, Mark.INFO, Mark.PASS)
_SHORT: Final = 28
_SHORT_WORDS: Final = (
    N_("address"),
    N_("alias"),
    N_("bogus"),
    N_("broken"),
    N_("certificate"),
    N_("mismatch"),
    N_("name"),
    N_("none"),
    N_("private"),
    N_("refused"),
    N_("revoked"),
    N_("silent"),
    N_("unencrypted"),
    N_("unsigned"),
    N_("unusable"),
)
"""What cells say in one word; words that are codes, such as "DANE", stay."""
_BY: Final = {
    PolicyKind.DANE: N_("verified by DANE"),
    PolicyKind.MTA_STS: N_("verified by MTA-STS"),
    PolicyKind.OPPORTUNISTIC: N_("encrypted, but not protected against an active attacker (opportunistic)"),
}


class Cell(NamedTuple):
    """One stage of one address. level: of the badge; "running" or "waiting" until it is known. text: what is in it."""

    level: str
    text: str
    hint: str


class HostLine(NamedTuple):
    """One address of one host. cells: a Cell for each stage, None where the stage does not apply. transcript: lines."""

    preference: int | None
    host: str
    address: str
    policy: str
    outcome: str
    cells: Sequence[Cell | None]
    transcript: str


class FindingItem(NamedTuple):
    """A finding. where: hosts that it is about, "" for the domain. actor: "ours", "theirs" or ""."""

    level: str
    stage: str
    text: str
    where: str
    evidence: str
    fix: str
    actor: str
    effort: str


class CheckView(NamedTuple):
    """All of it. level, headline: the answer. quiet: findings that are as they should be."""

    target: str
    kind: str
    level: str
    headline: str
    at: float
    seconds: float
    total: int
    counts: Sequence[tuple[str, int]]
    stages: Sequence[str]
    lines: Sequence[HostLine]
    loud: Sequence[FindingItem]
    quiet: Sequence[FindingItem]
    last_line: str


def check_view(check: PartnerCheck, *, done: bool) -> CheckView:
    """done: otherwise what is missing is still looked at."""
    items = sorted(_items(check), key=lambda item: _ORDER.index(Mark(item.level)))
    loud = [item for item in items if item.level in {Mark.FAIL, Mark.WARN, Mark.UNKNOWN}]
    used = [stage for stage in _STAGES if not done or any(row.cell(stage) for row in check.rows)]
    counts = check.counts
    level, headline = _answer(check) if done else ("running", _("Checking…"))
    return CheckView(
        check.target,
        check.kind,
        level,
        headline,
        check.at,
        check.seconds,
        counts.total(),
        [(str(mark), counts[mark]) for mark in _ORDER if counts[mark]],
        [_(_STAGES[stage]) for stage in used],
        [_line(row, used, done=done) for row in check.rows],
        loud,
        [item for item in items if item not in loud],
        check.last_line if done else "",
    )


def _answer(check: PartnerCheck) -> tuple[str, str]:
    row = check.deciding
    match check.outcome:
        case DeliveryForecast.DELIVER if row is not None and row.facts is not None and row.facts.tls is not None:
            dane = row.cell(Stage.DANE)
            unusable = row.policy is PolicyKind.DANE and (dane is None or dane.short == "unusable")
            by = _("encrypted as the TLSA records require, though none is usable") if unusable else _(_BY[row.policy])
            level = "info" if row.policy is PolicyKind.OPPORTUNISTIC or unusable else "pass"
            return level, _(
                "The gateway would deliver mail, %(by)s, %(version)s.", by=by, version=row.facts.tls.version
            )
        case DeliveryForecast.CLEARTEXT:
            return "fail", _("The gateway would send mail unencrypted.")
        case DeliveryForecast.HOLD:
            return "fail", _(
                "Mail would wait, and return to its sender when it expires%(reason)s.", reason=_reason(check, Mark.FAIL)
            )
        case _:
            return "unknown", _("The result is inconclusive%(reason)s.", reason=_reason(check, Mark.UNKNOWN))


def _reason(check: PartnerCheck, mark: Mark) -> str:
    several = [*check.findings, *(finding for row in check.rows for finding in row.findings)]
    text = next((finding.text for finding in several if finding.stops and finding.verdict is mark), "")
    return f": {ours(text)}" if text else ""


def _line(row: Row, stages: Sequence[Stage], *, done: bool) -> HostLine:
    looking = None if done else row.looking
    outcome = str(row.outcome) if looking is None else ""
    cells = [row.cell(stage) for stage in stages]
    # The policy is the domain's, and comes when it comes.
    shown = [
        _cell(cell) if cell is not None else _unknown(stage, looking, waits=not done and stage is Stage.MTA_STS)
        for stage, cell in zip(stages, cells, strict=True)
    ]
    text = "\n".join(row.transcript) if done else ""
    return HostLine(row.preference, row.host, row.address, str(row.policy), outcome, shown, text)


def _unknown(stage: Stage, looking: Stage | None, *, waits: bool) -> Cell | None:
    if stage is looking:
        return Cell("running", _("checking…"), _("check in progress"))
    return Cell("waiting", "…", _("not checked yet")) if waits or looking is not None else None


def _cell(finding: Finding) -> Cell:
    if finding.because is not None:
        return Cell("unknown", _("not reached"), finding.text)
    short = ours(finding.short) or str(finding.verdict)
    text = short if len(short) <= _SHORT else f"{short[: _SHORT - 1]}…"
    return Cell(str(finding.verdict), text, finding.text)


def _items(check: PartnerCheck) -> Iterable[FindingItem]:
    for finding in check.findings:
        if finding.because is None:
            yield _item(finding, "")
    places: dict[Finding, list[str]] = {}
    for row in check.rows:
        for finding in row.findings:
            if finding.because is None:
                places.setdefault(finding, []).append(f"{row.host} ({row.address})" if row.address else row.host)
    for finding, where in places.items():
        yield _item(finding, ", ".join(dict.fromkeys(where)))


def _item(finding: Finding, where: str) -> FindingItem:
    evidence = finding.evidence if finding.evidence != finding.text else ""
    return FindingItem(
        str(finding.verdict),
        _(_NAMES[finding.stage]),
        finding.text,
        where,
        evidence,
        finding.fix,
        str(actor_of(finding)),
        str(effort_of(finding)),
    )
