"""`gatepost organization …`: the tenants of this gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gatepost.administration.resources import (
    add_organization,
    remove_organization,
    set_organization,
)
from gatepost.administration.resources import (
    organization as organization_of,
)
from gatepost.cli.chosen import stored_directory
from gatepost.cli.edit import Asked, change_options, edit
from gatepost.cli.options import administrator, config_option, gateway_of, json_option, settings_of
from gatepost.cli.part_commands import CODES, SHOW_CODES, WORDS_HELP
from gatepost.cli.part_view import show_organization, view_options
from gatepost.cli.tables import print_json, print_table
from gatepost.store.administration import Administration
from gatepost.store.interface import QueueFilter, StoreFailure

__all__ = ["organization"]

_COLUMNS = (
    "name",
    "display_name",
    "domains",
    "mailboxes",
    "inbound_connectors",
    "outbound_connectors",
    "rules",
    "hooks",
)
_COUNTED = 1000


@click.group()
def organization() -> None:
    """Organizations: the tenants whose mail the gateway handles."""


@organization.command("list")
@config_option
@json_option
def list_(config: str | None, as_json: bool) -> None:
    """Organizations, and how much each has. Exit codes: 0 done (also if there are none), 3 not readable."""
    rows: list[tuple[Any, ...]] = [
        (
            one.name,
            one.display_name,
            len(one.accepted_domains),
            len(one.mailboxes),
            len(one.inbound_connectors),
            len(one.outbound_connectors),
            len(one.mail_flow_rules),
            len(one.content_hooks),
        )
        for one in stored_directory(settings_of(config)).resources.organizations
    ]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, rows)


@organization.command(
    "show",
    help="Fields of an organization, and its parts by name.\n\n--toml prints all of it, ready for `gatepost apply`."
    f"\n\n{SHOW_CODES}",
)
@click.argument("name")
@view_options
@config_option
@json_option
def show(name: str, config: str | None, **form: Any) -> None:
    """One organization."""
    show_organization(organization_of(gateway_of(config), administrator(), name), **form)


@organization.command(
    "add",
    help="Add an organization.\n\nFor example:\n\n\b\n"
    f"gatepost organization add contoso display_name='Contoso Hospital'\n\n{WORDS_HELP}\n\n{CODES}",
)
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[KEY=VALUE]...")
@change_options
@config_option
@json_option
def add(name: str, words: tuple[str, ...], **asked: Any) -> None:
    """A new organization."""
    edit(Asked(**asked), add_organization, name, words)


@organization.command("set", help=f"Change an organization's own fields.\n\n{WORDS_HELP}\n\n{CODES}")
@click.argument("name")
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...")
@change_options
@config_option
@json_option
def set_(name: str, words: tuple[str, ...], **asked: Any) -> None:
    """Other fields."""
    edit(Asked(**asked), set_organization, name, words)


@organization.command(
    "remove",
    help="Remove an organization with all its domains, mailboxes, connectors and rules.\n\nWhat was delivered stays in "
    f"its Maildirs. `organization show NAME --toml` keeps what it was.\n\n{CODES}",
)
@click.argument("name")
@change_options
@config_option
@json_option
def remove(name: str, **asked: Any) -> None:
    """No more organization."""
    _warn_of_queued(name, asked["config"])
    edit(Asked(**asked), remove_organization, name)


def _warn_of_queued(name: str, config: str | None) -> None:
    """What is in the queue has nowhere to go without its organization."""
    data = Path(settings_of(config).server.data_dir)
    try:
        queued = Administration(data / "queue", data / "trace").entries(QueueFilter(organization=name, limit=_COUNTED))
    except StoreFailure as failure:
        click.echo(f"warning: whether {name} has mail in the queue is not known: {failure}", err=True)
        return
    if queued:
        number = f"{len(queued)} or more" if len(queued) == _COUNTED else len(queued)
        click.echo(
            f"warning: {number} deliveries of {name} are queued; without it they wait and go back to their senders "
            "when they expire, unless another organization accepts the recipients",
            err=True,
        )
