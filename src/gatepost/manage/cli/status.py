"""`gatepost status`: whether the gateway runs, and what it works by, as `manage.use_cases.status` finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import NO, config_option, json_option
from gatepost.manage.cli.tables import print_json, printable
from gatepost.manage.use_cases.status import COUNTED, GetStatus, get_status
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.work_list import ListWork, list_work
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from gatepost.manage.use_cases.nodes import NodeStatus
    from gatepost.manage.use_cases.status import Status, StatusConfiguration, StatusLogins, StatusQueue
    from gatepost.manage.use_cases.work_list import WorkList


@click.command()
@config_option
@json_option
def status(config: str | None, as_json: bool) -> None:
    """Show whether the gateway runs: listeners, nameservers, nodes, workers, configuration, queue, certificates.

    Exit codes: 0 running: every listener greets, nameservers answer and every worker lives, 1 unhealthy, 2 invalid
    settings, 3 the data cannot be read.
    """
    gateway = client(config)
    current = gateway.call(get_status, GetStatus())
    work = gateway.call(list_work, ListWork())
    if as_json:
        print_json(msgspec.to_builtins(current) | {"work": msgspec.to_builtins(work.items)})
    else:
        _print(current)
        _print_work(work)
    if not current.ok:
        raise SystemExit(NO)


def _print(current: Status) -> None:
    for listener in current.listeners:
        _line(f"listener {listener.name}", listener.detail, ok=listener.ok)
    _line("nameservers", f"{current.nameservers.name}: {current.nameservers.detail}", ok=current.nameservers.ok)
    for node in current.nodes:
        _line(f"node {node.name}", _node(node), ok=_is_well(node))
    for worker in current.workers:
        _line(f"worker {worker.name}", worker.detail, ok=worker.ok)
    _line("configuration", _changed(current.configuration))
    _line("queue", _waiting(current.queue))
    if current.in_doubt:
        _line("in doubt", f"{current.in_doubt} may arrive twice: the gateway stopped before it got the reply")
    _line("certificates", current.certificates.text)
    _line("mail", current.mail.text)
    if current.ungranted:
        _line(
            "grants",
            f"{quantity(current.ungranted, 'file or socket', 'files or sockets')} not granted (gatepost grant list)",
        )
    if current.logins is not None:
        _line("log-ins", _ways(current.logins))
    click.echo("Running" if current.ok else "Unhealthy", err=True)


def _print_work(work: WorkList) -> None:
    """Print what needs an administrator, the most urgent first."""
    click.echo(f"\nneeds attention: {'nothing' if not work.items else ''}".rstrip())
    for number, item in enumerate(work.items, 1):
        click.echo(printable(f"{number:3}. {item.title}"))
        if item.detail:
            click.echo(printable(f"     {item.detail}"))
    for text in work.unknown:
        click.echo(printable(f"  ?  {text}"))


def _line(name: str, text: str, *, ok: bool = True) -> None:
    """One line, red on a terminal if it is about what does not run."""
    click.secho(f"{printable(name):28} {printable(text)}", fg=None if ok else "red")


def _is_well(node: NodeStatus) -> bool:
    return (node.state.is_alive or node.state == "stopped") and not node.problems


def _node(node: NodeStatus) -> str:
    """Its state, and what may be otherwise on another node."""
    text = f"{node.state}, gatepost {node.software}, configuration {node.configuration}"
    text += f", heartbeat {node.heartbeat:.0f} s ago, clock {round(node.clock_offset, 1) + 0.0:+.1f} s"
    text += f"; {', '.join(node.duties)} for the site" if node.duties else ""
    return "; ".join((text, *node.problems))


def _changed(configuration: StatusConfiguration) -> str:
    if not configuration.version:
        return "version 0: no resources were applied yet, so all mail is refused"
    return f"version {configuration.version}, {moment(configuration.at)}, by {configuration.author}"


def _ways(logins: StatusLogins) -> str:
    parts = [", ".join(logins.mechanisms)]
    if logins.issuers:
        named = (f"{organization} ({', '.join(names)})" for organization, names in logins.issuers.items())
        parts.append(f"tokens of {', '.join(named)}")
    if logins.without_passwords:
        parts.append(f"no passwords for {', '.join(logins.without_passwords)}")
    return "; ".join(parts)


def _waiting(queue: StatusQueue) -> str:
    counts = msgspec.structs.asdict(queue)
    text = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{text} (only {COUNTED} were counted)" if sum(counts.values()) == COUNTED else text
