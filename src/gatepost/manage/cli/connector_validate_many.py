"""`gatepost connector validate-many`: validate many connectors, with a line for each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.connector_selection import ChosenConnectors, selected, selection_options
from gatepost.manage.cli.options import NO, UNKNOWN, client, gateway_options
from gatepost.manage.cli.output import _, print_table, printed_json, progress, quantity
from gatepost.manage.use_cases import bulk_validation
from gatepost.manage.use_cases.jobs import follow

if TYPE_CHECKING:
    from gatepost.manage.use_cases.client import Client


_COLUMNS: Final = ("outcome", "direction", "name", "organization", "verdict")
_WAIT: Final = 1.0  # seconds that a call waits for the end: less than the sign of work does
_MOST: Final = 6 * 3600.0  # seconds; 2000 connectors whose hosts do not answer take that long


@click.command("validate-many")
@selection_options
@gateway_options
def validate_many(selection: ChosenConnectors) -> None:
    """Validate connectors as they are stored: each NAME, or with --all those that the other options select.

    A few run at a time, two for each organization. Each result is kept, and `gatepost connector validate NAME` shows
    all tasks of one. With --server they run on that gateway. Ctrl-C stops them.

    Exit codes: 0 all validated, 1 not validated (at least one), 2 usage error or bad input, 3 inconclusive (at least
    one, and none that is not validated).
    """
    run = client()
    names = selected(run, run.directory().resources, selection)
    state = _followed(
        run, run.call(bulk_validation.validate_connectors, bulk_validation.ValidateConnectors(connectors=names)).value
    )
    if not printed_json(state):
        print_table(_COLUMNS, ([getattr(row, name) or row.state for name in _COLUMNS] for row in state.connectors))
        click.echo(_summary(state), err=True)
    sys.exit(NO if state.counts.not_validated else UNKNOWN if state.counts.validated < state.counts.total else 0)


def _followed(run: Client, state: bulk_validation.BulkValidation) -> bulk_validation.BulkValidation:
    """The end of it. Who interrupts the command stops the validation, too."""

    def show(identity: str) -> bulk_validation.BulkValidation:
        return run.call(bulk_validation.show_validations, bulk_validation.ShowValidations(id=identity, wait=_WAIT))

    try:
        return follow(state, show, lambda later: progress(_summary(later)), _MOST)
    except KeyboardInterrupt:
        run.call(bulk_validation.stop_validations, bulk_validation.StopValidations(id=state.id))
        raise
    finally:
        progress("")


def _summary(state: bulk_validation.BulkValidation) -> str:
    """Progress in one line."""
    counts = state.counts
    parts = [
        _("%(validated)s validated", validated=counts.validated),
        _("%(not_validated)s not validated", not_validated=counts.not_validated),
        _("%(unknown)s inconclusive", unknown=counts.unknown),
        *([_("%(left)s left", left=counts.left)] if counts.left else []),
    ]
    return f"{quantity(counts.total, 'connector')}: {', '.join(parts)}"
