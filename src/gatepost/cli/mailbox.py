"""`gatepost mailbox …`: the recipients that this gateway delivers itself."""

from __future__ import annotations

import click

from gatepost.administration.choice import chosen_organizations
from gatepost.administration.parts import MAILBOX
from gatepost.cli.chosen import stored_directory
from gatepost.cli.mailbox_password import password
from gatepost.cli.options import config_option, json_option, settings_of
from gatepost.cli.part_commands import add_commands
from gatepost.cli.tables import print_json, print_table

__all__ = ["mailbox"]

_COLUMNS = ("address", "delivery", "aliases", "forwarding_smtp_address", "organization")


@click.group()
def mailbox() -> None:
    """Mailboxes: recipients that the gateway delivers itself, to a Maildir or over LMTP."""


@mailbox.command("list")
@click.option("--organization", default="", help="Only of this one.")
@click.option("--domain", default="", help="Only in this one.")
@config_option
@json_option
def list_(organization: str, domain: str, config: str | None, as_json: bool) -> None:
    """Mailboxes. Exit codes: 0 done (also if there are none), 2 no such organization, 3 not readable."""
    resources = stored_directory(settings_of(config)).resources
    owners = chosen_organizations(resources, organization)
    rows = [
        (one.address, one.delivery, one.aliases, one.forwarding_smtp_address, owner.name)
        for owner in owners
        for one in owner.mailboxes
        if domain.lower() in {"", one.address.rpartition("@")[2]}
    ]
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, [(*row[:2], " ".join(row[2]), *row[3:]) for row in rows])


mailbox.add_command(password)
add_commands(
    mailbox,
    MAILBOX,
    example="ann@contoso.example delivery=lmtp:127.0.0.1:24",
    removed="What was delivered stays in its Maildir.",
)
