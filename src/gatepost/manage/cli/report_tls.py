"""`gatepost report tls` and `report connectors`: how mail was protected, from the message trace."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from msgspec.structs import astuple

from gatepost.analysis.reports.spreadsheet import csv_lines
from gatepost.analysis.reports.tls import Direction, Protection
from gatepost.manage.cli.options import BAD_INPUT, MOMENT, NO, UNKNOWN, client, ending, fail, gateway_options
from gatepost.manage.cli.output import _, print_table, printable, printed_json, quantity, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.reports import DAYS, MOST, GetTlsReport, get_tls_report
from gatepost.node.privileges import as_caller
from gatepost.texts import N_
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gatepost.manage.use_cases.reports import TlsHops, TlsNamed, TlsReady, TlsReportSummary


_BEFORE = (DAYS - 1) * 86400.0  # the last day is one of them
_since = click.option(
    "--since", type=MOMENT, default=0.0, help="First UTC day: 7d or a date. Default: 30 days before the last day."
)
_until = click.option("--until", type=MOMENT, default=0.0, help="Last UTC day. Default: today.")


@click.command()
@_since
@_until
@request_options(GetTlsReport, since="", until="", top=MOST)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a file: .svg, .csv or .json.")
@gateway_options
def tls(request: GetTlsReport, *, since: float, until: float, output: Path | None) -> None:
    """Show how mail was protected: by DANE, MTA-STS, a verified name, TLS with any certificate, or not at all.

    The report counts one row of the trace for each recipient and hop, over whole days and today so far: received mail,
    sent mail, and TLS failures by result type (RFC 8460). It names domains that never offered TLS, and partners that
    are ready for mandatory TLS because all their mail would have met the requirement. A picture is an .svg.

    Exit codes: 0 there was mail, 1 none, 2 usage error, 3 a file of the trace cannot be read.
    """
    writer = _writer(output) if output else None
    answer = _report(since, until, request)
    if writer is not None and output is not None:
        _write(writer, answer, output)
    elif not printed_json(answer):
        print_report(answer)
    _end(answer)


@click.command()
@_since
@_until
@request_options(GetTlsReport, since="", until="", partner="", connector="", at_least=10, top=1)
@gateway_options
def connectors(request: GetTlsReport, *, since: float, until: float) -> None:
    """Show what each connector carried and how it was protected. "-" is mail without a connector.

    Exit codes: 0 there was mail, 1 none, 2 usage error, 3 a file of the trace cannot be read.
    """
    answer = _report(since, until, request)
    if not printed_json(answer.connectors):
        print_table(CONNECTOR_COLUMNS, list(connector_rows(answer.connectors)))
    _end(answer)


def _report(since: float, until: float, request: GetTlsReport) -> TlsReportSummary:
    gateway = client()
    now = time.time()
    first, last = day_text(since or (until or now) - _BEFORE), day_text(until or now)
    if first > last:
        fail(BAD_INPUT, "--since %(first)s is after --until %(last)s", first=first, last=last)
    return gateway.call(get_tls_report, msgspec.structs.replace(request, since=first, until=last))


def _end(answer: TlsReportSummary) -> None:
    if answer.unreadable:
        fail(
            UNKNOWN, "not counted, because they cannot be read: %(unreadable)s", unreadable=", ".join(answer.unreadable)
        )
    if not any(hops.carried or hops.refused or hops.failures for hops in answer.hops.values()):
        fail(NO, "no such mail from %(first)s to %(last)s", first=answer.first, last=answer.last)


def _writer(path: Path) -> Callable[[TlsReportSummary, Path], None]:
    """What makes a file of its kind; known before the trace is read."""
    writers = {".svg": _draw, ".csv": _write_csv, ".json": _write_json}
    if path.suffix == ".png":
        fail(BAD_INPUT, "%(path)s: pictures are drawn as SVG; write it to a file that ends in .svg", path=path)
    if path.suffix not in writers:
        fail(
            BAD_INPUT,
            "%(path)s: unknown file type; the name must end in %(writers)s",
            path=path,
            writers=", ".join(writers),
        )
    return writers[path.suffix]


def _write(writer: Callable[[TlsReportSummary, Path], None], answer: TlsReportSummary, path: Path) -> None:
    with ending(BAD_INPUT, OSError, text=N_("%(path)s cannot be written: %(error)s"), path=path), as_caller():
        writer(answer, path)
    say("wrote %(path)s", err=True, path=path)


def _draw(answer: TlsReportSummary, path: Path) -> None:
    from gatepost.manage.cli.chart import chart_of  # noqa: PLC0415 - only where a picture is wanted

    path.write_text(chart_of(answer), encoding="utf-8")


def _write_csv(answer: TlsReportSummary, path: Path) -> None:
    path.write_text("".join(csv_lines(_CSV_HEAD, _csv_rows(answer))), encoding="utf-8", newline="")


_CSV_HEAD = ("kind", "name", "direction", *Protection, "carried", "post_quantum", "failures", "refused")


def _csv_rows(report: TlsReportSummary) -> Iterator[tuple[object, ...]]:
    """A line for each day, partner and connector, by direction, in the columns of `_CSV_HEAD`."""
    for day, ways in report.days.items():
        for direction, counts in ways.items():
            shares = (counts[protection] for protection in Protection)
            yield ("day", day, direction, *shares, sum(counts.values()), "", "", "")
    for kind, rows in (("partner", report.partners), ("connector", report.connectors)):
        for row in rows:
            shares = (row.protections[protection] for protection in Protection)
            rest = row.carried, row.post_quantum, sum(row.failures.values()), row.refused
            yield (kind, row.name, row.direction, *shares, *rest)


def _write_json(answer: TlsReportSummary, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n")


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
    _print_part(_("domains that never offered TLS"), ("partner", "deliveries"), list(map(astuple, report.never_tls)))
    _print_part(
        _("partners ready for mandatory TLS"),
        ("partner", "deliveries", "requirement that all mail met"),
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
    if direction == Direction.INBOUND:  # a client whose TLS fails sends no mail that could be counted
        say("\ninbound: %(carried)s carried%(refused)s", carried=hops.carried, refused=refused)
    else:
        failures = quantity(sum(hops.failures.values()), "TLS failure")
        say(
            "\noutbound: %(carried)s carried%(refused)s, %(failures)s",
            carried=hops.carried,
            refused=refused,
            failures=failures,
        )
    for protection in Protection:
        count = hops.protections[protection]
        bar = "#" * round(_BAR * count / hops.carried) if hops.carried else ""
        click.echo(f"    {protection:10} {_share(count, hops.carried):>6} {count:>10}  {bar}".rstrip())
    if hops.trusted:
        share = _share(hops.trusted, hops.protections[Protection.ENCRYPTED])
        text = (
            _(
                "    of mail that was only encrypted, %(share)s came from a client with a trusted certificate",
                share=share,
            )
            if direction == Direction.INBOUND
            else _(
                "    of mail that was only encrypted, %(share)s went to a host with a trusted certificate for its name",
                share=share,
            )
        )
        click.echo(text)
    for label, counts in ((_("version"), hops.versions), (_("group"), hops.groups), (_("suite"), hops.suites)):
        if counts:
            text = ", ".join(f"{name} {_share(count, sum(counts.values()))}" for name, count in _most(counts)[:6])
            click.echo(f"    {label:10} {printable(text)}")
    if hops.carried:
        say("    post-quantum key exchange: %(post_quantum)s", post_quantum=_share(hops.post_quantum, hops.carried))
    for name, count in _most(hops.failures):
        say("    failed     %(name)s: %(count)s", name=name, count=count)


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
