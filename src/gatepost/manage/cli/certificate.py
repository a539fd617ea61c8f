"""`gatepost certificate …`: the certificates of this gateway. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.certificate_group import CertificateGroup

_COMMANDS = {
    "list": ("certificate_list", "list_", "List certificates with state, names, issuer, validity and origin."),
    "show": ("certificate_list", "show", "Show a certificate with all its details."),
    "add": (
        "certificate_add",
        "add",
        "Add a certificate with its key, or watch a directory that another tool renews.",
    ),
    "request": ("certificate_request", "request", "Create a key and a certificate signing request (CSR)."),
    "remove": ("certificate_remove", "remove", "Remove a certificate, a request or a watched directory."),
    "publish": (
        "certificate_publish",
        "publish",
        "Write the certificate page for partners, as files for a web server.",
    ),
    "changeover": (
        "certificate_changeover",
        "changeover",
        "Replace a certificate by the next: gates, notices, switch, roll back.",
    ),
    "acme": ("certificate_acme", "acme", "Show and renew certificates from an ACME authority."),
    "alarms": ("alarms", "certificate_alarms", "List active alarms about certificates."),
    "history": ("certificate_list", "history", "Show who changed the certificates, when and why."),
}


@click.group(cls=CertificateGroup, commands=_COMMANDS)
def certificate() -> None:
    """Manage the gateway's certificates (next, current and deprecated) and its client certificates."""
