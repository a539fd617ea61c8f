"""`gatepost certificate …`: the certificates of this gateway. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.certificate_group import CertificateGroup

_COMMANDS = {
    "list": ("certificate_list", "list_", "Certificates: their state, names, issuer, validity, origin."),
    "show": ("certificate_list", "show", "Everything about a certificate."),
    "add": ("certificate_add", "add", "Add a certificate with its key, or a directory in which others renew some."),
    "request": ("certificate_request", "request", "Make a key and a request for a certificate (CSR)."),
    "remove": ("certificate_remove", "remove", "Forget a certificate, a request or a directory."),
    "publish": ("certificate_publish", "publish", "The table for partners, as files for a web server."),
    "changeover": (
        "certificate_changeover",
        "changeover",
        "From one certificate to the next: gates, notices, switch, roll back.",
    ),
    "acme": ("certificate_acme", "acme", "Certificates from an ACME authority: where they stand, asking for one now."),
    "alarms": ("alarms", "certificate_alarms", "What is wrong with the certificates, or soon will be."),
    "history": ("certificate_list", "history", "Who changed the certificates, when and why."),
}


@click.group(cls=CertificateGroup, commands=_COMMANDS)
def certificate() -> None:
    """The certificates of this gateway: next, current, deprecated, and those of its client identities."""
