"""`gatepost connector drill NAME`: play an attacker against an outbound connector and show that nothing leaves."""

from __future__ import annotations

import asyncio
import logging
import sys
import textwrap
import time
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from gatepost import __version__
from gatepost.administration.choice import choose_connector
from gatepost.administration.evidence_log import evidence_log
from gatepost.checks.attacks import CONTROL
from gatepost.checks.drill import DrillImpossible, run_drill
from gatepost.checks.drill_report import resource_of
from gatepost.checks.evidence import drills_directory, keep, last, previous
from gatepost.cli.chosen import connector_options, stored_directory
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json, print_table, printable
from gatepost.connectors.model import OutboundConnector
from gatepost.store.interface import StoreFailure, TraceEvent, TraceFilter
from gatepost.store.trace import write_events
from gatepost.store.trace_search import search_trace

if TYPE_CHECKING:
    from gatepost.administration.choice import Chosen
    from gatepost.checks.drill_report import DrillReport
    from gatepost.checks.evidence import Kept
    from gatepost.connectors.match import Directory
    from gatepost.settings.model import Settings

__all__ = ["drill"]

_COLUMNS = ("scenario", "expected", "what happened", "the far end saw", "the queue would show")
_ROWS = 1000


@click.command()
@connector_options
@click.option("--last", "show_last", is_flag=True, help="Print the last kept result, checked, and hold no drill.")
@config_option
@json_option
def drill(
    name: str, organization: str, direction: str | None, show_last: bool, config: str | None, as_json: bool
) -> None:
    """Attack outbound connector NAME on loopback, with the code that delivers, and count what a far end would get.

    First a good next hop must get the message. Then STARTTLS is stripped, refused, broken and injected, versions are
    too old, certificates self-signed, of an unknown authority, expired, incomplete, of a wrong name or revoked, the DNS
    forged; each twice, since an attacker can wait. What the connector promises to stop must leave no MAIL and not one
    octet; what it does not promise to stop is named. Nobody is connected to but this machine. A disabled connector, or
    one in rehearsal, is attacked as if it were in force.

    The result is kept under evidence/drills in the data directory, with a SHA-256, and in the trace (event DRILL).

    Exit codes: 0 passed, 1 not (or the kept result was changed), 2 wrong use or bad input, 3 the drill could not be
    held or kept, or shows nothing.
    """
    settings = settings_of(config)
    directory = stored_directory(settings)
    chosen = choose_connector(directory.resources, name, organization, direction or _outbound(directory, name))
    connector = chosen.connector
    if not isinstance(connector, OutboundConnector):
        fail(BAD_INPUT, f"{chosen.label}: drills are for outbound connectors; try: gatepost connector validate {name}")
    logging.getLogger("gatepost").addHandler(logging.NullHandler())  # what an attack makes of a message is no news
    if show_last:
        sys.exit(_show_last(settings, chosen, connector, as_json=as_json))
    try:
        report = asyncio.run(run_drill(settings, directory, chosen.organization, connector))
    except DrillImpossible as impossible:
        fail(UNKNOWN, f"{chosen.label}: {impossible}")
    sys.exit(_conclude(settings, report, as_json=as_json))


def _outbound(directory: Directory, name: str) -> str | None:
    """An inbound connector of the same name makes no doubt: it cannot be meant."""
    names = (one.name for whose in directory.resources.organizations for one in whose.outbound_connectors)
    return "outbound" if name.lower() in {one.lower() for one in names} else None


def _conclude(settings: Settings, report: DrillReport, *, as_json: bool) -> int:
    """Keep and print; the exit code."""
    record = report.record() | {"gatepost": __version__, "hostname": settings.server.hostname}
    if not report.arrived:
        _print(record, None, as_json=as_json)
        return UNKNOWN
    try:
        kept = keep(drills_directory(Path(settings.server.data_dir)), record)
    except (OSError, StoreFailure) as error:
        _print(record, None, as_json=as_json)
        fail(UNKNOWN, f"the result cannot be kept as evidence: {error}")
    _trace(settings, report, kept)
    _print(kept.record, kept, as_json=as_json)
    return 0 if report.passed else NO


def _trace(settings: Settings, report: DrillReport, kept: Kept) -> None:
    """One row, which holds the hash too: a file that is changed later no longer agrees with it."""
    scene = report.scene
    event = TraceEvent(
        at=time.time(),
        event="DRILL",
        message="",
        organization=scene.organization,
        direction="",
        session="",
        sender="",
        recipient="",
        connector=scene.connector.name,
        requirement=kept.record["requirement"]["text"],
        reply=report.verdict,
        detail={
            "configuration": scene.directory.version,
            "passed": report.passed,
            "attacks": len(report.played),
            "messages_left": kept.record["messages_left"],
            "file": kept.path.name,
            "sha256": kept.sha256,
        },
    )
    try:
        write_events(Path(settings.server.data_dir) / "trace", "admin", [event])
    except StoreFailure as failure:
        click.echo(f"the trace has no row of this drill: {failure}", err=True)
    try:
        evidence_log(settings)([event])
    except StoreFailure as failure:
        click.echo(f"the evidence log has no entry of this drill: {failure}", err=True)


# the last one


