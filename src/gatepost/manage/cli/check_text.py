"""Print the result of `gatepost check`: verdict, matrix of hosts and stages, findings with their fixes.

Used by `manage.cli.check`. On a terminal lines are as wide as it is; in a pipe they are not folded. Where standard
output cannot show the signs, ASCII stands for them.
"""

from __future__ import annotations

import os
import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from gatepost.analysis.checks.partner_report import DeliveryForecast, Mark, PolicyKind, Stage
from gatepost.manage.cli.output import _, ours, print_dialogue, printable, quantity, wrapped, writes
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from gatepost.analysis.checks.partner_report import Finding, PartnerCheck, Row


_MARKS = {
    Mark.PASS: ("✓", "+"),
    Mark.INFO: ("·", "-"),
    Mark.WARN: ("!", "!"),
    Mark.FAIL: ("✗", "X"),
    Mark.UNKNOWN: ("?", "?"),
}
_COLOURS = {Mark.PASS: "green", Mark.INFO: "cyan", Mark.WARN: "yellow", Mark.FAIL: "red", Mark.UNKNOWN: "magenta"}
_COLUMNS = {
    Stage.DNS: "DNS",
    Stage.CONNECT: N_("connect"),
    Stage.EHLO: "EHLO",
    Stage.TLS: "TLS",
    Stage.CERTIFICATE: N_("certificate"),
    Stage.DANE: "DANE",
    Stage.MTA_STS: "MTA-STS",
    Stage.REVOCATION: N_("revocation"),
    Stage.REQUIRETLS: "REQUIRETLS",
}
_NARROW = {
    Stage.CONNECT: N_("conn"),
    Stage.CERTIFICATE: N_("cert"),
    Stage.MTA_STS: "STS",
    Stage.REVOCATION: N_("rev."),
    Stage.REQUIRETLS: "RTLS",
}
_NAMES = _COLUMNS | {Stage.TLS_RPT: "TLS-RPT"}
LOUD = frozenset({Mark.FAIL, Mark.WARN, Mark.UNKNOWN})
_CELL = 18
_HOST = 48
_INDENT = 16
_BY = {
    PolicyKind.DANE: N_("verified by DANE"),
    PolicyKind.MTA_STS: N_("verified by MTA-STS"),
    PolicyKind.OPPORTUNISTIC: N_("encrypted, but an attacker on the way could prevent that (opportunistic)"),
}


def print_check(check: PartnerCheck, *, verbose: bool) -> None:
    """All of it, on standard output. verbose: also what is as it should be, and what was said."""
    click.echo(wrapped(printable(_headline(check)), "  "))
    if check.rows:
        click.echo()
        _print_matrix(check.rows)
    if check.findings:
        click.echo()
        for finding in check.findings:
            _print_finding(finding, full=verbose or finding.verdict in LOUD)
    for host, findings in _by_host(check.rows, verbose=verbose):
        click.echo(f"\n{printable(host)}")
        for finding in findings:
            _print_finding(finding, full=True)
    for row in check.rows if verbose else ():
        if row.transcript:
            click.echo(f"\n{printable(f'{row.host} ({row.address})')}")
            print_dialogue(row.transcript)
    click.echo(f"\n{total_line(check.counts, check.seconds)}\n{check.last_line}")


def print_findings(findings: Iterable[Finding]) -> None:
    """Findings alone, each in full."""
    for finding in findings:
        _print_finding(finding, full=True)


def _headline(check: PartnerCheck) -> str:
    return _("%(target)s: would mail be delivered safely?  %(answer)s", target=check.target, answer=_answer(check))


def _answer(check: PartnerCheck) -> str:
    row = check.deciding
    match check.outcome:
        case DeliveryForecast.DELIVER:
            assert row is not None  # noqa: S101 - some row delivers
            assert row.facts is not None  # noqa: S101 - over TLS
            assert row.facts.tls is not None  # noqa: S101 - over TLS
            by = (
                _BY[row.policy]
                if _is_verified(row)
                else (_("encrypted, as the TLSA records require, though none of them names a key"))
            )
            return _("YES, %(by)s, %(version)s", by=by, version=row.facts.tls.version)
        case DeliveryForecast.CLEARTEXT:
            return _("NO, it would be sent unencrypted")
        case DeliveryForecast.HOLD:
            return _("NO, it would wait and then be returned%(reason)s", reason=_reason(check, Mark.FAIL))
        case DeliveryForecast.UNKNOWN:
            return _("INCONCLUSIVE%(reason)s", reason=_reason(check, Mark.UNKNOWN))


def _is_verified(row: Row) -> bool:
    cell = row.cell(Stage.DANE)
    return row.policy is not PolicyKind.DANE or (cell is not None and cell.short != "unusable")


def _reason(check: PartnerCheck, mark: Mark) -> str:
    several = [*check.findings, *(finding for row in check.rows for finding in row.findings)]
    text = next((finding.text for finding in several if finding.stops and finding.verdict is mark), "")
    return f": {ours(text)}" if text else ""


