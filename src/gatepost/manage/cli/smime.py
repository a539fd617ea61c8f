"""`gatepost smime …`: certificates of recipients, and our own with their keys, each in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "recipient": ("smime_recipient", "recipient", "Manage certificates of recipients, which mail is encrypted to."),
    "identity": ("smime_identity", "identity", "Manage our own certificates, which sign and decrypt."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def smime() -> None:
    """Manage certificates for S/MIME. Connectors and mail flow rules decide which mail is encrypted or signed."""
