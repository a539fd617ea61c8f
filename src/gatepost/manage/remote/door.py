"""Which function of this package does what one of `administration` does, as a `Door` of the command line.

A command names the function of `administration` alone. Either it looks at the resources and nothing else, and is called
with what was fetched of them; or it has a counterpart here, a public function of the same name in the module of the
same name. What has neither cannot be done from afar.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Concatenate, Final

from msgspec import ValidationError

from gatepost import __version__
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote.connection import Connection
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.remote.address import Address
    from gatepost.manage.use_cases.gateway import Gateway


OF_RESOURCES: Final = frozenset({"resources.seen"})
"""Functions of `administration` that read resources and nothing else."""

_EVERYTHING = Principal("", frozenset({Scope.OWNER}))  # what the token does not see was not fetched


class RemoteDoor:
    """See `manage.cli.door.Door`."""

    def __init__(self, address: Address) -> None:
        self._connection = Connection(address)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __call__[**P, T](
        self, use_case: Callable[Concatenate[Gateway, Principal, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do it there. Raises Refusal."""
        module = use_case.__module__.rpartition(".")[2]
        if f"{module}.{use_case.__name__}" in OF_RESOURCES:
            from gatepost.manage.remote.resources import FetchedGateway  # noqa: PLC0415 - mail needs no resources

            return use_case(FetchedGateway(self._connection), _EVERYTHING, *args, **kwargs)
        counterpart = _counterpart(module, use_case.__name__)
        try:
            found: T = counterpart(self._connection, *args, **kwargs)
        except (LookupError, TypeError, ValueError, ValidationError) as error:
            text = f"{self._connection.url}: its answer is not what this version of the command expects"
            raise Refusal(Kind.UNREADABLE, f"{text} ({__version__}; GET /api/v1/status has its own)") from error
        return found


def _counterpart(module: str, name: str) -> Any:
    """Raises Refusal (INPUT) if there is none."""
    if find_spec(f"gatepost.manage.remote.{module}") is not None:
        there = import_module(f"gatepost.manage.remote.{module}")
        if getattr(getattr(there, name, None), "__module__", "") == there.__name__:
            return getattr(there, name)
    text = "this is not served over REST; do it on the gateway's machine, without --server"
    raise Refusal(Kind.INPUT, text)