def total_line(counts: Counter[Mark], seconds: float) -> str:
    """Count findings, and those that are loud, in a line that ends with how long it took."""
    named = ((Mark.FAIL, _("failed")), (Mark.WARN, _("with a warning")), (Mark.UNKNOWN, _("inconclusive")))
    grave = ", ".join(f"{counts[mark]} {name}" for mark, name in named if counts[mark])
    return f"{quantity(counts.total(), 'finding')}{': ' if grave else ''}{grave}; {seconds:.1f} s"


# the matrix


def _print_matrix(rows: Sequence[Row]) -> None:
    """Marks with a word each; marks alone, if the terminal is too narrow for that."""
    stages = [stage for stage in _COLUMNS if any(row.cell(stage) for row in rows)]
    lines = [[_cell(row.cell(stage)) for stage in stages] for row in rows]
    heads, labels = [_(_COLUMNS[stage]) for stage in stages], _labels(rows)
    room = max(map(len, labels))
    if sys.stdout.isatty() and room + sum(2 + width for width in _widths(heads, lines)) > get_terminal_size().columns:
        lines = [[(mark, "") for mark, _text in line] for line in lines]
        heads = [_(_NARROW.get(stage, _COLUMNS[stage])) for stage in stages]
    widths = _widths(heads, lines)
    click.echo(f"{' ' * room}  {'  '.join(map(str.ljust, heads, widths))}".rstrip())
    for label, line in zip(labels, lines, strict=True):
        cells = "  ".join(_shown(*cell, width) for cell, width in zip(line, widths, strict=True))
        click.echo(f"{label.ljust(room)}  {cells}".rstrip())


def _widths(heads: list[str], lines: list[list[tuple[Mark | None, str]]]) -> list[int]:
    return [max(len(head), *(2 + len(line[at][1]) for line in lines)) for at, head in enumerate(heads)]


def _labels(rows: Sequence[Row]) -> list[str]:
    """Labels before each line: preference and name, and below it further addresses of the same host."""
    names = [row.host for row in rows]
    result, before = [], None
    for row in rows:
        preference = "" if row.preference is None else f"{row.preference} "
        name = cut(printable(row.host), _HOST)
        address = f" {row.address}" if names.count(row.host) > 1 else ""
        if row.host == before:
            preference, name = " " * len(preference), " "
        result.append(f"{preference}{name}{address}")
        before = row.host
    return result


def _cell(finding: Finding | None) -> tuple[Mark | None, str]:
    if finding is None:
        return None, ""
    if finding.because is not None:
        return Mark.UNKNOWN, ""
    return finding.verdict, cut(printable(ours(finding.short)), _CELL)


def _shown(mark: Mark | None, short: str, width: int) -> str:
    if mark is None:
        return " " * width
    return f"{_mark(mark)} {short.ljust(width - 2)}"


# the findings


def _by_host(rows: Sequence[Row], *, verbose: bool) -> Iterable[tuple[str, list[Finding]]]:
    """Findings of each host; those that hold for several of its addresses once."""
    for host in dict.fromkeys(row.host for row in rows):
        own = [row for row in rows if row.host == host]
        shown = [
            finding
            for row in own
            for finding in row.findings
            if (finding.verdict in LOUD and finding.because is None) or (verbose and finding.because is None)
        ]
        if shown:
            addresses = ", ".join(row.address for row in own if row.address)
            yield f"{host} ({addresses})" if addresses else host, list(dict.fromkeys(shown))


def _print_finding(finding: Finding, *, full: bool) -> None:
    if full:
        print_line(
            finding.verdict,
            _NAMES[finding.stage],
            finding.text,
            finding.evidence,
            with_options(ours(finding.fix), finding.options),
        )
    else:
        print_line(finding.verdict, _NAMES[finding.stage], finding.short or finding.text)


def with_options(fix: str, options: Iterable[str]) -> str:
    """The fix, with the options of the command that help: "give it more time (--timeout)."."""
    named = " or ".join(f"--{option}" for option in options)
    return f"{fix.removesuffix('.')} ({named})." if named else fix


def print_line(verdict: Mark, name: str, text: str, evidence: str = "", fix: str = "") -> None:
    """One finding: its sign, what it is about, a sentence; below it what shows it and what to do, if there is any."""
    sign, room = _sign(verdict), " " * _INDENT
    line = wrapped(f"  {sign} {name.ljust(_INDENT - 5)} {printable(ours(text))}", room)
    click.echo(line.replace(sign, _mark(verdict), 1))
    if evidence and evidence != text:
        click.echo(wrapped(f"{room}{_('seen: %(evidence)s', evidence=ours(evidence))}", f"{room}      "))
    if fix:
        click.echo(wrapped(f"{room}-> {printable(ours(fix))}", f"{room}   "))


def _mark(mark: Mark) -> str:
    """The sign, in colour on a terminal (`click.echo` takes it off elsewhere) unless NO_COLOR forbids it."""
    return _sign(mark) if os.environ.get("NO_COLOR") else click.style(_sign(mark), fg=_COLOURS[mark])


def _sign(mark: Mark) -> str:
    sign, plain = _MARKS[mark]
    return sign if writes(sign) else plain


def cut(text: str, room: int) -> str:
    """At most so many characters of a text, ".." where there are more."""
    return text if len(text) <= room else text[: room - 2] + ".."
