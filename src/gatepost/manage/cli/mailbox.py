"""`gatepost mailbox …`: the recipients that this gateway delivers itself, and the passwords that they log in with."""

from __future__ import annotations

import click

from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import print_records
from gatepost.manage.cli.part_commands import add_commands
from gatepost.manage.cli.secret_command import SecretCases, secret_command
from gatepost.manage.use_cases.mailbox_passwords import remove_mailbox_password, set_mailbox_password
from gatepost.manage.use_cases.name_lookup import MAILBOX
from gatepost.manage.use_cases.resource_views import MailboxRow, MailboxSelection, mailbox_rows


@click.group()
def mailbox() -> None:
    """Manage mailboxes: recipients to whom the gateway delivers itself, to a Maildir or over LMTP."""


@mailbox.command("list")
@click.option("--organization", default="", help="Only mailboxes of this organization.")
@click.option("--domain", default="", help="Only mailboxes in this domain.")
@gateway_options
def list_(organization: str, domain: str) -> None:
    """List mailboxes.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    rows = mailbox_rows(client().directory().resources, MailboxSelection(organization, domain=domain)).rows
    print_records(MailboxRow._fields, rows)


add_commands(
    mailbox,
    MAILBOX,
    example="ann@contoso.example delivery=lmtp:127.0.0.1:24",
    removed="Delivered mail stays in its Maildir.",
)


@secret_command(
    MAILBOX,
    SecretCases("address", set_mailbox_password, remove_mailbox_password),
    prompt="New password",
    removal="Remove the password, so that nobody can log in to the mailbox.",
)
def password() -> None:
    """Set the password with which ADDRESS logs in to submit mail, on listeners with the role submission or submissions.

    The command asks for it twice, or reads it from standard input with --stdin. The gateway stores a hash for PLAIN
    (Argon2id) and a verifier for SCRAM-SHA-256, apart from the resources: no export, history, log or trace contains
    them. The password is valid at once, for the next log-in; existing sessions continue.

    Exit codes: 0 done, 2 there is no such mailbox, or the password is too short or too long, 3 the data cannot be read
    or written.
    """


mailbox.add_command(password)