def _show_last(settings: Settings, chosen: Chosen, connector: OutboundConnector, *, as_json: bool) -> int:
    """Print what is kept and whether it is what was written; the exit code."""
    data = Path(settings.server.data_dir)
    directory = drills_directory(data)
    try:
        kept = last(directory, chosen.organization.name, chosen.connector.name)
        fault = (kept.fault or previous(directory, kept)) if kept else ""
    except OSError as error:
        fail(UNKNOWN, f"{directory}: {error.strerror}")
    if kept is None:
        fail(UNKNOWN, f"{chosen.label}: no drill is kept; hold one: gatepost connector drill {connector.name!r}")
    recorded = _recorded(data, chosen, kept)
    if not fault and recorded not in {"", kept.sha256}:
        fault = f"the trace recorded another SHA-256 for it: {recorded}"
    if fault:
        _print_fault(kept, fault, as_json=as_json)
        return NO
    try:
        _print(kept.record, kept, as_json=as_json)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # somebody else made it, hash and all
        _print_fault(kept, "it has not the form of a drill", as_json=as_json)
        return NO
    if kept.record.get("resource") != resource_of(connector):
        click.echo("the connector has been changed since this drill: hold another", err=True)
    by = "it, the drills before it and the trace agree" if recorded else "by its own alone: the trace has no row of it"
    click.echo(f"SHA-256 verified: {by}", err=True)
    return 0 if kept.record.get("passed") is True else NO


def _recorded(data: Path, chosen: Chosen, kept: Kept) -> str:
    """The hash of that file by the trace, "" if it has none."""
    wanted = TraceFilter(
        organization=chosen.organization.name, connector=chosen.connector.name, event="DRILL", limit=_ROWS
    )
    rows = search_trace(data / "trace", wanted)
    found = (str(row.detail.get("sha256", "")) for row in rows if row.detail.get("file") == kept.path.name)
    return next(found, "")


def _print_fault(kept: Kept, fault: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"evidence": str(kept.path), "sha256": kept.sha256, "verified": False, "fault": fault})
        return
    click.echo(printable(f"{kept.path}: {fault}"), err=True)
    click.echo("evidence NOT verified")


# what a person reads


def _print(record: dict[str, Any], kept: Kept | None, *, as_json: bool) -> None:
    if as_json:
        place = {"evidence": str(kept.path) if kept else "", "sha256": kept.sha256 if kept else ""}
        print_json(record | place | {"verified": kept is not None})
        return
    demand = record["requirement"]
    texts = dict.fromkeys(one["requirement"] for one in record["next_hops"])
    more = [f"profile {demand['profile']}"]
    more += [f"{demand['min_tls_version']} or newer"] if demand["min_tls_version"] else []
    more += [f"revocation {demand['revocation_check']}"] if "revocation_check" in demand else []
    head = f"outbound connector {record['connector']!r} of {record['organization']}, configuration "
    click.echo(printable(f"{head}{record['configuration']}, {record['at']}"))
    click.echo(printable(f"demands: {' or '.join(texts)}, {', '.join(more)}"))
    for note in record["notes"]:
        click.echo(_wrapped(f"note: {note}"))
    click.echo()
    _print_scenarios([_row(one) for one in record["scenarios"]])
    click.echo()
    for weakness in record["weaknesses"]:
        click.echo(_wrapped(weakness))
    if kept is not None:
        click.echo(printable(f"evidence: {kept.path}"))
        click.echo(f"sha256: {kept.sha256}")
    click.echo(printable(record["verdict"]))


def _row(scenario: dict[str, Any]) -> tuple[str, ...]:
    promise = "held" if scenario["promised"] else "not promised"
    expected = "arrives" if scenario["scenario"] == CONTROL else promise
    decisive = scenario["attempts"][-1]
    return scenario["title"], expected, scenario["happened"], scenario["far_end_saw"], _reply(decisive)


def _print_scenarios(rows: list[tuple[str, ...]]) -> None:
    """A table where it fits, else three lines for each scenario."""
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    if not sys.stdout.isatty() or sum(widths) + 2 * len(widths) <= get_terminal_size().columns:
        print_table(_COLUMNS, rows)
        return
    for title, expected, happened, saw, reply in rows:
        click.echo(printable(f"{title.ljust(widths[0])}  {happened} (expected: {expected})"))
        for line in (f"the far end saw: {saw}", f"the queue would show: {reply}"):
            click.echo(f"{' ' * (widths[0] + 2)}{printable(line)}")


def _reply(attempt: dict[str, Any]) -> str:
    """Whole in a pipe; on a terminal its code, its word and the result type, so that a row stays a line."""
    reply = str(attempt["reply"])
    if not sys.stdout.isatty():
        return reply
    code, enhanced, *words = reply.split(" ")
    short = f"{code} {enhanced} {attempt['message'] or ' '.join(words[:6])}"
    return f"{short} ({attempt['result_type']})" if attempt["result_type"] else short


def _wrapped(text: str) -> str:
    """Lines as wide as the terminal; one line in a pipe."""
    text = printable(text)
    if not sys.stdout.isatty():
        return text
    return textwrap.fill(text, max(60, get_terminal_size().columns), subsequent_indent="  ", break_on_hyphens=False)
