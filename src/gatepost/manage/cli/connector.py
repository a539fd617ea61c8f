"""`gatepost connector …`: the connectors of an organization. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "list": ("connector_list", "list_", "Connectors: from whom to whom, what they demand, whether they were tried."),
    "show": ("connector_list", "show", "Every field of a connector, written or default."),
    "add": ("connector_change", "add", "Add a connector."),
    "set": ("connector_change", "set_", "Change fields of a connector."),
    "remove": ("connector_change", "remove", "Remove a connector."),
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
