"""What a person reads of a changeover: current and next side by side, the gates, what to do next.

Used by `manage.cli.certificate_changeover` and `manage.cli.certificate_switch`. Signs and form of a finding are those
of `manage.cli.check_text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.analysis.checks.gates import MAX_TEXT, Gate, Light
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.cli.check_text import print_line, wrapped
from gatepost.manage.cli.tables import ellipsis, print_table, printable
from gatepost.manage.use_cases.changeover import next_steps
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.analysis.checks.changeover_watch import Traffic
    from gatepost.analysis.checks.gates import GateFinding, GateReport
    from gatepost.analysis.checks.gates_partners import Partner
    from gatepost.manage.use_cases.changeover import Look
    from gatepost.pki.certificates.entry import Entry


_LOUD = frozenset({Mark.FAIL, Mark.WARN, Mark.UNKNOWN})
_ANSWERS = {Light.GREEN: "YES", Light.RED: "NO", Light.UNKNOWN: "CANNOT TELL"}


def print_gates(report: GateReport) -> None:
    """All findings, and the answer first."""
    name = report.entry.leaf.common_name or report.entry.leaf.subject
    what = "may it become current?" if report.entry.state is State.NEXT else "is it well as it is?"
    answer = _ANSWERS[report.light]
    why = f": {report.reasons}" if report.stopping else ""
    click.echo(wrapped(printable(f"{report.entry.id} ({name}): {what}  {answer}{why}"), "  "))
    click.echo()
    for one in report.findings:
        _print_finding(one)
    counts = report.counts
    click.echo(
        f"\nlight={report.light} fails={counts[Mark.FAIL]} warnings={counts[Mark.WARN]} "
        f"unknown={counts[Mark.UNKNOWN]} green_at={moment(report.only_waiting).replace(' ', 'T') or '-'}"
    )


def print_status(found: Look) -> None:
    """One changeover."""
    entry, entries, report, seen, _, now = found
    olds = _olds(entry, entries)
    columns = [*olds, entry] if entry.state is State.NEXT else [entry, *olds]
    names = [name for name in _row(entry) if any(_row(one)[name] for one in columns)]
    print_table(
        ["", *(str(one.state) for one in columns)], [(name, *(_row(one)[name] for one in columns)) for name in names]
    )
    if report is not None:
        click.echo()
        for gate in Gate:
            _print_gate(report, gate)
    if seen is not None:
        click.echo()
        click.echo(f"  since the switch    {_traffic(seen[0])}")
        click.echo(f"  as long before      {_traffic(seen[1])}")
        silent = sorted(seen[1].domains - seen[0].domains)
        if silent:
            click.echo(wrapped(printable(f"  silent since        {', '.join(silent[:20])}"), " " * 22))
    click.echo()
    for line in next_steps(entry, entries, report, now=now):
        click.echo(wrapped(f"next: {printable(line)}", "      "))
    click.echo()


def _print_finding(one: GateFinding) -> None:
    """As long as `gates_record` has it, so that it is the same from afar."""
    print_line(one.verdict, one.gate, one.text[:MAX_TEXT], one.evidence[:MAX_TEXT], one.fix)


def _print_gate(report: GateReport, gate: Gate) -> None:
    """What is wrong at a gate, or that all is well."""
    found = [one for one in report.findings if one.gate is gate]
    loud = [one for one in found if one.verdict in _LOUD]
    for one in loud:
        _print_finding(one)
    if found and not loud:
        passed = [one for one in found if one.verdict is Mark.PASS]
        more = f" (and {len(passed) - 1} more)" if len(passed) > 1 else ""
        best = (passed or found)[0]
        print_line(best.verdict, gate, f"{best.text}{more}")


def _olds(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    if entry.state is State.NEXT:
        return list(course.replaced(entry, entries))
    return [entries[number] for number in entry.replaces if number in entries]


def _row(entry: Entry) -> dict[str, str]:
    leaf = entry.leaf
    return {
        "id": entry.id,
        "names": ", ".join(course.names_of(entry)),
        "issuer": leaf.issuer,
        "key": leaf.key,
        "serial": leaf.serial,
        "SHA-256": leaf.sha256[:32] + ellipsis(),
        "TLSA 3 1 1": leaf.spki_sha256[:32] + ellipsis(),
        "valid from": moment(leaf.not_before),
        "valid until": moment(leaf.not_after),
        "presented from": moment(entry.current_from),
        "presented until": moment(entry.current_until),
        "planned for": moment(entry.switch_at),
        "must staple": "yes" if entry.must_staple else "",
    }


def _traffic(one: Traffic) -> str:
    refused = f", {one.wanted_tls} refused for want of TLS" if one.wanted_tls else ""
    return f"{one.over_tls} messages over TLS from {len(one.domains)} domains, {one.in_clear} in clear{refused}"


def print_partners(partners: Sequence[Partner]) -> None:
    """Who is to be told, on standard error, beside the text for them."""
    for one in partners:
        sign = "told " if one.told else "TO TELL"
        click.echo(printable(f"{sign:<8} {one.name}  ({'; '.join(one.why)})"), err=True)
    if not partners:
        click.echo("nobody is known who might expect the current certificate", err=True)
