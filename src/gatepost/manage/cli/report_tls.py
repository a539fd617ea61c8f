"""`gatepost report tls` and `report connectors`: how mail was protected, from the message trace."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.reports.tls import Wanted
from gatepost.analysis.reports.tls_record import CSV_COLUMNS, csv_rows, report_record
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option
from gatepost.manage.cli.report_tls_text import CONNECTOR_COLUMNS, connector_rows, print_report
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases.reports import DAYS, Period, connectors_record, tls_report
from gatepost.manage.use_cases.spreadsheet import csv_lines
from gatepost.node.privileges import as_caller
from gatepost.protocols.tls.names import normalise
from gatepost.store.trace_files import day_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.analysis.reports.tls import TlsReport


_BEFORE = (DAYS - 1) * 86400.0  # the last day is one of them
_since = click.option(
    "--since", type=MOMENT, default=0.0, help="From that UTC day on: 7d or a date; default: 30 days with the last."
)
_until = click.option("--until", type=MOMENT, default=0.0, help="Up to that UTC day, with it; default: today.")


@click.command()
@_since
@_until
@click.option("--organization", default="", help="Only this organization's mail.")
@click.option("--partner", default="", metavar="DOMAIN", help="Only mail of this partner's domain.")
@click.option("--connector", default="", help="Only mail by this connector.")
@click.option("--at-least", default=10, type=click.IntRange(1), show_default=True, help="Messages of a ready partner.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write a file: .svg, .png, .csv or .json.")
@config_option
@json_option
def tls(*, since: float, until: float, output: Path | None, config: str | None, as_json: bool, **wanted: Any) -> None:
    """How mail was protected: by DANE, MTA-STS, a verified name, TLS with any certificate, or not at all.

    Counts a row of the trace for each recipient and hop, of whole days, today as far as it has gone: what was received,
    what was sent on, and what failed for TLS, by result type (RFC 8460). Names the domains that never offered TLS, and
    the partners of whose mail TLS could be demanded, as all of it would have passed. Pictures need gatepost[charts].

    Exit codes: 0 there was mail, 1 none, 2 wrong use, 3 a file of the trace cannot be read.
    """
    if wanted["partner"] and not normalise(wanted["partner"]):
        fail(BAD_INPUT, f"--partner {wanted['partner']!r} is no domain name")
    writer = _writer(output) if output else None
    report = _report(config, since, until, Wanted(**wanted))
    if writer is not None and output is not None:
        _write(writer, report, output)
    elif as_json:
        print_json(report_record(report))
    else:
        print_report(report)
    _end(report)


@click.command()
@_since
@_until
@click.option("--organization", default="", help="Only this organization's mail.")
@config_option
@json_option
def connectors(since: float, until: float, organization: str, config: str | None, as_json: bool) -> None:
    """What each connector carried and how it was protected; "-" is mail that no connector was for.

    Exit codes: 0 there was mail, 1 none, 2 wrong use, 3 a file of the trace cannot be read.
    """
    report = _report(config, since, until, Wanted(organization), most=1)  # partners are not asked for
    if as_json:
        print_json(connectors_record(report))
    else:
        print_table(CONNECTOR_COLUMNS, list(connector_rows(report.connectors)))
    _end(report)


def _report(config: str | None, since: float, until: float, wanted: Wanted, most: int = 0) -> TlsReport:
    go = door(config)
    now = time.time()
    first, last = day_of(since or (until or now) - _BEFORE), day_of(until or now)
    if first > last:
        fail(BAD_INPUT, f"--since {first} is after --until {last}")
    return go(tls_report, wanted, Period(first, last), most)


def _end(report: TlsReport) -> None:
    if report.unreadable:
        fail(UNKNOWN, f"not counted, as they cannot be read: {', '.join(report.unreadable)}")
    if not any(hops.carried or hops.refused or hops.failures for hops in report.hops.values()):
        fail(NO, f"no such mail from {report.first} to {report.last}")


def _writer(path: Path) -> Callable[[TlsReport, Path], None]:
    """What makes a file of its kind; known before the trace is read."""
    from gatepost.manage.cli.chart import draw  # noqa: PLC0415 - only where a file is wanted

    writers = {".svg": draw, ".png": draw, ".csv": _write_csv, ".json": _write_json}
    if path.suffix not in writers:
        fail(BAD_INPUT, f"{printable(path)}: the name must end in {', '.join(writers)}, which says what is written")
    return writers[path.suffix]


def _write(writer: Callable[[TlsReport, Path], None], report: TlsReport, path: Path) -> None:
    try:
        with as_caller():
            writer(report, path)
    except ImportError:
        fail(BAD_INPUT, "pictures need the extra gatepost[charts], which is not installed; .csv and .json do not")
    except OSError as error:
        fail(BAD_INPUT, f"{printable(path)} cannot be written: {error.strerror}")
    click.echo(f"wrote {printable(path)}", err=True)


def _write_csv(report: TlsReport, path: Path) -> None:
    path.write_text("".join(csv_lines(CSV_COLUMNS, csv_rows(report))), encoding="utf-8", newline="")


def _write_json(report: TlsReport, path: Path) -> None:
    import msgspec  # noqa: PLC0415 - the only use

    path.write_bytes(msgspec.json.format(msgspec.json.encode(report_record(report)), indent=2) + b"\n")
