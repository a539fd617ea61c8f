"""`gatepost status`: whether the gateway runs, and what it works by, as `manage.use_cases.status` finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, config_option, json_option
from gatepost.manage.cli.tables import print_json, printable
from gatepost.manage.use_cases.status import COUNTED, status_record
from gatepost.manage.use_cases.status import status as found_status
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.use_cases.status import Configuration, Logins, Status


@click.command()
@config_option
@json_option
def status(config: str | None, as_json: bool) -> None:
    """Whether the gateway runs: listeners, nameservers, workers, the configuration in force, the queue, certificates.

    Exit codes: 0 every listener greets, nameservers answer and every worker lives, 1 something does not, 2 settings,
    3 not readable.
    """
    found = door(config)(found_status)
    if as_json:
        print_json(status_record(found))
    else:
        _print(found)
    if not found.ok:
        raise SystemExit(NO)


def _print(found: Status) -> None:
    for one in found.listeners:
        _line(f"listener {one.name}", one.detail, ok=one.ok)
    _line("nameservers", f"{found.nameservers.name}: {found.nameservers.detail}", ok=found.nameservers.ok)
    for one in found.workers:
        _line(f"worker {one.name}", one.detail, ok=one.ok)
    _line("configuration", _changed(found.configuration))
    _line("queue", _waiting(found.queue))
    if found.in_doubt:
        _line("in doubt", f"{found.in_doubt} may arrive twice: the gateway stopped before the reply to the message")
    _line("certificates", found.certificates.text)
    _line("mail", found.mail.text)
    if found.ungranted:
        _line("grants", f"{found.ungranted} file(s) or socket(s) without one have no effect (gatepost grant list)")
    if found.logins is not None:
        _line("log-ins", _ways(found.logins))
    click.echo("it runs" if found.ok else "it does not run as it should", err=True)


def _line(name: str, text: str, *, ok: bool = True) -> None:
    """One line, red on a terminal if it is about what does not run."""
    click.secho(f"{printable(name):28} {printable(text)}", fg=None if ok else "red")


def _changed(configuration: Configuration) -> str:
    if not configuration.version:
        return "version 0: nothing was applied yet, so all mail is refused"
    return f"version {configuration.version}, {moment(configuration.at)}, by {configuration.author}"


def _ways(logins: Logins) -> str:
    parts = [", ".join(logins.mechanisms)]
    if logins.issuers:
        named = (f"{organization} ({', '.join(names)})" for organization, names in logins.issuers.items())
        parts.append(f"tokens of {', '.join(named)}")
    if logins.without_passwords:
        parts.append(f"no passwords for {', '.join(logins.without_passwords)}")
    return "; ".join(parts)


def _waiting(queue: Mapping[str, int]) -> str:
    text = ", ".join(f"{count} {state}" for state, count in queue.items())
    return f"{text} (only {COUNTED} were counted)" if sum(queue.values()) == COUNTED else text
