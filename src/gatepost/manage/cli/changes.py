"""Changes of the resources as commands print them: the same lines for a file, a single resource and the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.blast_radius import print_radius
from gatepost.manage.cli.language import _, ours, quantity
from gatepost.manage.cli.tables import print_json, printable

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
        click.echo(_("note: %(text)s", text=ours(text)), err=True)
    if outcome.nodes is not None:
        click.echo(
            _("version %(version)s is %(text)s", version=outcome.version, text=printable(ours(outcome.nodes.text))),
            err=True,
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
        click.echo(_("nothing to change; version %(version)s is in force", version=outcome.version))
    elif outcome.dry_run:
        click.echo(_("%(changes)s, not applied (--dry-run)", changes=quantity(len(outcome.changes), "change")))
    else:
        click.echo(
            _(
                "%(changes)s applied as version %(version)s",
                changes=quantity(len(outcome.changes), "change"),
                version=outcome.version,
            )
        )


def print_changes(changes: Sequence[FieldChange]) -> None:
    """A line each."""
    for change in changes:
        click.echo(printable(change))


def print_warnings(outcome: ChangeReport, *, standing: bool) -> None:
    """Print warnings about a change, and with standing also those of before."""
    for text in outcome.warnings:
        click.echo(_("warning: %(text)s", text=ours(text)), err=True)
    old = outcome.standing if standing else ()
    for text in old[:_OLD_WARNINGS]:
        click.echo(_("warning, as before: %(text)s", text=ours(text)), err=True)
    if len(old) > _OLD_WARNINGS:
        click.echo(_("%(old)s, as before", old=quantity(len(old) - _OLD_WARNINGS, "more warning")), err=True)
