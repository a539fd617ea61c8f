"""`gatepost organization …`: the tenants of this gateway."""

from __future__ import annotations

from typing import Any

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.edit import Asked, change_options, edit
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import CODES, SHOW_CODES, WORDS_HELP
from gatepost.manage.cli.part_view import show_organization, view_options
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases import resources
from gatepost.manage.use_cases.listings import OrganizationRow, organizations


@click.group()
def organization() -> None:
    """Organizations: the tenants whose mail the gateway handles."""


@organization.command("list")
@config_option
@json_option
def list_(config: str | None, as_json: bool) -> None:
    """Organizations, and how much each has. Exit codes: 0 done (also if there are none), 3 not readable."""
    rows = door(config)(organizations).rows
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_table(OrganizationRow._fields, rows)


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
    show_organization(door(config)(resources.organization, name), **form)


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
    edit(Asked(**asked), resources.add_organization, name, words)


@organization.command("set", help=f"Change an organization's own fields.\n\n{WORDS_HELP}\n\n{CODES}")
@click.argument("name")
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...")
@change_options
@config_option
@json_option
def set_(name: str, words: tuple[str, ...], **asked: Any) -> None:
    """Other fields."""
    edit(Asked(**asked), resources.set_organization, name, words)


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
    edit(Asked(**asked), resources.remove_organization, name)
