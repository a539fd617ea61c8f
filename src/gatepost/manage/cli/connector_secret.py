"""`gatepost connector secret`: sets or removes the secret by which an outbound connector logs in to its smart hosts."""

from __future__ import annotations

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import BAD_INPUT, NO, config_option, fail
from gatepost.manage.cli.password_prompt import prompt_password
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.cli.tables import printable
from gatepost.manage.use_cases.connector_secrets import (
    RemoveConnectorSecret,
    SetConnectorSecret,
    ShowConnectorSecret,
    remove_connector_secret,
    set_connector_secret,
    show_connector_secret,
)
from gatepost.manage.use_cases.name_lookup import choose_part
from gatepost.manage.use_cases.parts import OUTBOUND
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.connector_secrets import SecretState
from gatepost.texts import N_


@click.command()
@click.argument("name", shell_complete=stored_names("outbound_connector"))
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the secret from standard input, up to the end of the line."
)
@click.option("--remove", is_flag=True, help="Destroy the secret. Mail of the connector then waits.")
@click.option("--check", is_flag=True, help="Only say whether there is a secret.")
@click.option("--organization", default="", help="Needed if several organizations match.")
@config_option
def secret(name: str, organization: str, *, from_stdin: bool, remove: bool, check: bool) -> None:
    """Set the password, or the client secret, with which the outbound connector NAME logs in to its smart hosts.

    The command asks for it twice, or reads it from standard input with --stdin. The gateway encrypts it with
    store.master_key, apart from the resources: no export, history, log or trace contains it, and nothing shows it. It
    is used from the next log-in on, and only for the smart hosts, tls_domain, trust_anchors and token_url that the
    connector has now: after a change of these, enter it again.

    Exit codes: 0 done, with --check: there is one; 1 with --check: there is none, or it was entered for other smart
    hosts; 2 there is no such connector, it has no authentication, or the secret is empty or too long; 3 the data cannot
    be read or written.
    """
    through = client()
    if sum((from_stdin, remove, check)) > 1:
        fail(BAD_INPUT, "use only one of --stdin, --remove and --check")
    # before somebody types a secret in vain
    part = choose_part(through.directory().resources, OUTBOUND, name, organization)
    named = {"organization": part.organization.name, "connector": part.name}
    try:
        if check:
            shown = through.call(show_connector_secret, ShowConnectorSecret(**named))
            click.echo(f"{shown.connector}: {shown.secret}")
            raise SystemExit(0 if shown.secret in {SecretState.SEALED, SecretState.FILE} else NO)
        if remove:
            changed = through.call(remove_connector_secret, RemoveConnectorSecret(**named))
        else:
            through.call(show_connector_secret, ShowConnectorSecret(**named))
            text = prompt_password("--stdin", from_stdin=from_stdin, what="Secret")
            changed = through.call(set_connector_secret, SetConnectorSecret(secret=text, **named))
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT:
            raise
        fail(BAD_INPUT, printable(refusal.text))
    text = N_("%(name)s: secret removed") if remove else N_("%(name)s: secret set")
    click.echo(_(text, name=changed.connector), err=True)
