"""Options that choose many connectors: names, or --all for every one that the other options leave."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.manage.cli.output import _
from gatepost.manage.cli.stored_names import CONNECTORS, stored_names
from gatepost.manage.use_cases.client import Client, all_items
from gatepost.manage.use_cases.connectors import ListConnectors, list_connectors
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.resource_actions import ConnectorName

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.resources import Resources


class ChosenConnectors(NamedTuple):
    """The options. every: all connectors that they leave; then no name is given."""

    names: tuple[str, ...]
    every: bool
    organization: str
    direction: str
    status: str


def selection_options[F: Callable[..., Any]](command: F) -> Callable[..., None]:
    """Give a command these options, as its argument `selection`. Raises UsageError where they contradict each other."""

    @click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=CONNECTORS)
    @click.option(
        "--all",
        "every",
        is_flag=True,
        help="All connectors, or all that --organization, --direction and --status choose.",
    )
    @click.option(
        "--organization",
        default="",
        shell_complete=stored_names("organization"),
        help="Only connectors of this organization.",
    )
    @click.option(
        "--direction",
        type=click.Choice(["inbound", "outbound"]),
        metavar="[inbound|outbound]",
        help="Only connectors of this direction.",
    )
    @click.option(
        "--status",
        type=click.Choice(["enabled", "rehearsal", "disabled"]),
        metavar="[enabled|rehearsal|disabled]",
        help="With --all: only connectors in this state.",
    )
    @wraps(command)
    def chosen(
        names: tuple[str, ...], organization: str, direction: str | None, status: str | None, **more: Any
    ) -> None:
        every = more.pop("every")
        if bool(names) == every or (status and not every):
            raise click.UsageError(_("name connectors, or use --all, which --status can narrow; not both"))
        command(selection=ChosenConnectors(names, every, organization, direction or "", status or ""), **more)

    return chosen


def selected(run: Client, resources: Resources, selection: ChosenConnectors) -> list[ConnectorName]:
    """The connectors. Raises UsageError if there are none, and Refusal as `choose_connector`."""
    organization, direction = selection.organization, selection.direction
    if selection.every:
        wanted = ListConnectors(organization=organization, direction=direction, status=selection.status)  # type: ignore[arg-type]
        rows = [(row.organization, row.direction, row.name) for row in all_items(run.call, list_connectors, wanted)]
    else:
        matches = [choose_connector(resources, name, organization, direction or None) for name in selection.names]
        rows = [(chosen.organization.name, chosen.direction, chosen.connector.name) for chosen in matches]
    if not rows:
        raise click.UsageError(_("no connector matches these options"))
    return [ConnectorName(organization=owner, direction=way, name=name) for owner, way, name in rows]  # type: ignore[arg-type]
