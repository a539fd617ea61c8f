"""Through which door a command goes: to the files of the gateway on this machine, or to another one by REST.

A command names a function of `administration` and what to give it besides the gateway and who asks. Either door returns
the same values or raises the same Refusal, and the command prints them in one way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Concatenate, Protocol

import click

from gatepost.manage.cli.options import administrator, gateway_of, server_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


class Door(Protocol):
    """Does what a function of `administration` does. It is called with the function's arguments after the first two."""

    def __call__[**P, T](
        self, use_case: Callable[Concatenate[Gateway, Principal, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What the function returns. Raises Refusal."""


def door(config: str | None) -> Door:
    """The door that the options of the command say; ends the command if the settings or these options are wrong."""
    server = server_of()
    if server is None:
        return Here(gateway_of(config))
    from gatepost.manage.remote.door import RemoteDoor  # noqa: PLC0415 - a command on the gateway's machine needs none of it

    remote = RemoteDoor(server.address())
    click.get_current_context().call_on_close(remote.close)
    return remote


class Here:
    """The door to a gateway on this machine."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __call__[**P, T](
        self, use_case: Callable[Concatenate[Gateway, Principal, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """See `Door`."""
        return use_case(self._gateway, administrator(), *args, **kwargs)
