"""`gatepost connector validate NAME`: try a connector, each step a named task, with advice where it fails."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.change import Wish
from gatepost.administration.choice import choose_connector
from gatepost.administration.validation import Course, Trial, keep_validation, validation_record
from gatepost.administration.validation import validate as tried
from gatepost.checks.tasks import Outcome, TaskStatus
from gatepost.cli.changes import print_warnings
from gatepost.cli.chosen import connector_options
from gatepost.cli.door import Here
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, author, config_option, fail, gateway_of, json_option
from gatepost.cli.resources import applied
from gatepost.cli.tables import moment, print_json, printable
from gatepost.cli.times import MOMENT
from gatepost.connectors.match import Directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.administration.choice import Chosen
    from gatepost.administration.gateway import Gateway
    from gatepost.checks.tasks import HostReport, Task
    from gatepost.checks.validation import Validation

__all__ = ["validate"]

_MARKS = {
    TaskStatus.SUCCEEDED: ("✓", "ok"),
    TaskStatus.FAILED: ("✗", "FAILED"),
    TaskStatus.WARNING: ("!", "warning"),
    TaskStatus.SKIPPED: ("\N{EN DASH}", "skipped"),
}
_UNKNOWN = ("?", "unknown")
_STATUS = {Outcome.VALIDATED: 0, Outcome.NOT_VALIDATED: NO, Outcome.UNKNOWN: UNKNOWN}
_INDENT = 20
_NOTEWORTHY = 0.01  # seconds
_MAX_PEM = 1 << 20


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that say what is to be tried, as they were given."""

    recipient: tuple[str, ...]
    sender: str
    session: str
    certificate: Path | None
    ip: str
    reverse_path: str | None
    forward_path: str
    within: float

    def check(self, chosen: Chosen) -> None:
        """End the command if an option belongs to the other direction, or misses its companion."""
        outbound = {"--recipient": self.recipient, "--sender": self.sender}
        inbound = {
            "--session": self.session,
            "--certificate": self.certificate,
            "--ip": self.ip,
            "--from": self.reverse_path is not None,
            "--to": self.forward_path,
        }
        wrong = [name for name, value in (inbound if chosen.direction == "outbound" else outbound).items() if value]
        if wrong:
            other = "inbound" if chosen.direction == "outbound" else "outbound"
            fail(BAD_INPUT, f"{', '.join(wrong)}: for {other} connectors only, and {chosen.label} is meant")
        if any(inbound.values()) and not self.session and not (self.ip and self.reverse_path is not None):
            fail(BAD_INPUT, "say --ip ADDRESS and --from ADDRESS: both decide whose mail it is (--from '' is <>)")

    @property
    def trial(self) -> Trial:
        """The same for `administration.validation`."""
        return Trial(
            recipients=self.recipient,
            sender=self.sender,
            session=self.session,
            certificate=_pem(self.certificate) if self.certificate else b"",
            ip=self.ip,
            reverse_path=self.reverse_path,
            forward_path=self.forward_path,
            since=self.within,
        )


