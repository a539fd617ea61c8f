"""`gatepost mailbox …`: the recipients that this gateway delivers itself, and the passwords that they log in with."""

from __future__ import annotations

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import BAD_INPUT, config_option, fail, gateway_options
from gatepost.manage.cli.part_commands import add_commands
from gatepost.manage.cli.password_prompt import prompt_password
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.cli.tables import print_records, printable
from gatepost.manage.use_cases.listings import MailboxRow, MailboxSelection, mailbox_rows
from gatepost.manage.use_cases.mailbox_passwords import (
    MailboxPassword,
    RemoveMailboxPassword,
    remove_mailbox_password,
    set_mailbox_password,
)
from gatepost.manage.use_cases.name_lookup import choose_part
from gatepost.manage.use_cases.parts import MAILBOX
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.texts import N_


@click.group()
def mailbox() -> None:
    """Manage mailboxes: recipients to whom the gateway delivers itself, to a Maildir or over LMTP."""


@mailbox.command("list")
@click.option("--organization", default="", help="Only for this one.")
@click.option("--domain", default="", help="Only in this domain.")
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


@mailbox.command()
@click.argument("address", shell_complete=stored_names("mailbox"))
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, up to the end of the line."
)
@click.option("--remove", is_flag=True, help="Remove the password, so that nobody can log in to the mailbox.")
@click.option("--organization", default="", help="Needed if several organizations match.")
@config_option
def password(address: str, organization: str, *, from_stdin: bool, remove: bool) -> None:
    """Set the password with which ADDRESS logs in to submit mail, on listeners with the role submission or submissions.

    The command asks for it twice, or reads it from standard input with --stdin. The gateway stores a hash for PLAIN
    (Argon2id) and a verifier for SCRAM-SHA-256, apart from the resources: no export, history, log or trace contains
    them. The password is valid at once, for the next log-in; existing sessions continue.

    Exit codes: 0 done, 2 there is no such mailbox, or the password is too short or too long, 3 the data cannot be read
    or written.
    """
    through = client()
    if from_stdin and remove:
        fail(BAD_INPUT, "--stdin sets a password, --remove removes it: use only one of them")
    # before somebody types a password in vain
    part = choose_part(through.directory().resources, MAILBOX, address, organization)
    named = {"organization": part.organization.name, "address": part.name}
    try:
        if remove:
            changed = through.call(remove_mailbox_password, RemoveMailboxPassword(**named))
        else:
            text = prompt_password("--stdin", from_stdin=from_stdin)
            changed = through.call(set_mailbox_password, MailboxPassword(password=text, **named))
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT:
            raise
        fail(BAD_INPUT, printable(refusal.text))
    text = N_("%(name)s: password removed") if remove else N_("%(name)s: password set")
    click.echo(_(text, name=changed.address), err=True)
