"""`gatepost connector …`: the connectors of an organization. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.cli.lazy import LazyGroup

__all__ = ["connector"]

_COMMANDS = {
    "validate": (
        "connector_validate",
        "validate",
        "Try a connector: each step a named task, with advice where it fails.",
    ),
    "drill": ("connector_drill", "drill", "Play an attacker against a connector and show that nothing leaves."),
    "rehearsal": ("connector_rehearsal", "rehearsal", "What a connector in rehearsal would have refused or held."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def connector() -> None:
    """Look at connectors, change them, try them out."""
