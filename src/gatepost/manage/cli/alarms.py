"""`gatepost alarms`, and `gatepost certificate alarms`: what is wrong, or soon will be, and what to do about it.

`gatepost status` has it as one line.
"""

from __future__ import annotations

import click

from gatepost.manage.cli.options import NO, UNKNOWN, client, gateway_options
from gatepost.manage.cli.output import _, ours, printable, printed_json, say
from gatepost.manage.use_cases.alarms import ActiveAlarms, ListAlarms, list_alarms
from gatepost.manage.use_cases.times import stamp as moment

_SHOWN = 5


@click.command()
@gateway_options
def alarms() -> None:
    """List active alarms: what is wrong or soon will be, and how to fix it, the most severe first.

    Alarms are about partners, the queue, TLS and certificates. A running gateway checks mail every minute ([alarms]
    look). It checks certificates once a day, every hour while something is wrong, and after each change. It also
    reports alarms in the log, by mail to [alarms] mail_to, and by posts to [alarms] webhook.

    Exit codes: 0 no alarms, 1 there are alarms, 2 invalid settings, 3 the data cannot be read, or some checks could not
    run.
    """
    _report(client().call(list_alarms, ListAlarms()))


@click.command("alarms")
@gateway_options
def certificate_alarms() -> None:
    """List active alarms about certificates, and how to fix them, the most severe first.

    These are the alarms of `gatepost alarms` that are about certificates. A running gateway checks certificates once a
    day, every hour while something is wrong, and after each change.

    Exit codes: 0 no alarms, 1 there are alarms, 2 invalid settings, 3 the data cannot be read, or some checks could not
    run.
    """
    _report(client().call(list_alarms, ListAlarms()).of_certificates())


def _report(alarms: ActiveAlarms) -> None:
    """Print it, and end with what it means."""
    if not printed_json(alarms):
        _print(alarms)
    if alarms.alarms:
        raise SystemExit(NO)
    if alarms.unknown:
        raise SystemExit(UNKNOWN)


def _print(alarms: ActiveAlarms) -> None:
    for number, alarm in enumerate(alarms.alarms):
        if number:
            click.echo()
        click.echo(printable(f"{str(alarm.severity).upper():9}{ours(alarm.title)}"))
        lines = [("", ours(alarm.detail)), (_("fix"), ours(alarm.fix)), *(("", f"  {line}") for line in alarm.lines)]
        for name, text in (*lines, (_("since"), moment(alarm.since)), (_("kind"), str(alarm.kind))):
            click.echo(printable(f"{name:>8} {text}".rstrip()))
    for sentence in alarms.unknown[:_SHOWN]:
        say("unknown: %(sentence)s", err=True, sentence=ours(sentence))
    if not alarms.alarms and not alarms.unknown:
        looked = (
            _("; DNS and revocation were checked at %(looked)s", looked=moment(alarms.looked)) if alarms.looked else ""
        )
        say("no alarms%(looked)s", err=True, looked=looked)
