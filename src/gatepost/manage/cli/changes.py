"""Changes of the resources as commands print them: the same lines for a file, a single resource and the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.blast_radius import print_radius
from gatepost.manage.cli.language import ours, quantity
from gatepost.manage.cli.tables import print_json, printable, say

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
        say("note: %(text)s", err=True, text=ours(text))
    if outcome.nodes is not None:
        say(
            "version %(version)s is %(text)s",
            err=True,
            version=outcome.version,
            text=printable(ours(outcome.nodes.text)),
        )
    if as_json:
        print_json(outcome)
        return
    print_changes(outcome.changes)
    if (radius := outcome.radius) is not None:
        click.echo("")
        print_radius(radius)
        click.echo("")
    if not outcome.changes:
        say("nothing to change; version %(version)s is in force", version=outcome.version)
    elif outcome.dry_run:
        say("%(changes)s, not applied (--dry-run)", changes=quantity(len(outcome.changes), "change"))
    else:
        say(
            "%(changes)s applied as version %(version)s",
            changes=quantity(len(outcome.changes), "change"),
            version=outcome.version,
        )


def print_changes(changes: Sequence[FieldChange]) -> None:
    """A line each."""
    for change in changes:
        click.echo(printable(change))


def print_warnings(outcome: ChangeReport, *, standing: bool) -> None:
    """Print warnings about a change, and with standing also those of before."""
    for text in outcome.warnings:
        say("warning: %(text)s", err=True, text=ours(text))
    old = outcome.standing if standing else ()
    for text in old[:_OLD_WARNINGS]:
        say("warning, as before: %(text)s", err=True, text=ours(text))
    if len(old) > _OLD_WARNINGS:
        say("%(old)s, as before", err=True, old=quantity(len(old) - _OLD_WARNINGS, "more warning"))
