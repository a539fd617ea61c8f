"""`gatepost organization …`: the tenants of this gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.assignments import assign
from gatepost.cli.chosen import choose_organization, stored_directory
from gatepost.cli.edit import Edit, Wish, change, change_options
from gatepost.cli.options import BAD_INPUT, config_option, fail, json_option, settings_of
from gatepost.cli.part_commands import CODES, SHOW_CODES, WORDS_HELP
from gatepost.cli.part_view import show_organization, view_options
from gatepost.cli.tables import print_json, print_table
from gatepost.connectors.errors import FieldError
from gatepost.connectors.model import Organization
from gatepost.store.administration import Administration
from gatepost.store.interface import QueueFilter, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.connectors.model import Resources

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
    show_organization(choose_organization(stored_directory(settings_of(config)).resources, name), **form)


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
def add(name: str, words: tuple[str, ...], **wish: Any) -> None:
    """A new organization."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        if resources.organization(name):
            fail(BAD_INPUT, f"there is an organization {name!r} already; change it with `gatepost organization set`")
        draft[name] = {}
        return _assigned(name, words, draft)

    change(step, Wish(**wish))


@organization.command("set", help=f"Change an organization's own fields.\n\n{WORDS_HELP}\n\n{CODES}")
@click.argument("name")
@click.argument("words", nargs=-1, required=True, metavar="KEY=VALUE...")
@change_options
@config_option
@json_option
def set_(name: str, words: tuple[str, ...], **wish: Any) -> None:
    """Other fields."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        choose_organization(resources, name)
        return _assigned(name, words, draft)

    change(step, Wish(**wish))


@organization.command(
    "remove",
    help="Remove an organization with all its domains, mailboxes, connectors and rules.\n\nWhat was delivered stays in "
    f"its Maildirs. `organization show NAME --toml` keeps what it was.\n\n{CODES}",
)
@click.argument("name")
@change_options
@config_option
@json_option
def remove(name: str, **wish: Any) -> None:
    """No more organization."""

    def step(resources: Resources, draft: dict[str, Any]) -> Edit:
        choose_organization(resources, name)
        del draft[name]
        return Edit(name, f"organization.{name}")

    _warn_of_queued(name, wish["config"])
    change(step, Wish(**wish))


def _assigned(name: str, words: Sequence[str], draft: dict[str, Any]) -> Edit:
    table = draft[name]
    errors = assign(Organization, table, words)
    if "name" in table:
        del table["name"]
        errors.append(FieldError("name", "cannot be changed: file names and queued mail have it; add another one"))
    return Edit(name, f"organization.{name}", errors=errors)


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
