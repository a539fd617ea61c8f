"""`gatepost organization …`: the tenants of this gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.edit import ChangeArguments, PreparedChange, change_options, edit, patch_of
from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import _, print_records
from gatepost.manage.cli.part_commands import CODES, WORDS_HELP, field_words
from gatepost.manage.cli.part_view import SHOW_CODES, show_organization, view_options
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.manage.use_cases.part_record import own_table
from gatepost.manage.use_cases.resource_cases import (
    AddOrganization,
    RemoveOrganization,
    SetOrganization,
    add_organization,
    remove_organization,
    set_organization,
)
from gatepost.manage.use_cases.resource_views import OrganizationRow, organization_rows
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.records import Organization

if TYPE_CHECKING:
    from gatepost.policy.connectors.resources import Resources


@click.group()
def organization() -> None:
    """Manage organizations: the tenants whose mail the gateway handles."""


@organization.command("list")
@gateway_options
def list_() -> None:
    """List organizations with the number of their resources.

    Exit codes: 0 done (also if there are none), 3 the data cannot be read.
    """
    print_records(OrganizationRow._fields, organization_rows(client().directory().resources).rows)


@organization.command(
    "show",
    help="Show the fields of an organization, and the names of its parts.\n\n"
    f"--toml prints all of it, ready for `gatepost apply`.\n\n{SHOW_CODES}",
)
@click.argument("name", shell_complete=stored_names("organization"))
@view_options
@gateway_options
def show(name: str, **form: Any) -> None:
    """One organization."""
    show_organization(choose_organization(client().directory().resources, name), **form)


@organization.command(
    "add",
    help="Add an organization.\n\nFor example:\n\n\b\n"
    f"gatepost organization add contoso display_name='Contoso Hospital'\n\n{WORDS_HELP}\n\n{CODES}",
)
@click.argument("name")
@field_words(lambda _context: [Organization], required=False)
@change_options
def add(name: str, words: tuple[str, ...], arguments: ChangeArguments) -> None:
    """A new organization."""

    def make(_resources: Resources) -> PreparedChange:
        table, errors = _own(words, {})
        request = AddOrganization(document={"name": name} | table, **arguments.fields)
        return PreparedChange(add_organization, request, errors)

    edit(arguments, make)


@organization.command("set", help=f"Change an organization's own fields.\n\n{WORDS_HELP}\n\n{CODES}")
@click.argument("name", shell_complete=stored_names("organization"))
@field_words(lambda _context: [Organization], required=True)
@change_options
def set_(name: str, words: tuple[str, ...], arguments: ChangeArguments) -> None:
    """Other fields."""

    def make(resources: Resources) -> PreparedChange:
        patch, errors = _own(words, own_table(choose_organization(resources, name)))
        return PreparedChange(
            set_organization, SetOrganization(organization=name, document=patch, **arguments.fields), errors
        )

    edit(arguments, make)


def _own(words: tuple[str, ...], before: dict[str, Any]) -> tuple[dict[str, Any], list[FieldError]]:
    """The merge patch that words make of an organization's own table, and what is wrong with the words."""
    patch, errors = patch_of(Organization, before, words)
    if "name" in patch:
        del patch["name"]
        errors.append(
            FieldError("name", _("cannot be changed, because files and queued mail use it; add a new organization"))
        )
    return patch, errors


@organization.command(
    "remove",
    help="Remove an organization with all its domains, mailboxes, connectors and rules.\n\nDelivered mail stays "
    "in its Maildirs. Trace, evidence and history are kept as long as usual under its name, which no other "
    f"organization can take. To keep a copy of the resources, save `organization show NAME --toml` first.\n\n{CODES}",
)
@click.argument("name", shell_complete=stored_names("organization"))
@change_options
def remove(name: str, arguments: ChangeArguments) -> None:
    """No more organization."""

    def make(resources: Resources) -> PreparedChange:
        choose_organization(resources, name)
        return PreparedChange(remove_organization, RemoveOrganization(organization=name, **arguments.fields))

    edit(arguments, make)
