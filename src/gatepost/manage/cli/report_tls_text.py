"""A TLS report as a person reads it in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import astuple

from gatepost.analysis.reports.tls import Direction, Protection
from gatepost.manage.cli.language import _, quantity
from gatepost.manage.cli.tables import print_table, printable, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.manage.use_cases.reports import TlsHops, TlsNamed, TlsReady, TlsReportSummary


CONNECTOR_COLUMNS = ("connector", "direction", "carried", *Protection, "post-quantum", "refused", "TLS failures")
_PARTNER_COLUMNS = ("partner", *CONNECTOR_COLUMNS[1:])
_MOST = 20
_BAR = 40


def print_report(report: TlsReportSummary) -> None:
    """The whole of it, at most twenty lines of each part."""
    say("%(first)s to %(last)s (UTC), one delivery for each recipient and hop", first=report.first, last=report.last)
    for direction in Direction:
        _print_hops(direction, report.hops[direction])
    _print_part(_("by connector"), CONNECTOR_COLUMNS, list(connector_rows(report.connectors)))
    _print_part(_("by partner"), _PARTNER_COLUMNS, list(connector_rows(report.partners)))
    _print_part(_("domains that never offered TLS"), ("partner", "messages"), list(map(astuple, report.never_tls)))
    _print_part(
        _("partners ready for mandatory TLS"),
        ("partner", "messages", "requirement that all mail met"),
        list(_ready(report.ready)),
    )


def connector_rows(named: Sequence[TlsNamed]) -> Iterator[tuple[object, ...]]:
    """A line for each name and direction."""
    for row in named:
        shares = (_share(row.protections[protection], row.carried) for protection in Protection)
        failures = ", ".join(f"{name} {count}" for name, count in _most(row.failures))
        quantum = _share(row.post_quantum, row.carried)
        yield (row.name or "-", row.direction, row.carried, *shares, quantum, row.refused, failures or "-")


def _print_hops(direction: Direction, hops: TlsHops) -> None:
    refused = _(", %(refused)s refused", refused=hops.refused) if hops.refused else ""
    say(
        "\n%(direction)s: %(carried)s carried%(refused)s, %(failures)s",
        direction=direction,
        carried=hops.carried,
        refused=refused,
        failures=quantity(sum(hops.failures.values()), "TLS failure"),
    )
    for protection in Protection:
        count = hops.protections[protection]
        bar = "#" * round(_BAR * count / hops.carried) if hops.carried else ""
        click.echo(f"    {protection:10} {_share(count, hops.carried):>6} {count:>10}  {bar}".rstrip())
    if hops.trusted:
        share = _share(hops.trusted, hops.protections[Protection.ENCRYPTED])
        say(
            "    of mail that was only encrypted, %(share)s went to a host with a trusted certificate for its name",
            share=share,
        )
    for label, counts in ((_("version"), hops.versions), (_("group"), hops.groups), (_("suite"), hops.suites)):
        if counts:
            text = ", ".join(f"{name} {_share(count, sum(counts.values()))}" for name, count in _most(counts)[:6])
            click.echo(f"    {label:10} {printable(text)}")
    if hops.carried:
        say("    post-quantum key exchange: %(post_quantum)s", post_quantum=_share(hops.post_quantum, hops.carried))
    for name, count in _most(hops.failures):
        say("    failed     %(name)s: %(count)s", name=printable(name), count=count)


def _print_part(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if not rows:
        return
    more = (
        _(" (the first %(most)s of %(rows)s; all: --json or -o FILE)", most=_MOST, rows=len(rows))
        if len(rows) > _MOST
        else ""
    )
    click.echo(f"\n{title}{more}")
    print_table(columns, rows[:_MOST])


def _ready(ready: Sequence[TlsReady]) -> Iterator[tuple[object, ...]]:
    for partner in ready:
        said = partner.demand if partner.direction == Direction.INBOUND else f'tls_settings = "{partner.demand}"'
        names = f" ({', '.join(partner.names)})" if partner.names else ""
        yield partner.partner, partner.messages, f"{partner.direction} {said}{names}"


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _share(part: int, whole: int) -> str:
    """In percent, such that a little is never nothing, and not quite all is never all."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    return ">99.9%" if 99.95 <= percent < 100 else f"{percent:.1f}%"
