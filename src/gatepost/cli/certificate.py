"""`gatepost certificate …`: the certificates of this gateway. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.cli.lazy import LazyGroup

__all__ = ["certificate"]

_COMMANDS = {
    "list": ("certificate_list", "list_", "Certificates: their state, names, issuer, validity, origin."),
    "show": ("certificate_list", "show", "Everything about a certificate."),
    "history": ("certificate_list", "history", "Who changed the certificates, when and why."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def certificate() -> None:
    """The certificates of this gateway: next, current, deprecated, and those of its client identities."""
