"""`gatepost smime …`: certificates of recipients, and our own with their keys, each in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "recipient": ("smime_recipient", "recipient", "Certificates that mail is encrypted to."),
    "identity": ("smime_identity", "identity", "Certificates of our own, which sign and decrypt."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def smime() -> None:
    """Message encryption by S/MIME: whose certificates there are. Who encrypts what is said by connectors and rules."""
