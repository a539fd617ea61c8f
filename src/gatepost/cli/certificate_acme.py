"""`gatepost certificate acme …`: certificates from an ACME authority: where they stand, and asking for one now."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gatepost.acme.challenges import AcmeFailed
from gatepost.acme.duty import outcome
from gatepost.acme.issuer import Busy, alone
from gatepost.acme.schedule import Step
from gatepost.administration.acme_orders import acme_status, issuer_of
from gatepost.cli.door import door
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, administrator, config_option, fail, gateway_of, json_option
from gatepost.cli.tables import moment, print_json, print_table, printable
from gatepost.settings.acme import LETS_ENCRYPT_STAGING, acme_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gatepost.acme.issuer import Issuer
    from gatepost.administration.gateway import Gateway

__all__ = ["acme"]

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
    gateway = gateway_of(config)
    try:
        url = acme_directory(directory) if dry_run else ""
    except ValueError as error:
        fail(BAD_INPUT, f"--directory: {error}")
    with issuer_of(gateway, administrator(), url) as (issuer, hosts), _alone(gateway):
        chosen = _chosen(issuer, hosts, name, at_once=at_once or dry_run)
        if not chosen:
            click.echo(
                "nothing is due; --now asks all the same, `gatepost certificate acme status` says when", err=True
            )
        done = [_one(issuer, names, dry_run=dry_run) for names in chosen]
    if not all(done):
        raise SystemExit(NO)


@acme.command()
@config_option
def forget(config: str | None) -> None:
    """Forget the account at the authority, with its key, and what was tried; certificates stay.

    Exit codes: 0 done, 2 ACME is off, 3 the store cannot be written.
    """
    gateway = gateway_of(config)
    with issuer_of(gateway, administrator()) as (issuer, _), _alone(gateway):
        issuer.forget()
        click.echo(f"the account at {printable(issuer.url)} is forgotten", err=True)


def _one(issuer: Issuer, names: tuple[str, ...], *, dry_run: bool) -> bool:
    try:
        if dry_run:
            leaf = issuer.rehearse(names)
            click.echo(f"{', '.join(names)}: issued at {issuer.url} by {printable(leaf.issuer)}; nothing of it is kept")
        else:
            click.echo(outcome(issuer.issue(names)))
    except AcmeFailed as failure:
        click.echo(f"no certificate for {', '.join(names)}: {printable(str(failure))}", err=True)
        return False
    return True


def _chosen(issuer: Issuer, hosts: Sequence[str], name: str, *, at_once: bool) -> list[tuple[str, ...]]:
    """The lists of names to ask for."""
    lists = [one.names for one in issuer.standing(hosts)]
    if name:
        lists = [names for names in lists if name in names]
        if not lists:
            fail(
                BAD_INPUT,
                f"{name!r} is in none of the certificates; `gatepost certificate acme status` shows those there are",
            )
    if at_once:
        return lists
    due = {one.names for one in issuer.due(hosts, time.time()) if one.step is Step.ISSUE}
    return [names for names in lists if names in due]


@contextmanager
def _alone(gateway: Gateway) -> Iterator[None]:
    try:
        with alone(gateway.data):
            yield
    except (Busy, OSError) as failure:
        fail(UNKNOWN, str(failure))


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
