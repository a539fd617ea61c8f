"""`gatepost connector rehearsal`: what a connector did to real mail, or would do if it were enforced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from gatepost.analysis.rehearsal.rehearsal import Judged
from gatepost.manage.cli.chosen import connector_options
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, UNKNOWN, config_option, json_option
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.cli.times import MOMENT
from gatepost.manage.use_cases.rehearsal import Question, conclusion, rehearsal_record
from gatepost.manage.use_cases.rehearsal import rehearsal as rehearsed
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.analysis.rehearsal.rehearsal import Group, Report
    from gatepost.manage.use_cases.rehearsal import Rehearsal


@click.command()
@connector_options
@click.option("--rule", is_flag=True, help="NAME is that of a mail flow rule.")
@click.option("--since", type=MOMENT, default="30d", show_default=True, help="From then on: 2h, 7d or a date.")
@click.option(
    "--replay",
    is_flag=True,
    help="Decide all mail of that time again, as if the connector had been enforced; it need not have been enabled.",
)
@config_option
@json_option
def rehearsal(
    name: str, organization: str, direction: str | None, config: str | None, *, as_json: bool, **asked: Any
) -> None:
    """What connector NAME did to real mail: refused or held, or would have if it were enforced.

    Counted from the message trace, by peer and reason; retries of a message are not counted again. A connector with
    mode = "rehearse" judges and reports but changes nothing; for an enforced one the same report says what it did. For
    one that was disabled or new, --replay decides the mail in the trace again.

    Exit codes: 0 there was mail and nothing would have been refused or held, 1 some would have been, 2 wrong use,
    3 cannot tell (no mail to judge by, or a part of the trace cannot be read).
    """
    found = door(config)(rehearsed, Question(name, asked.pop("since"), organization, direction, **asked))
    if as_json:
        print_json(rehearsal_record(found))
    else:
        _print(found)
    _end(found.report, found.unreadable)


def _end(report: Report, unreadable: list[str]) -> NoReturn:
    """The exit code is the answer."""
    for name in unreadable:
        click.echo(f"{name} of the trace cannot be read, so that some mail is not counted", err=True)
    if report.answer is False:
        raise SystemExit(NO)
    raise SystemExit(UNKNOWN if unreadable or report.answer is None else 0)


# ------------------------------------------------------------------------------------------------ printing


def _print(found: Rehearsal) -> None:
    question, report = found.question, found.report
    passed, failed = found.words
    state = "replayed as if enforced" if question.replay else f"mode {found.mode}"
    state += "" if found.enabled else ", disabled"
    click.echo(f"{found.label} ({state}), {moment(question.since)} to {moment(found.until)}")
    counts = report.counts
    unknown = "cannot tell" if question.replay else "not judged"
    line = f"messages {report.messages}: {passed} {counts[Judged.PASSED]}, {failed} {counts[Judged.FAILED]}"
    click.echo(f"{line}, {unknown} {counts[Judged.UNKNOWN]}")
    if report.waited:
        click.echo(f"of those sent, {report.waited} waited before, because the demand was not met at first")
    for title, groups in ((failed, report.failed()), (unknown, report.unknown())):
        if groups:
            click.echo(f"\n{title}, by peer and reason:")
            print_table(_COLUMNS, [_group_row(group) for group in groups])
    if report.messages:
        click.echo("\nby peer:")
        rows = [(peer, *map(judged.get, Judged), moment(last)) for peer, judged, last in report.peers()]
        print_table(("peer", passed, failed, unknown, "last"), rows)
        click.echo("\nby day (UTC):")
        days = sorted(report.days.items())
        print_table(("day", passed, failed, unknown), [(day, *map(judged.get, Judged)) for day, judged in days])
        click.echo("")
    click.echo(conclusion(found))


_COLUMNS = ("peer", "host", "reason", "messages", "first", "last", "sample", "why")


def _group_row(group: Group) -> tuple[Any, ...]:
    reason = f"{group.reason} ({group.result_type})" if group.result_type else group.reason
    times = moment(group.first), moment(group.last)
    return group.peer, group.host, reason, group.messages, *times, group.sample, group.why
