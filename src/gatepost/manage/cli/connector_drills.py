"""`gatepost connector drills`: drills that are stored, of all connectors, with their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.request_options import limit_option, request_options
from gatepost.manage.cli.tables import print_rows
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.drill_list import ListDrills, list_drills
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.manage.use_cases.drill_list import KeptDrill


_COLUMNS: Final = ("at", "result", "organization", "connector", "number", "verdict", "name")


@click.command()
@request_options(ListDrills)
@limit_option
@config_option
@json_option
def drills(config: str | None, as_json: bool, request: ListDrills, limit: int) -> None:
    """List drills that are stored, newest first. `connector drill NAME` runs one, and `--last` shows the last in full.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    print_rows(_COLUMNS, all_items(client(config).call, list_drills, request, limit), _row, as_json=as_json)


def _row(drill: KeptDrill) -> tuple[object, ...]:
    result = "altered" if drill.fault else "passed" if drill.passed else "failed"
    verdict = drill.fault or drill.verdict
    return moment(drill.at), result, drill.organization, drill.connector, drill.number, verdict, drill.name
