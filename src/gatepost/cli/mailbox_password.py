"""`gatepost mailbox password`: sets or removes the password with which a mailbox's owner submits mail."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

import click

from gatepost.administration.choice import choose_part
from gatepost.administration.parts import MAILBOX
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import BAD_INPUT, UNKNOWN, author, config_option, fail, settings_of
from gatepost.inbound.credentials import PasswordError, content_name, make_credential
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

__all__ = ["password"]

_MOST = 2048  # characters read; no password is that long


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
    settings = settings_of(config)
    if from_stdin and remove:
        fail(BAD_INPUT, "--stdin sets a password, --remove removes it: write one of them")
    part = choose_part(stored_directory(settings).resources, MAILBOX, address, organization)
    data = None if remove else _encoded(_asked(from_stdin=from_stdin), part.organization.name)
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            store.apply({}, author=author(), content={content_name(part.name): data})
    except StoreFailure as failure:
        fail(UNKNOWN, f"{settings.server.data_dir}: {failure}")
    click.echo(f"{part.name}: password {'removed' if remove else 'set'}", err=True)


def _asked(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(_MOST).rstrip("\r\n")
    if not sys.stdin.isatty():
        fail(BAD_INPUT, "there is no terminal to ask for the password; pass it with --stdin")
    given: str = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    return given


def _encoded(given: str, organization: str) -> bytes:
    try:
        return make_credential(given, organization, time.time()).encode()
    except PasswordError as error:
        fail(BAD_INPUT, f"{error}; nothing was changed")
