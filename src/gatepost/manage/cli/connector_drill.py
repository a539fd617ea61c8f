"""`gatepost connector drill NAME|drills`: play an attacker against an outbound connector; drills that are stored."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import Any, Final

import click

from gatepost.analysis.checks.attacks import CONTROL
from gatepost.manage.cli.options import NO, UNKNOWN, client, fail, gateway_options
from gatepost.manage.cli.output import _, ours, print_rows, print_table, printable, printed_json, say, wrapped
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.cli.stored_names import connector_options
from gatepost.manage.use_cases import drills as drill_cases
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.drills import KeptDrill, ListDrills, list_drills
from gatepost.manage.use_cases.jobs import follow
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("scenario", "expected", "what happened", "the remote server saw", "the queue would show")
_MOST = 120.0  # seconds; a drill ends within 15


@click.command()
@connector_options
@click.option("--last", "show_last", is_flag=True, help="Print and verify the last stored result, and run no drill.")
@gateway_options
def drill(name: str, organization: str, direction: str | None, show_last: bool) -> None:
    """Attack outbound connector NAME on loopback, with the code that delivers mail, and count what leaks.

    First a good next hop must get the message. Then the drill strips, refuses, breaks and injects into STARTTLS; offers
    old versions; presents certificates that are self-signed, expired, incomplete, revoked, for a wrong name or from an
    unknown authority; and forges DNS. Each attack runs twice, since an attacker can wait. During an attack that the
    connector promises to stop, no MAIL command and not one octet of the message may leave; attacks out of its scope are
    listed. The drill connects to this machine only. It attacks a disabled connector, or one in rehearsal, as if it were
    enforced.

    The result is stored under evidence/drills in the data directory, with a SHA-256, and in the trace (event DRILL).

    Exit codes: 0 passed, 1 failed (or the stored result was altered), 2 usage error or bad input, 3 the drill could not
    run or be stored, or shows nothing.
    """
    run = client()
    chosen = drill_cases.choose_drilled(run.directory().resources, name, organization, direction)
    owner, connector = chosen.organization.name, chosen.connector.name
    if not show_last:
        sys.exit(_print_drill(_held(run, drill_cases.DrillConnector(organization=owner, connector=connector))))
    last = run.call(
        drill_cases.show_last_drill, drill_cases.ShowLastDrill(organization=owner, connector=connector)
    ).drill
    if last is None:
        fail(
            UNKNOWN,
            "no drill of connector %(name)s is stored; run one: gatepost connector drill %(name2)s",
            name=repr(name),
            name2=repr(name),
        )
    sys.exit(_print_last_drill(last))


def _held(run: Client, request: drill_cases.DrillConnector) -> drill_cases.HeldDrill:
    """The result, once it has ended. Raises Refusal."""

    def show(identity: str) -> drill_cases.DrillState:
        return run.call(drill_cases.show_drill, drill_cases.ShowDrill(organization=request.organization, id=identity))

    return follow(run.call(drill_cases.start_drill, request).value, show, seconds=_MOST).held


def _print_drill(found: drill_cases.HeldDrill) -> int:
    """Print a drill that was held; the exit code."""
    for trouble in found.troubles:
        click.echo(printable(trouble), err=True)
    _print(found)
    if found.unkept:
        fail(UNKNOWN, found.unkept)
    return UNKNOWN if not found.evidence else 0 if found.passed else NO


def _print_last_drill(found: drill_cases.HeldDrill) -> int:
    """Print what is kept and whether it is what was written; the exit code."""
    if found.fault:
        _print_fault(found, found.fault)
        return NO
    try:
        _print(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # somebody else made it, hash and all
        _print_fault(found, _("it does not have the format of a drill"))
        return NO
    if found.changed:
        say("the connector has changed since this drill: run another", err=True)
    own = _("by its own hash only: the trace has no row for it")
    by = _("this drill, earlier drills and the trace agree") if found.recorded else own
    say("SHA-256 verified: %(by)s", err=True, by=by)
    return 0 if found.passed else NO


def _print_fault(found: drill_cases.HeldDrill, fault: str) -> None:
    if printed_json({"evidence": found.evidence, "sha256": found.sha256, "verified": False, "fault": fault}):
        return
    click.echo(printable(f"{found.evidence}: {fault}"), err=True)
    say("evidence FAILED verification")


# what a person reads


def _print(found: drill_cases.HeldDrill) -> None:
    record = found.record
    if printed_json(record | {"evidence": found.evidence, "sha256": found.sha256, "verified": bool(found.evidence)}):
        return
    demand = record["requirement"]
    texts = dict.fromkeys(next_hop["requirement"] for next_hop in record["next_hops"])
    more = [_("profile %(profile)s", profile=demand["profile"])]
    more += (
        [_("%(min_tls_version)s or newer", min_tls_version=demand["min_tls_version"])]
        if demand["min_tls_version"]
        else []
    )
    more += (
        [_("revocation %(revocation_check)s", revocation_check=demand["revocation_check"])]
        if "revocation_check" in demand
        else []
    )
    head = _(
        "outbound connector %(connector)s of %(organization)s, configuration %(configuration)s, %(at)s",
        connector=repr(record["connector"]),
        organization=record["organization"],
        configuration=record["configuration"],
        at=record["at"],
    )
    click.echo(printable(head))
    say("requires: %(texts)s, %(more)s", texts=" or ".join(texts), more=", ".join(more))
    for note in record["notes"]:
        click.echo(wrapped(_("note: %(note)s", note=ours(note)), "  "))
    click.echo()
    _print_scenarios([_row(scenario) for scenario in record["scenarios"]])
    click.echo()
    for weakness in record["weaknesses"]:
        click.echo(wrapped(printable(ours(weakness)), "  "))
    if found.evidence:
        say("evidence: %(evidence)s", evidence=found.evidence)
        click.echo(f"sha256: {found.sha256}")
    click.echo(printable(ours(record["verdict"])))


def _row(scenario: dict[str, Any]) -> tuple[str, ...]:
    promise = "waits" if scenario["promised"] else _("out of scope")
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
        say(
            "%(title)s  %(happened)s (expected: %(expected)s)",
            title=title.ljust(widths[0]),
            happened=happened,
            expected=expected,
        )
        for line in (_("the remote server saw: %(saw)s", saw=saw), _("the queue would show: %(reply)s", reply=reply)):
            click.echo(f"{' ' * (widths[0] + 2)}{printable(line)}")


def _reply(attempt: dict[str, Any]) -> str:
    """Whole in a pipe; on a terminal its code, its word and the result type, so that a row stays a line."""
    reply = str(attempt["reply"])
    if not sys.stdout.isatty():
        return reply
    code, enhanced, *words = reply.split(" ")
    short = f"{code} {enhanced} {attempt['message'] or ' '.join(words[:6])}"
    return f"{short} ({attempt['result_type']})" if attempt["result_type"] else short


_LISTED_COLUMNS: Final = ("at", "result", "organization", "connector", "number", "verdict", "name")


@click.command()
@request_options(ListDrills)
@limit_option
@gateway_options
def drills(request: ListDrills, limit: int) -> None:
    """List drills that are stored, newest first. `connector drill NAME` runs one, and `--last` shows the last in full.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    print_rows(_LISTED_COLUMNS, all_items(client().call, list_drills, request, limit), _listed_row)


def _listed_row(drill: KeptDrill) -> tuple[object, ...]:
    result = "altered" if drill.fault else "passed" if drill.passed else "failed"
    verdict = drill.fault or drill.verdict
    return moment(drill.at), result, drill.organization, drill.connector, drill.number, verdict, drill.name
