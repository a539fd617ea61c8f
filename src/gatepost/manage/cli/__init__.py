"""The command line: `gatepost …`. Commands load when they are called, so that `--help` and `queue list` start fast.

Exit codes of every command: 0 yes or done, 1 a clear no, 2 wrong use or bad input, 3 could not tell. Data goes to
standard output, talk to standard error.
"""

from __future__ import annotations

import os
from importlib import import_module

import click

from gatepost.manage.cli.lazy import LazyGroup
from gatepost.manage.cli.remote_options import parse_remote_options, remote_options

# No plugin of another package has a say in what settings are valid, and to look for one reads what is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

_COMMANDS = {
    "serve": ("serve", "serve", "Run the gateway until SIGTERM."),
    "demo": ("demo", "demo", "A gateway and a partner on loopback: five messages, and why each went as it did."),
    "status": ("status", "status", "Whether the gateway runs: listeners, workers, configuration, queue."),
    "alarms": ("alarms", "alarms", "What is wrong, or soon will be, and what to do about it."),
    "apply": ("resources", "apply", "Make organizations what a resource file says."),
    "export": ("resources", "export", "Print the resources in force as a resource file."),
    "import": ("imports", "imports", "Make a resource file of Exchange's or Postfix's configuration."),
    "organization": ("organization", "organization", "The tenants of this gateway."),
    "domain": ("domain", "domain", "Accepted domains."),
    "mailbox": ("mailbox", "mailbox", "Recipients that the gateway delivers itself."),
    "connector": ("connector", "connector", "Look at connectors, change them, try them out."),
    "rule": ("mail_flow_rule", "rule", "Mail flow rules: another way for certain messages, or TLS."),
    "issuer": ("oauth_issuer", "issuer", "OAuth issuers: with whose tokens users log in."),
    "hook": ("content_hook", "hook", "Content hooks: rspamd and ClamAV, asked before a message is taken."),
    "dkim": ("dkim", "dkim", "The keys that sign mail as it leaves."),
    "certificate": ("certificate", "certificate", "The certificates of this gateway, and their course."),
    "smime": ("smime", "smime", "Message encryption: certificates of recipients, certificates and keys of our own."),
    "site": ("site", "site", "The internal authority: certificates for nodes and on-premises servers."),
    "hybrid": ("hybrid", "hybrid", "An on-premises Exchange beside this gateway: what each of the two needs."),
    "user": ("user", "user", "Users of the admin centre: their roles, passwords and sessions."),
    "token": ("token", "token", "API tokens, with which programs use REST."),
    "audit": ("audit", "audit", "Who did or tried what in the admin centre and over REST, log-ins among them."),
    "grant": ("grant", "grant", "Files, sockets and hosts in resources that the gateway's owner has to grant."),
    "history": ("history", "history", "Who changed the resources, when and why."),
    "explain": ("explain", "explain", "What would happen to a message, and why."),
    "check": ("check", "check", "How well mail to a domain is protected, how good a certificate is; needs no gateway."),
    "queue": ("queue", "queue", "Look at deferred and held mail, and act on it."),
    "destination": (
        "destination",
        "destination",
        "How well destinations were seen to protect mail, and who does less.",
    ),
    "trace": ("trace", "trace", "Find what happened to a message, and why."),
    "evidence": ("evidence", "evidence", "What was logged of each message and hop: verify it, export it."),
    "report": ("report", "report", "What the gateway has seen, summed up: TLS sessions by domain and result."),
    "tls": ("tls", "tls", "The published list of TLS versions and cipher suites."),
}


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(import_module("gatepost.manage.cli.version").version_text())
        ctx.exit()


@click.group(
    cls=LazyGroup,
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@remote_options
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, the interpreter and the TLS library, then exit.",
)
@click.pass_context
def main(ctx: click.Context, /, config: str | None, server: str, **options: str) -> None:
    """gatepost: a mail gateway that decides, proves and rehearses how every mail connection is protected.

    Exit codes: 0 yes or done, 1 a clear no, 2 wrong use or bad input, 3 could not tell.
    """
    ctx.obj = parse_remote_options(ctx, config, server, options)
