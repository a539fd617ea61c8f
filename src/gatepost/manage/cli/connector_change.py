"""`gatepost connector add|set|remove`: changes of connectors. Listing and showing: `manage.cli.connector_list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, change_options, edit, part_added, part_removed, part_set
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import CODES, WORDS_HELP, field_words
from gatepost.manage.cli.stored_names import connector_options, names_of
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.parts import INBOUND, OUTBOUND
from gatepost.manage.use_cases.resources import PartName

if TYPE_CHECKING:
    from gatepost.policy.connectors.record_base import Record

_KINDS = {"inbound": INBOUND, "outbound": OUTBOUND}


def _models(context: click.Context) -> list[type[Record]]:
    """Of the direction that is given, or of the connectors that have the name; of both if neither tells."""
    direction, name = context.params.get("direction"), str(context.params.get("name")).lower()
    kinds = [_KINDS[direction]] if direction else list(_KINDS.values())
    named = [kind for kind in kinds if name in {known.lower() for known in names_of(context, (kind.key,))}]
    return [kind.model for kind in named or kinds]


@click.command(
    help="Add a connector.\n\nFor example:\n\n\b\n"
    "gatepost connector add outbound bank-out --organization contoso mode=rehearse \\\n"
    "  recipient_domains=bank.example,'*.bank.example' tls_settings=domain-validation tls_domain='*.bank.example'\n"
    "gatepost connector add inbound bank-in --organization contoso sender_domains=bank.example \\\n"
    "  restrict_domains_to_certificate=true tls_sender_certificate_name='*.bank.example'\n\n"
    f"{WORDS_HELP}\n\n{CODES}"
)
@click.argument("direction", type=click.Choice(list(_KINDS)))
@click.argument("name")
@field_words(_models, required=False)
@click.option("--organization", default="", help="Organization of the connector. Needed if there are several.")
@change_options
@config_option
@json_option
def add(direction: str, name: str, words: tuple[str, ...], organization: str, **given: Any) -> None:
    """A new connector."""
    arguments = ChangeArguments(**given)
    edit(arguments, part_added(arguments, PartName(_KINDS[direction], organization, name), words))


@click.command(
    "set",
    help="Change fields of a connector, such as mode=enforce, enabled=false or smart_hosts+=mx2.bank.example.\n\n"
    f"With name=NEW the mail flow rules that name it follow.\n\n{WORDS_HELP}\n\n{CODES}",
)
@connector_options
@field_words(_models, required=True)
@change_options
@config_option
@json_option
def set_(name: str, words: tuple[str, ...], organization: str, direction: str | None, **given: Any) -> None:
    """Other fields."""
    arguments = ChangeArguments(**given)
    edit(arguments, part_set(arguments, _chosen(arguments, name, organization, direction), words))


@click.command(
    "remove",
    help="Remove a connector, unless a mail flow rule names it.\n\nMail in the queue is sent without it from its next "
    f"attempt on. `connector set NAME enabled=false` keeps it for later.\n\n{CODES}",
)
@connector_options
@change_options
@config_option
@json_option
def remove(name: str, organization: str, direction: str | None, **given: Any) -> None:
    """No more connector."""
    arguments = ChangeArguments(**given)
    edit(arguments, part_removed(arguments, _chosen(arguments, name, organization, direction)))


def _chosen(arguments: ChangeArguments, name: str, organization: str, direction: str | None) -> PartName:
    """Find the connector that is meant, its kind and its organization."""
    part = choose_connector(client(arguments.config).directory().resources, name, organization, direction).part
    return PartName(part.kind, part.organization.name, part.name)
