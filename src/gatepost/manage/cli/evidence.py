"""`gatepost evidence …`: the log that an auditor can verify. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "verify": ("evidence_verify", "verify", "Verify that nothing was removed, changed or reordered. Works offline."),
    "export": ("evidence_export", "export", "Export entries with their proof for an auditor: JSON, CSV or PDF."),
    "copy": ("evidence_copy", "copy", "Copy the whole log into a directory, for an auditor or another machine."),
    "heads": ("evidence_heads", "heads", "Print the signed head of each day, to store off this machine."),
    "key": ("evidence_heads", "key", "Print the public key of the signatures, to store off this machine."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def evidence() -> None:
    """Verify and export the evidence log: the signed record of what each hop required and proved."""
