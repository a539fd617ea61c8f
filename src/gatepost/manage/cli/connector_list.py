"""`gatepost connector list|show`: the connectors of all organizations, in Exchange's words, and one in full."""

from __future__ import annotations

from typing import Any

import click

from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import _, ours, print_table, printed_json
from gatepost.manage.cli.part_view import SHOW_CODES, show_part, view_options
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.stored_names import connector_options
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.connectors import ListConnectors, connector_record, list_connectors
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("status", "direction", "name", "organization", "from", "to", "domains", "requires", "validated")


@click.command("list")
@request_options(ListConnectors, status="", q="")
@gateway_options
def list_(request: ListConnectors) -> None:
    """List connectors: their partners, what they require, and the result of the last `connector validate`.

    Exit codes: 0 done (also if there are none), 2 no such organization, 3 the data cannot be read.
    """
    entries = list(all_items(client().call, list_connectors, request))
    if not printed_json(entries):
        rows = [connector_record(entry) for entry in entries]
        print_table(
            _COLUMNS,
            ([_validated(row) if key == "validated" else _shown(key, row[key]) for key in _COLUMNS] for row in rows),
        )


@click.command(help=f"Show every field of a connector, with its value or default.\n\n{SHOW_CODES}")
@connector_options
@view_options
@gateway_options
def show(name: str, organization: str, direction: str | None, **form: Any) -> None:
    """One connector."""
    resources = client().directory().resources
    show_part(choose_connector(resources, name, organization, direction).part, **form)


def _shown(key: str, text: Any) -> Any:
    """Both ends and what is required are in words, the rest are names and codes."""
    return ours(text) if key in {"from", "to", "requires"} else text


def _validated(row: dict[str, Any]) -> str:
    validation = row["validated"]
    return f"{validation['outcome']} {moment(validation['at'] or 0)}" if validation else _("never")
