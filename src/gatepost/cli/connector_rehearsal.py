"""`gatepost connector rehearsal`: what a connector did to real mail, or would do if it were enforced."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gatepost.administration.choice import choose_connector, instead
from gatepost.administration.parts import INBOUND as INBOUND_PART
from gatepost.administration.parts import OUTBOUND as OUTBOUND_PART
from gatepost.administration.parts import RULE
from gatepost.cli.chosen import connector_options, stored_directory
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table
from gatepost.cli.times import MOMENT
from gatepost.connectors.values import Mode
from gatepost.reports import rehearsal as reports
from gatepost.reports.rehearsal import Judged, Report, Subject
from gatepost.reports.replay import COLUMNS, INBOUND, OUTBOUND, Replay, RowReplay, enforced
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.trace_search import scan_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.administration.choice import Chosen
    from gatepost.administration.parts import PartKind
    from gatepost.connectors.match import Directory
    from gatepost.connectors.model import MailFlowRule, Organization
    from gatepost.reports.decision import Decision
    from gatepost.settings.model import Settings
    from gatepost.store.trace_search import TraceRow

__all__ = ["rehearsal"]


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
    name: str, organization: str, direction: str | None, config: str | None, *, as_json: bool, **wanted: Any
) -> None:
    """What connector NAME did to real mail: refused or held, or would have if it were enforced.

    Counted from the message trace, by peer and reason; retries of a message are not counted again. A connector with
    mode = "rehearse" judges and reports but changes nothing; for an enforced one the same report says what it did. For
    one that was disabled or new, --replay decides the mail in the trace again.

    Exit codes: 0 there was mail and nothing would have been refused or held, 1 some would have been, 2 wrong use,
    3 cannot tell (no mail to judge by, or a part of the trace cannot be read).
    """
    settings = settings_of(config)
    directory = stored_directory(settings)
    run = _Run(settings, directory, wanted["since"])
    replay: bool = wanted["replay"]
    if wanted["rule"]:
        if replay or direction == "inbound":
            fail(BAD_INPUT, "--rule goes with neither --replay nor --direction inbound: rules hold for outbound mail")
        owner, found = _choose_rule(directory, name, organization)
        formed = _formed(settings, owner.name, RULE, found)
        report = run.report(owner.name, found.name, inbound=False, rule=True, formed=formed)
        head = _head(f"mail flow rule {found.name!r} of {owner.name}", found, "outbound")
    else:
        chosen = choose_connector(directory, name, organization, direction)
        kind = INBOUND_PART if chosen.direction == "inbound" else OUTBOUND_PART
        formed = _formed(settings, chosen.organization.name, kind, chosen.connector)
        report = run.replayed(chosen) if replay else run.counted(chosen, formed)
        head = _head(chosen.label, chosen.connector, chosen.direction)
    head |= {"since": wanted["since"], "until": run.until, "replay": replay, "unreadable": run.unreadable}
    head |= {"rule": wanted["rule"], "formed": formed}
    (_print_json if as_json else _print)(head, report)
    _end(report, run.unreadable)


def _choose_rule(directory: Directory, name: str, organization: str) -> tuple[Organization, MailFlowRule]:
    known = [(one, rule) for one in directory.resources.organizations for rule in one.mail_flow_rules]
    found = [(one, rule) for one, rule in known if rule.name.lower() == name.lower() and organization in {"", one.name}]
    if not found:
        fail(BAD_INPUT, f"there is no mail flow rule {name!r}; {instead(name, (rule.name for _, rule in known))}")
    if len(found) > 1:
        owners = ", ".join(one.name for one, _ in found)
        fail(BAD_INPUT, f"each of {owners} has a mail flow rule {name!r}: say --organization")
    return found[0]


def _formed(settings: Settings, owner: str, kind: PartKind, subject: Any) -> int:
    """The version that made what is in rehearsal what it is, as far back as is looked; 0 if that does not matter."""
    if subject.mode is not Mode.REHEARSE:
        return 0  # what it did is told, in whatever form it did it
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            for limit in _CHANGES:
                found = store.history("organization", owner, limit)
                for one in found:
                    if _form(one.before, kind, subject.name) != _form(one.after, kind, subject.name):
                        return one.version
                if len(found) < limit:
                    break
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    return 0


_CHANGES = (10, 100, 1000)  # of the organization, looked at in these steps


def _form(table: dict[str, Any] | None, kind: PartKind, name: str) -> dict[str, Any] | None:
    """What is stored of it, less what changes nothing about whom it holds for and what it asks."""
    for one in (table or {}).get(kind.key, ()):
        if one.get("name") == name:
            return {key: value for key, value in one.items() if key not in {"mode", "comment"}}
    return None


def _head(label: str, subject: Any, direction: str) -> dict[str, Any]:
    return {
        "name": subject.name,
        "label": label,
        "direction": direction,
        "mode": str(subject.mode),
        "enabled": subject.enabled,
    }


class _Run:
    """One reading of the trace. unreadable: files of it that could not be read."""

    def __init__(self, settings: Settings, directory: Directory, since: float) -> None:
        self._trace = Path(settings.server.data_dir) / "trace"
        self._profile = settings.tls.profile
        self._directory = directory
        self.until = time.time()
        self._wanted = TraceFilter(since=since, until=self.until)
        self.unreadable: list[str] = []

    def counted(self, chosen: Chosen, formed: int) -> Report:
        """What the trace says that the connector did or would have done. formed: as in `Subject`."""
        inbound = chosen.direction == "inbound"
        return self.report(chosen.organization.name, chosen.connector.name, inbound=inbound, formed=formed)

    def report(self, owner: str, name: str, *, inbound: bool, rule: bool = False, formed: int = 0) -> Report:
        """The same of a connector or a rule by its name."""

        def ours(organization: str, recipient: str) -> bool:
            if organization == owner:
                return True
            found = self._directory.organization_of(recipient.rpartition("@")[2].lower())
            return found is not None and found.name == owner

        subject = Subject(owner, name, rule, ours, formed)
        rows = self._scan(reports.COLUMNS, INBOUND if inbound else OUTBOUND)
        return reports.inbound_report(rows, subject) if inbound else reports.outbound_report(rows, subject)

    def replayed(self, chosen: Chosen) -> Report:
        """What the connector would have done to all mail, were it enforced."""
        owner = chosen.organization.name
        directory = enforced(self._directory, owner, chosen.connector)
        rows = RowReplay([Replay(directory, self._profile, self._directory)])
        events = INBOUND if chosen.direction == "inbound" else OUTBOUND
        width = len(reports.COLUMNS)

        def decided() -> Iterator[tuple[TraceRow, Decision]]:
            for row in self._scan((*reports.COLUMNS, *COLUMNS), events):
                yield row[:width], rows.decide(row[width:])[0]

        return reports.replayed_report(decided(), owner, chosen.connector.name)

    def _scan(self, columns: tuple[str, ...], events: tuple[str, ...]) -> Iterator[TraceRow]:
        return scan_trace(self._trace, self._wanted, columns, events=events, unreadable=self.unreadable)


def _end(report: Report, unreadable: list[str]) -> NoReturn:
    """The exit code is the answer."""
    for name in unreadable:
        click.echo(f"{name} of the trace cannot be read, so that some mail is not counted", err=True)
    if report.answer is False:
        raise SystemExit(NO)
    raise SystemExit(UNKNOWN if unreadable or report.answer is None else 0)


# ------------------------------------------------------------------------------------------------ printing


def _words(head: dict[str, Any]) -> tuple[str, str]:
    """How this report calls what passed and what failed."""
    inbound = head["direction"] == "inbound"
    if head["replay"] or head["mode"] == Mode.REHEARSE:
        return ("would pass", "would be refused") if inbound else ("would be sent", "would be held")
    return ("accepted", "refused") if inbound else ("sent", "held")


def _print(head: dict[str, Any], report: Report) -> None:
    passed, failed = _words(head)
    state = "replayed as if enforced" if head["replay"] else f"mode {head['mode']}"
    state += "" if head["enabled"] else ", disabled"
    click.echo(f"{head['label']} ({state}), {moment(head['since'])} to {moment(head['until'])}")
    counts = report.counts
    unknown = "cannot tell" if head["replay"] else "not judged"
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
        rows = [(peer, *(found[one] for one in Judged), moment(last)) for peer, found, last in report.peers()]
        print_table(("peer", passed, failed, unknown, "last"), rows)
        click.echo("\nby day (UTC):")
        days = sorted(report.days.items())
        print_table(("day", passed, failed, unknown), [(day, *(found[one] for one in Judged)) for day, found in days])
        click.echo("")
    click.echo(_conclusion(head, report))


_COLUMNS = ("peer", "host", "reason", "messages", "first", "last", "sample", "why")


def _group_row(group: reports.Group) -> tuple[Any, ...]:
    reason = f"{group.reason} ({group.result_type})" if group.result_type else group.reason
    times = moment(group.first), moment(group.last)
    return group.peer, group.host, reason, group.messages, *times, group.sample, group.why


def _conclusion(head: dict[str, Any], report: Report) -> str:
    trial = head["replay"] or head["mode"] == Mode.REHEARSE
    failed = _words(head)[1]
    match report.answer:
        case False:
            sample = report.failed()[0].sample
            start = "not ready to enforce: " if trial else ""
            count = f"{report.counts[Judged.FAILED]} of {report.messages} messages"
            return f"{start}{count} {_past(failed)}; see one with: gatepost trace show {sample}"
        case True:
            rest = report.counts[Judged.UNKNOWN]
            but = f", but {rest} could not be judged" if rest else ""
            return ("ready to enforce: " if trial else "") + f"none of {report.messages} messages {_past(failed)}{but}"
        case None if report.messages:
            hint = "" if head["replay"] or head["rule"] or not head["formed"] else "; --replay decides them again"
            return f"cannot tell: none of the messages could be judged{hint}"
        case None:
            hint = "" if head["replay"] or head["enabled"] else "; it is disabled: --replay decides past mail again"
            return f"cannot tell: no mail met it in this time{hint}"


def _past(failed: str) -> str:
    return failed.replace("would be", "would have been") if failed.startswith("would") else f"were {failed}"


def _print_json(head: dict[str, Any], report: Report) -> None:
    groups = [_group_json(group) for group in (*report.failed(), *report.unknown())]
    peers = [{"peer": peer, **_counts(found), "last": last} for peer, found, last in report.peers()]
    print_json(
        head
        | {"answer": report.answer, "messages": report.messages, **_counts(report.counts), "waited": report.waited}
        | {"groups": groups, "peers": peers}
        | {"days": [{"day": day, **_counts(found)} for day, found in sorted(report.days.items())]}
    )


def _counts(found: dict[Judged, int]) -> dict[str, int]:
    return {"passed": found[Judged.PASSED], "failed": found[Judged.FAILED], "unknown": found[Judged.UNKNOWN]}


def _group_json(group: reports.Group) -> dict[str, Any]:
    return {
        "peer": group.peer,
        "host": group.host,
        "judged": str(group.judged),
        "reason": group.reason,
        "result_type": group.result_type,
        "messages": group.messages,
        "first": group.first,
        "last": group.last,
        "sample": group.sample,
        "why": group.why,
    }
