"""`gatepost connector validate NAME`: try a connector, each step a named task, with advice where it fails."""

from __future__ import annotations

import shlex
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from msgspec.structs import replace

from gatepost.analysis.checks.tasks import CheckResult, Task, TaskStatus, task_of
from gatepost.manage.cli.changes import print_warnings
from gatepost.manage.cli.named_files import read_file
from gatepost.manage.cli.options import BAD_INPUT, NO, UNKNOWN, client, fail, gateway_options
from gatepost.manage.cli.output import _, ours, print_dialogue, printable, printed_json, progress, wrapped, writes
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.resources import applied, read_document
from gatepost.manage.cli.stored_names import connector_options
from gatepost.manage.use_cases.jobs import follow
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import seen_issuers
from gatepost.manage.use_cases.resource_cases import ApplyResources
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.validation import MOST_PEM
from gatepost.manage.use_cases.validation_runs import (
    SECONDS,
    Record,
    ShowValidation,
    ValidateConnector,
    ValidationState,
    show_validation,
    start_validation,
)
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.resources import PrefixLimits, Resources
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.manage.use_cases.client import Client


_MARKS = {
    TaskStatus.SUCCEEDED: ("✓", N_("ok")),
    TaskStatus.FAILED: ("✗", N_("FAILED")),
    TaskStatus.WARNING: ("!", N_("warning")),
    TaskStatus.SKIPPED: ("\N{EN DASH}", N_("skipped")),
}
_UNKNOWN = ("?", N_("unknown"))
_STATUS = {CheckResult.VALIDATED: 0, CheckResult.NOT_VALIDATED: NO, CheckResult.UNKNOWN: UNKNOWN}
_INDENT = 20
_NOTEWORTHY = 0.01  # seconds
_WAIT = 1.0  # seconds that a call waits for the end: whoever looks on sees tasks go on
_MARGIN = 60.0


_OPTIONS = {"recipients": "recipient", "reverse_path": "from", "forward_path": "to", "since": "within"}


def _wrong(refusal: Refusal) -> NoReturn:
    """End the command, what is wrong by the options to blame."""
    blamed: dict[str, list[str]] = {}
    for error in refusal.errors:
        blamed.setdefault(error.message, []).append(f"--{_OPTIONS.get(error.path, error.path)}")
    fail(BAD_INPUT, "\n".join(f"{', '.join(options)}: {text}" for text, options in blamed.items()))


@click.command()
@connector_options
@click.option(
    "-f",
    "--file",
    "draft",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Read the resources from this file, as apply would. The connector need not be stored.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Inbound: a client certificate, PEM, leaf first. Needs --ip and --from.",
)
@request_options(
    ValidateConnector, organization="", connector="", direction="", certificate="", resources=None, wait=_WAIT
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Outbound: show the SMTP dialogue with each host, up to the last EHLO."
)
@gateway_options
def validate(request: ValidateConnector, draft: Path | None, **asked: Any) -> None:
    """Validate connector NAME, enabled or not: each step is a task, and a failed task says what to do and who must act.

    Outbound: every next hop is resolved, connected to and judged as for a message; with --recipient a test message goes
    to the first host that passed. Inbound: the configuration is checked and recent mail is counted. A captured session
    (--session), or a certificate and address (--certificate, --ip, --from), is decided by the connector. Nothing
    changes except the stored result, which lists show.

    Exit codes: 0 validated, 1 not validated, 2 usage error or bad input, 3 inconclusive.
    """
    run = client()
    document = None if draft is None else _draft(draft)
    named = (asked["name"], asked["organization"], asked["direction"])
    chosen = choose_connector(_resources(run, document), *named)
    certificate = read_file(asked["certificate"], MOST_PEM, "--certificate: ") if asked["certificate"] else b""
    wanted = replace(
        request,
        organization=chosen.organization.name,
        connector=chosen.connector.name,
        direction=chosen.direction,
        certificate=certificate.decode("utf-8", "replace"),
        resources=document,
    )
    try:
        record = _validated(run, wanted)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.INPUT and refusal.errors:
            _wrong(refusal)
        raise
    finally:
        progress("")
    if not printed_json(record | {"draft": str(draft) if draft else ""}):
        _print(record, draft, verbose=asked["verbose"])
    sys.exit(_STATUS[CheckResult(record["outcome"])])


def _validated(run: Client, request: ValidateConnector) -> Record:
    """The result, once it has ended. Raises Refusal."""

    def show(identity: str) -> ValidationState:
        return run.call(show_validation, ShowValidation(organization=request.organization, id=identity, wait=_WAIT))

    return follow(run.call(start_validation, request).value, show, _progress, SECONDS + _MARGIN).record


