"""`gatepost connector switch`: many connectors enabled, disabled, enforced or put in rehearsal by one change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from gatepost.manage.cli.client import client
from gatepost.manage.cli.connector_selection import selected, selection_options
from gatepost.manage.cli.edit import ChangeArguments, PreparedChange, change_options, edit
from gatepost.manage.cli.options import config_option, json_option
from gatepost.manage.cli.part_commands import CODES
from gatepost.manage.use_cases.connector_switches import SwitchAction, SwitchConnectors, switch_connectors

if TYPE_CHECKING:
    from gatepost.manage.cli.connector_selection import ChosenConnectors
    from gatepost.policy.connectors.resources import Resources


@click.command(
    help="Enable, disable, enforce or rehearse connectors: those NAMEd, or with --all every one that the other options "
    "leave.\n\nIt is one change and one entry of the history, which `gatepost history revert` takes back.\n\n"
    f"For example:\n\n\b\ngatepost connector switch rehearse --all --status enabled --dry-run\n\n{CODES}"
)
@click.argument("action", type=click.Choice(get_args(SwitchAction.__value__)))
@selection_options
@change_options
@config_option
@json_option
def switch(action: SwitchAction, selection: ChosenConnectors, **given: Any) -> None:
    """Many connectors at once."""
    arguments = ChangeArguments(**given)

    def make(resources: Resources) -> PreparedChange:
        chosen = selected(client(arguments.config), resources, selection)
        return PreparedChange(switch_connectors, SwitchConnectors(action=action, connectors=chosen, **arguments.fields))

    edit(arguments, make)
