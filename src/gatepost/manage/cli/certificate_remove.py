"""`gatepost certificate remove`: forget a certificate, a request that waits, or a directory that is watched."""

from __future__ import annotations

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import config_option, force_option
from gatepost.manage.use_cases import certificate_removal


@click.command()
@click.argument("number", metavar="ID|DIR")
@force_option("Though it is needed; the reason is kept in the history.")
@click.option("--note", default="", help="Why, for the history.")
@config_option
def remove(number: str, force: str, note: str, config: str | None) -> None:
    """Forget a certificate with its key: ID as in `gatepost certificate show`, or the id of a request.

    With a directory it is not watched any more; what was found in it stays. A certificate that is presented is removed
    only if others bear all its names, a client identity only if no connector names it, one that can be rolled back to
    only when its 24 hours are over; all this also with --force REASON. One that comes from the settings is taken out
    there. Files are left alone; the history stays.

    Exit codes: 0 removed, 1 it is needed, 2 no such certificate, 3 not readable.
    """
    click.echo(door(config)(certificate_removal.remove, number, force=force, note=note))
