"""`gatepost connector …`: the connectors of an organization. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "list": ("connector_list", "list_", "List connectors: between whom, what they require, and the last validation."),
    "show": ("connector_list", "show", "Show every field of a connector, with its value or default."),
    "add": ("connector_change", "add", "Add a connector."),
    "set": ("connector_change", "set_", "Change fields of a connector."),
    "remove": ("connector_change", "remove", "Remove a connector."),
    "validate": (
        "connector_validate",
        "validate",
        "Validate a connector: each step is a named task, with advice if it fails.",
    ),
    "drill": ("connector_drill", "drill", "Attack a connector on loopback and show that no mail leaks."),
    "rehearsal": (
        "connector_rehearsal",
        "rehearsal",
        "Show what a connector in rehearsal would have refused or held.",
    ),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def connector() -> None:
    """Show, change and test connectors."""
