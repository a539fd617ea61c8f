"""`gatepost mailbox password`: sets or removes the password with which a mailbox's owner submits mail."""

from __future__ import annotations

import click

from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import BAD_INPUT, config_option, fail
from gatepost.manage.cli.password_prompt import asked_password
from gatepost.manage.cli.tables import printable
from gatepost.manage.use_cases.choice import choose_part
from gatepost.manage.use_cases.mailbox_passwords import set_mailbox_password
from gatepost.manage.use_cases.parts import MAILBOX
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import seen


@click.command()
@click.argument("address")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read it from standard input, up to the end of the line.")
@click.option("--remove", is_flag=True, help="Remove it: nobody can log in to the mailbox then.")
@click.option("--organization", default="", help="Needed where there are several it could be.")
@config_option
def password(address: str, organization: str, config: str | None, *, from_stdin: bool, remove: bool) -> None:
    """Set the password with which ADDRESS logs in to submit mail, on listeners of the roles submission and submissions.

    It is asked for twice, or read from standard input with --stdin. What is stored is a hash for PLAIN (Argon2id) and a
    verifier for SCRAM-SHA-256, beside the resources: no export, history, log or trace has them. It counts at once, for
    the next log-in; sessions that are logged in go on.

    Exit codes: 0 done, 2 there is no such mailbox, or the password is too short or too long, 3 not readable or
    writable.
    """
    go = door(config)
    if from_stdin and remove:
        fail(BAD_INPUT, "--stdin sets a password, --remove removes it: write one of them")
    choose_part(go(seen), MAILBOX, address, organization)  # before somebody types a password in vain
    given = None if remove else asked_password("--stdin", from_stdin=from_stdin)
    try:
        name = go(set_mailbox_password, address, given, organization)
    except Refusal as refusal:
        if refusal.kind is not Kind.INPUT:
            raise
        fail(BAD_INPUT, printable(refusal.text))
    click.echo(f"{name}: password {'removed' if remove else 'set'}", err=True)
