"""`gatepost domain password`: sets or removes the password, or client secret, of a domain's directory."""

from __future__ import annotations

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.language import _
from gatepost.manage.cli.options import BAD_INPUT, NO, config_option, fail
from gatepost.manage.cli.password_prompt import prompt_password
from gatepost.manage.cli.stored_names import stored_names
from gatepost.manage.cli.tables import printable
from gatepost.manage.use_cases.directory_password import (
    RemoveDirectoryPassword,
    SetDirectoryPassword,
    ShowDirectoryPassword,
    remove_directory_password,
    set_directory_password,
    show_directory_password,
)
from gatepost.manage.use_cases.name_lookup import choose_part
from gatepost.manage.use_cases.parts import DOMAIN
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.connector_secrets import SecretState
from gatepost.texts import N_


@click.command()
@click.argument("name", shell_complete=stored_names("accepted_domain"))
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, up to the end of the line."
)
@click.option("--remove", is_flag=True, help="Destroy the password. The directory then cannot be asked.")
@click.option("--check", is_flag=True, help="Only say whether there is a password.")
@click.option("--organization", default="", help="Needed if several organizations match.")
@config_option
def password(name: str, organization: str, *, from_stdin: bool, remove: bool, check: bool) -> None:
    """Set the password with which the gateway logs in to the directory of the accepted domain NAME.

    For LDAP (recipient_directory) it is the password of bind_dn, for Microsoft Graph (recipient_graph) the client
    secret. The command asks for it twice, or reads it from standard input with --stdin. The gateway encrypts it with
    store.master_key, apart from the resources: no export, history, log or trace contains it, and nothing shows it. It
    is used for the next log-in, and only for the servers, bind_dn and trust_anchors, or the url, login_url, tenant_id
    and client_id, that the domain has now: after a change of these, enter it again.

    Exit codes: 0 done, with --check: there is one; 1 with --check: there is none, or it was entered for other servers;
    2 there is no such domain, it logs in to no directory, or the password is empty or too long; 3 the data cannot be
    read or written.
    """
    through = client()
    if sum((from_stdin, remove, check)) > 1:
        fail(BAD_INPUT, "use only one of --stdin, --remove and --check")
    part = choose_part(through.directory().resources, DOMAIN, name, organization)
    named = {"organization": part.organization.name, "domain": part.name}
    try:
        if check:
            shown = through.call(show_directory_password, ShowDirectoryPassword(**named))
            click.echo(f"{shown.domain}: {shown.password}")
            raise SystemExit(0 if shown.password in {SecretState.SEALED, SecretState.FILE} else NO)
        if remove:
            changed = through.call(remove_directory_password, RemoveDirectoryPassword(**named))
        else:
            through.call(show_directory_password, ShowDirectoryPassword(**named))  # before somebody types in vain
            text = prompt_password("--stdin", from_stdin=from_stdin, what="Password")
            changed = through.call(set_directory_password, SetDirectoryPassword(password=text, **named))
    except Refusal as refusal:
        if refusal.kind is not RefusalKind.INPUT:
            raise
        fail(BAD_INPUT, printable(refusal.text))
    text = N_("%(name)s: password removed") if remove else N_("%(name)s: password set")
    click.echo(_(text, name=changed.domain), err=True)
