"""`gatepost mailbox …`: the recipients that this gateway delivers itself."""

from __future__ import annotations

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.mailbox_password import password
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import add_commands
from gatepost.manage.cli.tables import print_json, print_table
from gatepost.manage.use_cases.listings import MailboxRow, MailboxSelection, mailbox_rows
from gatepost.manage.use_cases.parts import MAILBOX


@click.group()
def mailbox() -> None:
    """Manage mailboxes: recipients to whom the gateway delivers itself, to a Maildir or over LMTP."""


@mailbox.command("list")
@click.option("--organization", default="", help="Only for this one.")
@click.option("--domain", default="", help="Only in this domain.")
@config_option
@json_option
def list_(organization: str, domain: str, config: str | None, as_json: bool) -> None:
    """List mailboxes.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    rows = mailbox_rows(client(config).directory().resources, MailboxSelection(organization, domain=domain)).rows
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_table(MailboxRow._fields, ((*row[:2], " ".join(row.aliases), *row[3:]) for row in rows))


mailbox.add_command(password)
add_commands(
    mailbox,
    MAILBOX,
    example="ann@contoso.example delivery=lmtp:127.0.0.1:24",
    removed="Delivered mail stays in its Maildir.",
)
