"""What a person reads of a changeover: current and next side by side, the gates, what to do next.

Used by `manage.cli.certificate_changeover` and `manage.cli.certificate_switch`. Signs and form of a finding are those
of `manage.cli.check_text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.analysis.checks.gates import GateCheck, Light
from gatepost.analysis.checks.partner_report import Mark
from gatepost.manage.cli.check_text import print_line, wrapped
from gatepost.manage.cli.tables import ellipsis, print_table, printable
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.entry import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.certificate_shapes import Certificate, GateFinding, Gates
    from gatepost.manage.use_cases.changeover import Changeover, NoticePartner, TrafficCount


_LOUD = frozenset({Mark.FAIL, Mark.WARN, Mark.UNKNOWN})
_ANSWERS = {str(Light.GREEN): "YES", str(Light.RED): "NO", str(Light.UNKNOWN): "CANNOT TELL"}


def print_gates(gates: Gates, one: Certificate) -> None:
    """All findings, and the answer first."""
    name = one.common_name or one.subject
    what = "may it become current?" if one.state == State.NEXT else "is it well as it is?"
    why = f": {gates.reasons}" if gates.reasons else ""
    click.echo(wrapped(printable(f"{one.id} ({name}): {what}  {_ANSWERS[gates.light]}{why}"), "  "))
    click.echo()
    for finding in gates.findings:
        _print_finding(finding)
    click.echo(
        f"\nlight={gates.light} fails={gates.fails} warnings={gates.warnings} "
        f"unknown={gates.unknown} green_at={moment(gates.green_at or 0.0).replace(' ', 'T') or '-'}"
    )


def print_status(found: Changeover) -> None:
    """One changeover."""
    one, olds = found.certificate, found.replaces
    columns = [*olds, one] if one.state == State.NEXT else [one, *olds]
    rows = [_row(each) for each in columns]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    print_table(["", *(each.state for each in columns)], [(name, *(row[name] for row in rows)) for name in names])
    if found.gates is not None:
        click.echo()
        for gate in GateCheck:
            _print_gate(found.gates, gate)
    if found.traffic is not None:
        since, before = found.traffic.since, found.traffic.before
        click.echo()
        click.echo(f"  since the switch    {_traffic(since)}")
        click.echo(f"  as long before      {_traffic(before)}")
        silent = sorted({*before.domains} - {*since.domains})
        if silent:
            click.echo(wrapped(printable(f"  silent since        {', '.join(silent[:20])}"), " " * 22))
    click.echo()
    for line in found.next:
        click.echo(wrapped(f"next: {printable(line)}", "      "))
    click.echo()


def _print_finding(one: GateFinding) -> None:
    print_line(Mark(one.verdict), one.gate, one.text, one.evidence, one.fix)


def _print_gate(gates: Gates, gate: GateCheck) -> None:
    """What is wrong at a gate, or that all is well."""
    found = [one for one in gates.findings if one.gate == gate]
    loud = [one for one in found if one.verdict in _LOUD]
    for one in loud:
        _print_finding(one)
    if found and not loud:
        passed = [one for one in found if one.verdict == Mark.PASS]
        more = f" (and {len(passed) - 1} more)" if len(passed) > 1 else ""
        best = (passed or found)[0]
        print_line(Mark(best.verdict), gate, f"{best.text}{more}")


def _row(one: Certificate) -> dict[str, str]:
    return {
        "id": one.id,
        "names": ", ".join(one.names),
        "issuer": one.issuer,
        "key": one.key,
        "serial": one.serial,
        "SHA-256": one.sha256[:32] + ellipsis(),
        "TLSA 3 1 1": one.spki_sha256[:32] + ellipsis(),
        "valid from": moment(one.not_before),
        "valid until": moment(one.not_after),
        "presented from": moment(one.current_from or 0.0),
        "presented until": moment(one.current_until or 0.0),
        "planned for": moment(one.switch_at or 0.0),
        "must staple": "yes" if one.must_staple else "",
    }


def _traffic(one: TrafficCount) -> str:
    refused = f", {one.refused_for_want_of_tls} refused for want of TLS" if one.refused_for_want_of_tls else ""
    return f"{one.over_tls} messages over TLS from {len(one.domains)} domains, {one.in_clear} in clear{refused}"


def print_partners(partners: Sequence[NoticePartner]) -> None:
    """Who is to be told, on standard error, beside the text for them."""
    for one in partners:
        sign = "told " if one.told else "TO TELL"
        click.echo(printable(f"{sign:<8} {one.partner}  ({'; '.join(one.why)})"), err=True)
    if not partners:
        click.echo("nobody is known who might expect the current certificate", err=True)
