"""`gatepost certificate acme …`: certificates from an ACME authority: where they stand, and asking for one now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, NO, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.acme_orders import acme_status
from gatepost.manage.use_cases.acme_renewal import forget_account
from gatepost.manage.use_cases.acme_renewal import renew as run_renewal
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.settings.acme import LETS_ENCRYPT_STAGING, acme_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.manage.use_cases.acme_renewal import Renewal


_COLUMNS = ("names", "certificate", "state", "valid until", "renewal", "last tried", "next try")


@click.group()
def acme() -> None:
    """Certificates from an ACME authority (RFC 8555), as [acme] in the settings says."""


@acme.command()
@config_option
@json_option
def status(config: str | None, as_json: bool) -> None:
    """Every certificate that there shall be: until when, when renewed, and why the last attempt failed.

    Exit codes: 0 all are there and the last attempts went well, 1 something is missing or failed, 2 ACME is off, 3 not
    readable.
    """
    found = door(config)(acme_status)
    if as_json:
        print_json(found)
    else:
        click.echo(f"authority    {printable(found['directory'])}")
        click.echo(f"account      {printable(found['account']) or 'none yet'}\n")
        print_table(_COLUMNS, [_cells(one) for one in found["certificates"]])
        for one in found["certificates"]:
            if one["error"]:
                click.echo(f"\n{', '.join(one['names'])}: {printable(one['error'])}")
    if not found["ok"]:
        raise SystemExit(NO)


@acme.command()
@click.argument("name", default="")
@click.option("--now", "at_once", is_flag=True, help="Also if nothing is due, or a failure is being waited out.")
@click.option("--dry-run", is_flag=True, help="Go all the way with a staging authority, and keep nothing of it.")
@click.option(
    "--directory",
    metavar="URL",
    default=LETS_ENCRYPT_STAGING,
    show_default=True,
    help="The authority for --dry-run.",
)
@config_option
def renew(name: str, directory: str, config: str | None, *, at_once: bool, dry_run: bool) -> None:
    """Ask for the certificates that are due, or for the one of NAME. For http-01 the gateway must be running.

    A running gateway presents what came within a second, unless it waits for a changeover.

    Exit codes: 0 done, or nothing is due, 1 a certificate was not issued, 2 wrong use or settings, 3 another process is
    asking just now, or the store cannot be read.
    """
    go = door(config)
    try:
        url = acme_directory(directory) if dry_run else ""
    except ValueError as error:
        fail(BAD_INPUT, f"--directory: {error}")
    done = go(run_renewal, name, at_once=at_once, staging=url, heard=_say)
    if not done:
        click.echo("nothing is due; --now asks all the same, `gatepost certificate acme status` says when", err=True)
    if not all(one.ok for one in done):
        raise SystemExit(NO)


@acme.command()
@config_option
def forget(config: str | None) -> None:
    """Forget the account at the authority, with its key, and what was tried; certificates stay.

    Exit codes: 0 done, 2 ACME is off, 3 the store cannot be written.
    """
    click.echo(f"the account at {printable(door(config)(forget_account))} is forgotten", err=True)


def _say(one: Renewal) -> None:
    names = ", ".join(one.names)
    if not one.ok:
        click.echo(f"no certificate for {names}: {printable(one.text)}", err=True)
    else:
        click.echo(printable(one.text if one.text.startswith("certificate ") else f"{names}: {one.text}"))


def _cells(one: Mapping[str, Any]) -> list[object]:
    renewal = f"{moment(one['renew_at'] or 0.0)} ({one['renew_at_from']})" if one["certificate"] else "-"
    return [
        ", ".join(one["names"]),
        one["certificate"] or "-",
        one["state"] or "none",
        moment(one["not_after"]) if one["certificate"] else "-",
        renewal,
        moment(one["tried"]) if one["tried"] else "never",
        moment(one["not_before"] or 0.0) if one["error"] else "-",
    ]
