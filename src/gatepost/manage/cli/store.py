"""`gatepost store …`: what is stored, as a whole. Each command is in a module of its own."""

from __future__ import annotations

import click

from gatepost.manage.cli.lazy import LazyGroup

_COMMANDS = {
    "backup": ("store_backup", "backup", "Back up everything stored into a new directory or .tar file, while serving."),
    "restore": ("store_restore", "restore", "Restore a backup into an empty data directory."),
    "check": ("store_check", "check", "Check that databases are whole and every queued message has its body."),
    "migrate": ("store_migrate", "migrate", "Move everything stored from SQLite to PostgreSQL, or back."),
    "reopen": ("store_reopen", "reopen", "Use a store again that was moved, or whose move was given up."),
    "prepare": ("store_prepare", "prepare", "Make the tables in PostgreSQL, as a role that may."),
}


@click.group(cls=LazyGroup, commands=_COMMANDS)
def store() -> None:
    """Back up, restore, move and check what the gateway stores: queue, configuration, accounts, evidence."""
