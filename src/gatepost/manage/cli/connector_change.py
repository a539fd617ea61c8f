"""`gatepost connector add|set|remove|trust|secret|switch`: changes of connectors, of one or of many at once.

Listing and showing: `manage.cli.connector_list`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click

from gatepost.manage.cli.connector_selection import ChosenConnectors, selected, selection_options
from gatepost.manage.cli.edit import (
    ChangeArguments,
    PreparedChange,
    change_options,
    edit,
    part_added,
    part_removed,
    part_set,
)
from gatepost.manage.cli.options import client
from gatepost.manage.cli.part_commands import CODES, WORDS_HELP, field_words, part_argument
from gatepost.manage.cli.secret_command import SecretCases, secret_command
from gatepost.manage.cli.stored_names import connector_options, connector_organization, names_of
from gatepost.manage.use_cases.login_secrets import remove_connector_secret, set_connector_secret, show_connector_secret
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND, Part, choose_connector
from gatepost.manage.use_cases.resource_actions import (
    SwitchAction,
    SwitchConnectors,
    TrustIssuer,
    switch_connectors,
    trust_issuer,
)
from gatepost.manage.use_cases.resources import PartName

if TYPE_CHECKING:
    from gatepost.policy.connectors.record_base import Record
    from gatepost.policy.connectors.resources import Resources


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
def add(direction: str, name: str, words: tuple[str, ...], organization: str, arguments: ChangeArguments) -> None:
    """A new connector."""
    edit(arguments, part_added(arguments, PartName(_KINDS[direction], organization, name), words))


@click.command(
    "set",
    help="Change fields of a connector, such as mode=enforce, enabled=false or smart_hosts+=mx2.bank.example.\n\n"
    f"After name=NEW, mail flow rules that use the connector name it by its new name.\n\n{WORDS_HELP}\n\n{CODES}",
)
@connector_options
@field_words(_models, required=True)
@change_options
def set_(
    name: str, words: tuple[str, ...], organization: str, direction: str | None, arguments: ChangeArguments
) -> None:
    """Other fields."""
    edit(arguments, part_set(arguments, _chosen(name, organization, direction), words))


@click.command(
    "remove",
    help="Remove a connector, unless a mail flow rule names it.\n\nMail in the queue is sent without it from its next "
    f"attempt on. `connector set NAME enabled=false` keeps it for later.\n\n{CODES}",
)
@connector_options
@change_options
def remove(name: str, organization: str, direction: str | None, arguments: ChangeArguments) -> None:
    """No more connector."""
    edit(arguments, part_removed(arguments, _chosen(name, organization, direction)))


def _chosen(name: str, organization: str, direction: str | None) -> PartName:
    """Find the connector that is meant, its kind and its organization."""
    part = choose_connector(client().directory().resources, name, organization, direction).part
    return PartName(part.kind, part.organization.name, part.name)


@click.command(
    help="Trust the issuer that the last validation of the outbound connector NAME saw.\n\n"
    "FINGERPRINT is the SHA-256 of the issuer's certificate. Get it from the partner by telephone or on paper, not "
    "over this connection, where an attacker can present any issuer. `gatepost connector validate` prints what it saw."
    f"\n\n{CODES}"
)
@part_argument(OUTBOUND)
@click.argument("fingerprint")
@connector_organization
@change_options
def trust(part: Part, fingerprint: str, arguments: ChangeArguments) -> None:
    """A trust anchor more."""
    request = TrustIssuer(
        organization=part.organization.name, connector=part.name, sha256=fingerprint, **arguments.fields
    )
    edit(arguments, lambda _: PreparedChange(trust_issuer, request))


@click.command(
    help="Enable, disable, enforce or rehearse connectors: each NAME, or with --all those that the other options "
    "select.\n\nThe history has it as one change, which `gatepost history revert` can undo.\n\n"
    f"For example:\n\n\b\ngatepost connector switch rehearse --all --status enabled --dry-run\n\n{CODES}"
)
@click.argument("action", type=click.Choice(get_args(SwitchAction.__value__)))
@selection_options
@change_options
def switch(action: SwitchAction, selection: ChosenConnectors, arguments: ChangeArguments) -> None:
    """Many connectors at once."""

    def make(resources: Resources) -> PreparedChange:
        chosen = selected(client(), resources, selection)
        return PreparedChange(switch_connectors, SwitchConnectors(action=action, connectors=chosen, **arguments.fields))

    edit(arguments, make)


@secret_command(
    OUTBOUND,
    SecretCases("connector", set_connector_secret, remove_connector_secret, show_connector_secret),
    removal="Destroy the secret. Mail of the connector then waits.",
    prompt="Secret",
)
def secret() -> None:
    """Set the password, or the client secret, with which the outbound connector NAME logs in to its smart hosts.

    The command asks for it twice, or reads it from standard input with --stdin. The gateway encrypts it with
    store.master_key, apart from the resources: no export, history, log or trace contains it, and nothing shows it. It
    is used from the next log-in on, and only for the smart hosts, tls_domain, trust_anchors and token_url that the
    connector has now: after a change of these, enter it again.

    Exit codes: 0 done, with --check: there is one; 1 with --check: there is none, or it was entered for other smart
    hosts; 2 there is no such connector, it has no authentication, or the secret is empty or too long; 3 the data cannot
    be read or written.
    """
