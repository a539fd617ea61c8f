"""`gatepost certificate acme …`: certificates from an ACME authority: where they stand, and asking for one now."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.acme.challenges import AcmeFailed
from gatepost.acme.duty import outcome, policy_hosts
from gatepost.acme.issuer import Busy, Issuer, alone
from gatepost.acme.schedule import Step
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, author, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table, printable
from gatepost.connectors.model import ResourceErrors
from gatepost.settings.acme import LETS_ENCRYPT_STAGING, acme_directory
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.acme.issuer import Standing
    from gatepost.settings.model import Settings

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
    settings = settings_of(config)
    with _issuer(settings) as (issuer, hosts):
        found, account, url = issuer.standing(hosts), issuer.kept().account, issuer.url
    well = all(one.entry is not None and not one.progress.error for one in found)
    if as_json:
        print_json({"ok": well, "directory": url, "account": account, "certificates": [_record(one) for one in found]})
    else:
        click.echo(f"authority    {printable(url)}")
        click.echo(f"account      {printable(account) or 'none yet'}\n")
        print_table(_COLUMNS, [_cells(one) for one in found])
        for one in found:
            if one.progress.error:
                click.echo(f"\n{', '.join(one.names)}: {printable(one.progress.error)}")
    if not well:
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
    settings = settings_of(config)
    try:
        url = acme_directory(directory) if dry_run else ""
    except ValueError as error:
        fail(BAD_INPUT, f"--directory: {error}")
    with _issuer(settings, url) as (issuer, hosts), _alone(settings):
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
    settings = settings_of(config)
    with _issuer(settings) as (issuer, _), _alone(settings):
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
def _issuer(settings: Settings, url: str = "") -> Iterator[tuple[Issuer, list[str]]]:
    """Who asks, and where our policies are served; ends the command if it cannot be."""
    if not settings.acme.is_on:
        fail(BAD_INPUT, "ACME is off: write [acme] with agree_tos = true in the settings, see docs/acme.md")
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            yield Issuer(settings, store, url=url, author=author()), policy_hosts(settings, store)
    except AcmeFailed as failure:
        fail(BAD_INPUT, str(failure))
    except (StoreFailure, ResourceErrors, ConfigConflict, ValueError) as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    try:
        with alone(Path(settings.server.data_dir)):
            yield
    except (Busy, OSError) as failure:
        fail(UNKNOWN, str(failure))


def _record(one: Standing) -> dict[str, Any]:
    progress, entry = one.progress, one.entry
    return {
        "names": list(one.names),
        "certificate": entry.id if entry else "",
        "state": str(entry.state) if entry else "",
        "not_after": entry.leaf.not_after if entry else None,
        "renew_at": one.renew_at or None,
        "renew_at_from": _source(one),
        "tried": progress.tried or None,
        "succeeded": progress.succeeded or None,
        "failures": progress.failures,
        "not_before": progress.not_before or None,
        "error": progress.error,
    }


def _source(one: Standing) -> str:
    if one.entry is None:
        return ""
    return "authority" if one.progress.renew_at and one.progress.certificate == one.entry.id else "lifetime"


def _cells(one: Standing) -> list[object]:
    entry, progress = one.entry, one.progress
    return [
        ", ".join(one.names),
        entry.id if entry else "-",
        str(entry.state) if entry else "none",
        moment(entry.leaf.not_after) if entry else "-",
        f"{moment(one.renew_at)} ({_source(one)})" if entry else "-",
        moment(progress.tried) if progress.tried else "never",
        moment(progress.not_before) if progress.error else "-",
    ]
