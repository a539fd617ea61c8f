"""`gatepost evidence …`: the log that an auditor can verify. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "verify": ("evidence_verify", "verify", "Find whatever was removed, changed or reordered; works offline."),
    "export": ("evidence_export", "export", "Entries with their proof, for an auditor: JSON, CSV or PDF."),
    "heads": ("evidence_heads", "heads", "The signed head of each day: to be kept elsewhere."),
    "key": ("evidence_heads", "key", "The public key of the signatures: to be kept elsewhere."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def evidence() -> None:
    """What was required, negotiated and proven for every message and hop, in a signed chain of hashes."""
