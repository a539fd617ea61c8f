"""Load the stored resources for a command, and the options that tell connectors of one name apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.completion import stored_names
from gatepost.manage.use_cases.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings


def stored_directory(settings: Settings) -> Directory:
    """The resources as they are stored, which a running gateway has in force; ends the command if there are none."""
    return Gateway(settings).directory()


def connector_options[F: Callable[..., Any]](command: F) -> F:
    """`NAME`, and the options that tell connectors of one name apart."""
    command = click.option(
        "--direction",
        type=click.Choice(["inbound", "outbound"]),
        help="Needed if there is an inbound and an outbound connector NAME.",
    )(command)
    command = click.option(
        "--organization",
        default="",
        shell_complete=stored_names("organization"),
        help="Needed if several organizations have a connector NAME.",
    )(command)
    return click.argument("name", shell_complete=stored_names("inbound_connector", "outbound_connector"))(command)
