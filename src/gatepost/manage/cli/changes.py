"""Changes of the resources as commands print them: the same lines for a file, a single resource and the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.blast_radius import print_radius
from gatepost.manage.cli.tables import print_json, printable
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.change_shapes import ChangeReport
    from gatepost.manage.use_cases.differences import FieldChange


_OLD_WARNINGS = 20


def report(outcome: ChangeReport, *, as_json: bool, standing: bool = False) -> None:
    """Print what changed, or would and what that would do, and the version that is in force now.

    standing: also what was to be thought about before the change.
    """
    print_warnings(outcome, standing=standing)
    for text in outcome.notes:
        click.echo(f"note: {text}", err=True)
    if outcome.nodes is not None:
        click.echo(f"version {outcome.version} is {printable(outcome.nodes.text)}", err=True)
    if as_json:
        print_json(outcome)
        return
    print_changes(outcome.changes)
    if (radius := outcome.radius) is not None:
        click.echo("")
        print_radius(radius)
        click.echo("")
    if not outcome.changes:
        click.echo(f"nothing to change; version {outcome.version} is in force")
    elif outcome.dry_run:
        click.echo(f"{quantity(len(outcome.changes), 'change')}, not applied (--dry-run)")
    else:
        click.echo(f"{quantity(len(outcome.changes), 'change')} applied as version {outcome.version}")


def print_changes(changes: Sequence[FieldChange]) -> None:
    """A line each."""
    for change in changes:
        click.echo(printable(change))


def print_warnings(outcome: ChangeReport, *, standing: bool) -> None:
    """Print warnings about a change, and with standing also those of before."""
    for text in outcome.warnings:
        click.echo(f"warning: {text}", err=True)
    old = outcome.standing if standing else ()
    for text in old[:_OLD_WARNINGS]:
        click.echo(f"warning, as before: {text}", err=True)
    if len(old) > _OLD_WARNINGS:
        click.echo(f"{len(old) - _OLD_WARNINGS} more warnings, as before", err=True)
