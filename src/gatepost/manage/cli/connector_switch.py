"""`gatepost connector switch`: many connectors enabled, disabled, enforced or put in rehearsal by one change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.edit import ChangeArguments, PreparedChange, change_options, edit
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import CODES
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.connector_switches import (
    ConnectorName,
    SwitchAction,
    SwitchConnectors,
    switch_connectors,
)
from gatepost.manage.use_cases.connectors import ListConnectors, list_connectors
from gatepost.manage.use_cases.name_lookup import choose_connector

if TYPE_CHECKING:
    from gatepost.policy.connectors.model import Resources


@click.command(
    help="Enable, disable, enforce or rehearse connectors: those NAMEd, or with --all every one that the other options "
    "leave.\n\nIt is one change and one entry of the history, which `gatepost history revert` takes back.\n\n"
    f"For example:\n\n\b\ngatepost connector switch rehearse --all --status enabled --dry-run\n\n{CODES}"
)
@click.argument("action", type=click.Choice(get_args(SwitchAction.__value__)))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="All connectors, or all of --organization, --direction, --status.")
@click.option("--organization", default="", help="Only of this organization.")
@click.option("--direction", default="", type=click.Choice(["", "inbound", "outbound"]), help="Only this direction.")
@click.option("--status", default="", type=click.Choice(["", "enabled", "rehearsal", "disabled"]), help="With --all.")
@change_options
@config_option
@json_option
def switch(
    action: SwitchAction,
    names: tuple[str, ...],
    organization: str,
    direction: str,
    status: str,
    *,
    every: bool,
    **given: Any,
) -> None:
    """Many connectors at once."""
    if bool(names) == every or (status and not every):
        raise click.UsageError("name connectors, or use --all (with --status if you like), not both")
    arguments = ChangeArguments(**given)

    def make(resources: Resources) -> PreparedChange:
        chosen = [_named(resources, name, organization, direction) for name in names]
        if every:
            wanted = ListConnectors(organization=organization, direction=direction, status=status)  # type: ignore[arg-type]
            rows = all_items(client(arguments.config).call, list_connectors, wanted)
            chosen = [_name(row.organization, row.direction, row.name) for row in rows]
        if not chosen:
            raise click.UsageError("no connector matches these options")
        request = SwitchConnectors(action=action, connectors=chosen, **arguments.fields)
        return PreparedChange(switch_connectors, request)

    edit(arguments, make)


def _named(resources: Resources, name: str, organization: str, direction: str) -> ConnectorName:
    chosen = choose_connector(resources, name, organization, direction or None)
    return _name(chosen.organization.name, chosen.direction, chosen.connector.name)


def _name(organization: str, direction: str, name: str) -> ConnectorName:
    return ConnectorName(organization=organization, direction=direction, name=name)  # type: ignore[arg-type]