@click.command()
@connector_options
@click.option(
    "-f",
    "--file",
    "draft",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Take the resources from this file, as apply would: a connector need not be stored to be tried.",
)
@click.option("--recipient", multiple=True, metavar="ADDRESS", help="Outbound: send a test message. May be repeated.")
@click.option(
    "--sender",
    default="",
    metavar="ADDRESS",
    help="Of the test message. Default: postmaster of the first accepted domain.",
)
@click.option("--session", default="", metavar="ID", help="Inbound: a session or queue id of the trace, decided anew.")
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Inbound: a client certificate, PEM, leaf first, with --ip and --from.",
)
@click.option("--ip", default="", metavar="ADDRESS", help="Inbound: where the client would come from.")
@click.option(
    "--from", "reverse_path", default=None, metavar="ADDRESS", help="Inbound: the sender; '' is the null reverse-path."
)
@click.option(
    "--to", "forward_path", default="", metavar="ADDRESS", help="Inbound: the recipient. Default: anybody here."
)
@click.option(
    "--within", type=MOMENT, default="30d", show_default=True, help="Inbound: how far back mail counts as seen."
)
@config_option
@json_option
def validate(
    name: str,
    organization: str,
    direction: str | None,
    draft: Path | None,
    config: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Try connector NAME, enabled or not: each step is a task, and where one fails stands what to do and who must act.

    Outbound: every next hop is resolved, connected to and judged as a message would have it; with --recipient a test
    message goes to the first host that passed. Inbound: the configuration is looked at, mail seen lately is counted,
    and a captured session (--session) or a certificate and address (--certificate, --ip, --from) are decided by it.
    Nothing is changed but the note of the result, which lists show.

    Exit codes: 0 validated, 1 not validated, 2 wrong use or bad input, 3 could not tell.
    """
    gateway = gateway_of(config)
    directory = gateway.directory() if draft is None else _draft(gateway, draft)
    chosen = choose_connector(directory.resources, name, organization, direction)
    wanted = _Asked(**asked)
    wanted.check(chosen)
    try:
        validation = tried(gateway, directory, chosen, wanted.trial, Course(_progress))
    finally:
        _progress("")
    record = validation_record(validation)
    if draft is None and (failure := keep_validation(gateway, chosen, record)):
        click.echo(failure, err=True)
    if as_json:
        print_json(record | {"draft": str(draft) if draft else ""})
    else:
        _print(validation, chosen, draft)
    sys.exit(_STATUS[validation.outcome])


def _draft(gateway: Gateway, file: Path) -> Directory:
    """The stored resources with the organizations of a file in place of their own, not stored."""
    outcome = applied(file, Here(gateway), Wish(author(), dry_run=True))
    print_warnings(outcome, standing=True)
    return Directory(outcome.after, outcome.version)


def _progress(text: str) -> None:
    """One line on a terminal that the next one replaces; nothing in a pipe."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{printable(text)[: get_terminal_size().columns - 1]}", err=True, nl=False)


def _pem(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MAX_PEM:
            fail(BAD_INPUT, f"--certificate: {file} is larger than {_MAX_PEM} bytes")
        return file.read_bytes()
    except OSError as error:
        fail(BAD_INPUT, f"--certificate: {file}: {error.strerror}")


# what a person reads


def _print(validation: Validation, chosen: Chosen, draft: Path | None) -> None:
    source = f"draft in {draft}" if draft else f"configuration {validation.configuration}"
    click.echo(f"{printable(chosen.label)}, {source}, {moment(validation.at)}")
    for host in validation.hosts:
        click.echo(f"\n{_heading(host)}")
        _print_tasks(host.tasks)
    if validation.tasks:
        click.echo()
        _print_tasks(validation.tasks)
    click.echo()
    for note in validation.notes:
        click.echo(_wrapped(f"note: {printable(note)}", "      "))
    click.echo(printable(validation.verdict))


def _heading(host: HostReport) -> str:
    return printable(f"{host.host} ({host.address})" if host.address else host.host)


def _print_tasks(tasks: Sequence[Task]) -> None:
    """Each task, its facts one a line; those that were skipped for the same reason together."""
    for (status, _), group in groupby(tasks, lambda task: (task.status, task.detail)):
        same = list(group)
        if status is TaskStatus.SKIPPED and len(same) > 1:
            names = ", ".join(task.name for task in same)
            click.echo(_wrapped(f"{_head(status, 'skipped')}{names}: {printable(same[0].text)}", " " * _INDENT))
            continue
        for task in same:
            _print_task(task)


def _print_task(task: Task) -> None:
    first, *others = map(printable, task.detail.split("\n"))
    seconds = f" ({task.seconds:.2f} s)" if task.seconds >= _NOTEWORTHY else ""
    click.echo(_wrapped(f"{_head(task.status, task.name, ours=task.ours)}{first}{seconds}", " " * _INDENT))
    for fact in others:
        click.echo(_wrapped(f"{' ' * _INDENT}{fact}", " " * _INDENT))
    if task.advice:
        click.echo(_wrapped(f"{' ' * _INDENT}-> {printable(task.advice)}", " " * (_INDENT + 3)))


def _head(status: TaskStatus, name: str, *, ours: bool = False) -> str:
    """ours: what failed says nothing of the peer, so that the answer is not no, but that nobody knows."""
    sign, word = _UNKNOWN if ours and status is TaskStatus.FAILED else _MARKS[status]
    mark = sign if _writes(sign) else word
    return f"  {mark} {name}".ljust(_INDENT - 1) + " "


def _writes(mark: str) -> bool:
    """Whether standard output can show the sign."""
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wrapped(text: str, indent: str) -> str:
    """Lines as wide as the terminal; one line in a pipe."""
    if not sys.stdout.isatty():
        return text
    width = max(60, get_terminal_size().columns)
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)