def _resources(run: Client, draft: Mapping[str, Any] | None) -> Resources:
    """Those in force, with the organizations of a draft in place of their own."""
    stored = run.directory().resources
    if draft is None:
        return stored
    try:
        drafted = parse(draft, prefixes=PrefixLimits(0, 0)).organizations
    except ResourceErrors as errors:
        raise Refusal(RefusalKind.INPUT, _("Not tested."), errors.errors) from errors
    names = {organization.name for organization in drafted}
    return Resources(
        (*drafted, *(organization for organization in stored.organizations if organization.name not in names))
    )


def _draft(file: Path) -> dict[str, Any]:
    """The organizations of a file, which can be applied; ends the command with every error if they cannot."""
    document = read_document(file)
    request = ApplyResources(document=document, since="")
    print_warnings(applied(file, client(), request, dry_run=True), standing=True)
    return document


def _progress(state: ValidationState) -> None:
    if state.result is not None:
        progress(progress_line(state.result))


def progress_line(record: dict[str, Any]) -> str:
    """Progress in one line: of each host the task that runs, after the one that ended last."""
    running = [_running(host["host"], host["tasks"]) for host in record["hosts"]]
    return "; ".join(filter(None, [*running, _running("", record["tasks"])]))


def _running(host: str, tasks: Sequence[dict[str, Any]]) -> str:
    place = next((place for place, task in enumerate(tasks) if task["status"] == TaskStatus.RUNNING), None)
    if place is None:
        return ""
    before = tasks[place - 1] if place else None
    name = tasks[place]["name"]
    head = f"{host}: " if host else ""
    if before is None:
        return f"{head}{name} …"
    sign = _MARKS.get(TaskStatus(before["status"]), _UNKNOWN)[1]
    return f"{head}{before['name']} {_(sign)} ({before['detail']}); {name} …"


# what a person reads


def _print(record: dict[str, Any], draft: Path | None, *, verbose: bool) -> None:
    source = (
        _("draft in %(draft)s", draft=draft)
        if draft
        else _("configuration %(configuration)s", configuration=record["configuration"])
    )
    label = _(
        "%(direction)s connector %(connector)s of %(organization)s",
        direction=record["direction"],
        connector=repr(record["connector"]),
        organization=record["organization"],
    )
    click.echo(f"{printable(label)}, {source}, {moment(record['at'])}")
    for host in record["hosts"]:
        click.echo(f"\n{_heading(host)}")
        _print_tasks([task_of(task) for task in host["tasks"]])
        if verbose and host["transcript"]:
            print_dialogue(host["transcript"])
    if record["tasks"]:
        click.echo()
        _print_tasks([task_of(task) for task in record["tasks"]])
    click.echo()
    for line in () if draft else issuer_lines(record):
        click.echo(wrapped(printable(line), "    "))
    for note in record["notes"]:
        click.echo(wrapped(_("note: %(note)s", note=ours(note)), "      "))
    click.echo(printable(ours(record["verdict"])))


def issuer_lines(record: dict[str, Any]) -> Iterator[str]:
    """Authorities that only lack trust, with what trusts them once the partner has confirmed the fingerprint."""
    for issuer in seen_issuers(record):
        yield _("issuer seen: %(subject)s, SHA-256 %(digits)s", subject=issuer.subject, digits=issuer.fingerprint)
        command = shlex.join(["gatepost", "connector", "trust", record["connector"], issuer.sha256])
        yield _("  once the partner has confirmed it over another channel: %(command)s", command=command)


def _heading(host: dict[str, Any]) -> str:
    return printable(f"{host['host']} ({host['address']})" if host["address"] else host["host"])


def _print_tasks(tasks: Sequence[Task]) -> None:
    """Each task, its facts one a line; those that were skipped for the same reason together."""
    for (status, _detail), group in groupby(tasks, lambda task: (task.status, task.detail)):
        same = list(group)
        if status is TaskStatus.SKIPPED and len(same) > 1:
            names = ", ".join(ours(task.name) for task in same)
            click.echo(wrapped(f"{_head(status, _('skipped'))}{names}: {printable(ours(same[0].text))}", " " * _INDENT))
            continue
        for task in same:
            _print_task(task)


def _print_task(task: Task) -> None:
    first, *others = (printable(ours(line)) for line in task.detail.split("\n"))
    seconds = f" ({task.seconds:.2f} s)" if task.seconds >= _NOTEWORTHY else ""
    click.echo(wrapped(f"{_head(task.status, ours(task.name), is_ours=task.ours)}{first}{seconds}", " " * _INDENT))
    for fact in others:
        click.echo(wrapped(f"{' ' * _INDENT}{fact}", " " * _INDENT))
    if task.advice:
        click.echo(wrapped(f"{' ' * _INDENT}-> {printable(ours(task.advice))}", " " * (_INDENT + 3)))


def _head(status: TaskStatus, name: str, *, is_ours: bool = False) -> str:
    """is_ours: what failed says nothing of the peer, so that the answer is not no, but that nobody knows."""
    sign, word = _UNKNOWN if is_ours and status is TaskStatus.FAILED else _MARKS[status]
    mark = sign if writes(sign) else _(word)
    return f"  {mark} {name}".ljust(_INDENT - 1) + " "
