"""The client that the options of a command name: of this machine's gateway, or of another one (`--server`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.options import administrator, current_server, gateway_of

if TYPE_CHECKING:
    from gatepost.manage.use_cases.client import Client


def client(config: str | None) -> Client:
    """Closed when the command ends; ends the command if the settings or these options are wrong."""
    server = current_server()
    made: Client
    if server is None:
        from gatepost.manage.use_cases.client import LocalClient  # noqa: PLC0415 - another gateway needs none of it

        made = LocalClient(gateway_of(config), administrator())
    else:
        from gatepost.manage.remote.client import RemoteClient  # noqa: PLC0415 - this machine needs none of it

        made = RemoteClient(server.address())
    click.get_current_context().call_on_close(made.close)
    return made
