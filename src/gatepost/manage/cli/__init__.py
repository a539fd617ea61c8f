"""The command line: `gatepost …`. Commands load when they are called, so that `--help` and `queue list` start fast.

Exit codes of every command: 0 yes or done, 1 a clear no, 2 usage error or bad input, 3 inconclusive. Data goes to
standard output, messages to standard error.
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
    "quickstart": ("quickstart", "quickstart", "Set up a gateway: settings, keys, first resources, DNS records."),
    "up": ("quickstart", "up", "Set up a gateway on loopback without a question, and run it."),
    "demo": ("demo", "demo", "Run a gateway and a partner on loopback, and explain what happens to five messages."),
    "status": ("status", "status", "Show whether the gateway runs: nodes, listeners, workers, configuration, queue."),
    "doctor": ("doctor", "doctor", "Examine the gateway and its machine: what is wrong, and what to do next."),
    "settings": ("settings", "settings", "Show the server settings in force, and where each comes from."),
    "alarms": ("alarms", "alarms", "List active alarms: what is or soon will be wrong, and how to fix it."),
    "apply": ("resources", "apply", "Apply a resource file: make the organizations in it as described."),
    "export": ("resources", "export", "Print the resources in force as a resource file."),
    "import": ("imports", "imports", "Convert the configuration of Exchange or Postfix into a resource file."),
    "organization": ("organization", "organization", "Manage organizations (the tenants of this gateway)."),
    "domain": ("domain", "domain", "Manage accepted domains."),
    "mailbox": ("mailbox", "mailbox", "Manage mailboxes: recipients to whom the gateway delivers itself."),
    "connector": ("groups", "connector", "Show, change and test connectors."),
    "rule": ("mail_flow_rule", "rule", "Manage mail flow rules: choose a route or require TLS for certain messages."),
    "issuer": ("oauth_issuer", "issuer", "Manage OAuth issuers, whose tokens users can log in with."),
    "hook": ("content_hook", "hook", "Manage content hooks: rspamd and ClamAV scan messages before acceptance."),
    "dkim": ("dkim", "dkim", "Manage DKIM keys, which sign outgoing mail."),
    "srs": ("srs", "srs", "Manage the keys that rewrite reverse-paths of forwarded mail (SRS)."),
    "certificate": ("groups", "certificate", "Manage the gateway's certificates and their lifecycle."),
    "smime": ("groups", "smime", "Manage S/MIME: certificates of recipients, and our own certificates and keys."),
    "node": ("node", "node", "Show the nodes that share a store, drain one, or forget a dead one."),
    "site": ("groups", "site", "Manage the internal authority: certificates for nodes and on-premises servers."),
    "hybrid": ("hybrid", "hybrid", "Plan a hybrid deployment with an on-premises Exchange."),
    "user": ("user", "user", "Manage users of the admin centre: roles, passwords and sessions."),
    "token": ("token", "token", "Manage API tokens, which programs use to call REST."),
    "audit": ("audit", "audit", "Show the audit log: log-ins and actions in the admin centre and over REST."),
    "grant": (
        "grant",
        "grant",
        "Grant files, sockets and hosts in resources that need the gateway owner's approval.",
    ),
    "history": ("history", "history", "Show who changed the resources, when and why."),
    "explain": ("explain", "explain", "Explain what would happen to a message, and why."),
    "check": (
        "check",
        "check",
        "Check how well a domain protects mail, or how good a certificate is. Needs no gateway.",
    ),
    "store": (
        "groups",
        "store",
        "Back up, restore and check what is stored: queue, configuration, accounts, evidence.",
    ),
    "queue": ("queue", "queue", "Show and manage mail that waits or is held."),
    "quarantine": ("quarantine", "quarantine", "Review, release and delete messages in quarantine."),
    "destination": (
        "destination",
        "destination",
        "Show how well destinations protect mail, and which of them got worse.",
    ),
    "limit": ("limit", "limit", "Show what users and servers sent today, and lift a daily limit."),
    "trace": ("trace", "trace", "Search the message trace: what happened to a message, and why."),
    "evidence": ("groups", "evidence", "Verify and export the evidence log of messages and hops."),
    "report": ("groups", "report", "Show reports: protection of mail, TLS sessions by domain and result."),
    "completion": ("completion", "completion", "Print a script that completes commands and names in a shell."),
    "tls": ("tls", "tls", "List the TLS versions and cipher suites of each profile."),
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

    Exit codes: 0 yes or done, 1 a clear no, 2 usage error or bad input, 3 inconclusive.
    """
    ctx.obj = parse_remote_options(ctx, config, server, options)
