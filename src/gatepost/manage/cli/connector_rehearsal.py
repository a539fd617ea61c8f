"""`gatepost connector rehearsal`: what a connector did to real mail, or would do if it were enforced."""

from __future__ import annotations

from typing import Any, NoReturn

import click
from msgspec.structs import replace

from gatepost.manage.cli.options import NO, UNKNOWN, client, gateway_options
from gatepost.manage.cli.output import _, ours, print_table, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.stored_names import connector_options
from gatepost.manage.use_cases.rehearsal import RehearsalGroup, RehearsalQuestion, RehearsalReport, show_rehearsal
from gatepost.manage.use_cases.times import stamp as moment


@click.command()
@connector_options
@request_options(RehearsalQuestion, name="", organization="", direction="")
@gateway_options
def rehearsal(request: RehearsalQuestion, **asked: Any) -> None:
    """Show what connector NAME did to real mail, or would have done if it were enforced: refused or held.

    The report counts messages in the message trace, by peer and reason, without retries. A connector with mode =
    "rehearse" judges and reports but changes nothing; for an enforced connector, the same report shows what it did. For
    a connector that was disabled or is new, --replay decides the mail in the trace again.

    Exit codes: 0 there was mail and nothing would have been refused or held, 1 some would have been, 2 usage error, 3
    inconclusive (no mail to judge by, or a part of the trace cannot be read).
    """
    question = replace(request, **{name: value or "" for name, value in asked.items()})
    report = client().call(show_rehearsal, question)
    if not printed_json(report):
        _print(report)
    _end(report)


def _end(report: RehearsalReport) -> NoReturn:
    """The exit code is the answer."""
    for name in report.unreadable:
        say("%(name)s of the trace cannot be read, so some mail is not counted", err=True, name=name)
    if report.answer is False:
        raise SystemExit(NO)
    raise SystemExit(UNKNOWN if report.unreadable or report.answer is None else 0)


# ------------------------------------------------------------------------------------------------ printing


def _print(report: RehearsalReport) -> None:
    passed, failed = map(ours, report.words)
    state = _("replayed as if enforced") if report.replay else _("mode %(mode)s", mode=report.mode)
    state += "" if report.enabled else _(", disabled")
    say(
        "%(label)s (%(state)s), %(since)s to %(until)s",
        label=ours(report.label),
        state=state,
        since=moment(report.since),
        until=moment(report.until),
    )
    unknown = _("inconclusive") if report.replay else _("not judged")
    line = _(
        "messages %(messages)s: %(passed)s %(passed2)s, %(failed)s %(failed2)s",
        messages=report.messages,
        passed=passed,
        passed2=report.passed,
        failed=failed,
        failed2=report.failed,
    )
    click.echo(f"{line}, {unknown} {report.unknown}")
    if report.waited:
        say("of those sent, %(waited)s waited first, because the requirement was not met", waited=report.waited)
    for title, groups in ((failed, report.failed_groups), (unknown, report.unknown_groups)):
        if groups:
            say("\n%(title)s, by peer and reason:", title=title)
            print_table(_COLUMNS, (_group_row(group) for group in groups))
    if report.messages:
        say("\nby peer:")
        peers = [(peer.peer, peer.passed, peer.failed, peer.unknown, moment(peer.last)) for peer in report.peers]
        print_table(("peer", passed, failed, unknown, "last"), peers)
        say("\nby day (UTC):")
        days = [(day.day, day.passed, day.failed, day.unknown) for day in report.days]
        print_table(("day", passed, failed, unknown), days)
        click.echo("")
    click.echo(ours(report.conclusion))


_COLUMNS = ("peer", "host", "reason", "messages", "first", "last", "sample", "why")


def _group_row(group: RehearsalGroup) -> tuple[Any, ...]:
    reason = f"{group.reason} ({group.result_type})" if group.result_type else group.reason
    times = moment(group.first), moment(group.last)
    return group.peer, group.host, reason, group.messages, *times, group.sample, group.why
