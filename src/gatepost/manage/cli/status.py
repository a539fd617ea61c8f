"""`gatepost status`: whether the gateway runs, and what it works by, as `manage.use_cases.status` finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from gatepost.manage.cli.options import NO, client, gateway_options
from gatepost.manage.cli.output import _, ours, printable, printed_json, quantity, queue_states
from gatepost.manage.use_cases.status import COUNTED, GetStatus, get_status
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.manage.use_cases.work_list import ListWork, WorkList, list_work

if TYPE_CHECKING:
    from gatepost.manage.use_cases.nodes import NodeStatus
    from gatepost.manage.use_cases.status import Status, StatusConfiguration, StatusLogins, StatusQueue


@click.command()
@gateway_options
def status() -> None:
    """Show whether the gateway runs: listeners, nameservers, nodes, workers, configuration, queue, certificates.

    The exit code is about this machine. That of `gatepost alarms` is about all nodes.

    Exit codes: 0 running: every listener greets, nameservers answer and every worker lives and answers, 1 unhealthy, 2
    invalid settings, 3 the data cannot be read.
    """
    gateway = client()
    current = gateway.call(get_status, GetStatus())
    work = gateway.call(list_work, ListWork())
    if not printed_json(msgspec.to_builtins(current) | {"work": msgspec.to_builtins(work.items)}):
        _print(current)
        _print_work(work)
    if not current.ok:
        raise SystemExit(NO)


def _print(current: Status) -> None:
    for listener in current.listeners:
        _line(_("listener %(name)s", name=listener.name), ours(listener.detail), ok=listener.ok)
    _line(
        _("nameservers"), f"{current.nameservers.name}: {ours(current.nameservers.detail)}", ok=current.nameservers.ok
    )
    for node in current.nodes:
        _line(_("node %(name)s", name=node.name), _node(node), ok=_is_well(node))
    for worker in current.workers:
        _line(_("worker %(name)s", name=worker.name), ours(worker.detail), ok=worker.ok)
    _line(_("configuration"), _changed(current.configuration))
    _line(_("queue"), _waiting(current.queue))
    if current.in_doubt:
        _line(
            _("in doubt"),
            _("%(in_doubt)s may arrive twice: the gateway stopped before it got the reply", in_doubt=current.in_doubt),
        )
    _line(_("certificates"), ours(current.certificates.text))
    _line(_("mail"), ours(current.mail.text))
    if current.ungranted:
        _line(
            _("grants"),
            _(
                "%(things)s not granted (gatepost grant list)",
                things=quantity(current.ungranted, "file or socket", "files or sockets"),
            ),
        )
    if current.logins is not None:
        _line(_("log-ins"), _ways(current.logins))
    click.echo(_("Running") if current.ok else _("Unhealthy"), err=True)


def _print_work(work: WorkList) -> None:
    """Print what needs an administrator, the most urgent first."""
    click.echo(_("\nneeds attention: %(what)s", what=_("nothing") if not work.items else "").rstrip())
    for number, item in enumerate(work.items, 1):
        click.echo(printable(f"{number:3}. {ours(item.title)}"))
        if item.detail:
            click.echo(printable(f"     {ours(item.detail)}"))
    for text in work.unknown:
        click.echo(printable(f"  ?  {ours(text)}"))


def _line(name: str, text: str, *, ok: bool = True) -> None:
    """One line, red on a terminal if it is about what does not run."""
    click.secho(f"{printable(name):28} {printable(text)}", fg=None if ok else "red")


def _is_well(node: NodeStatus) -> bool:
    return (node.state.is_alive or node.state == "stopped") and not node.problems


def _node(node: NodeStatus) -> str:
    """Its state, and what may be otherwise on another node."""
    text = _(
        "%(state)s, gatepost %(software)s, configuration %(configuration)s",
        state=node.state,
        software=node.software,
        configuration=node.configuration,
    )
    text += _(
        ", heartbeat %(heartbeat)s s ago, clock %(clock_offset)s s",
        heartbeat=f"{node.heartbeat:.0f}",
        clock_offset=f"{round(node.clock_offset, 1) + 0.0:+.1f}",
    )
    text += _("; %(duties)s for the site", duties=", ".join(node.duties)) if node.duties else ""
    if node.other_settings:
        text += _("; settings that differ: %(keys)s", keys=", ".join(node.other_settings))
    return "; ".join((text, *node.problems))


def _changed(configuration: StatusConfiguration) -> str:
    if not configuration.version:
        return _("version 0: no resources were applied yet, so all mail is refused")
    return _(
        "version %(version)s, %(at)s, by %(author)s",
        version=configuration.version,
        at=moment(configuration.at),
        author=configuration.author,
    )


def _ways(logins: StatusLogins) -> str:
    parts = [", ".join(logins.mechanisms)]
    if logins.issuers:
        named = (f"{organization} ({', '.join(names)})" for organization, names in logins.issuers.items())
        parts.append(_("tokens of %(named)s", named=", ".join(named)))
    if logins.without_passwords:
        parts.append(_("no passwords for %(without_passwords)s", without_passwords=", ".join(logins.without_passwords)))
    return "; ".join(parts)


def _waiting(queue: StatusQueue) -> str:
    counts = msgspec.structs.asdict(queue)
    text = queue_states(**counts)
    return (
        _("%(text)s (only %(counted)s were counted)", text=text, counted=COUNTED)
        if sum(counts.values()) == COUNTED
        else text
    )
