"""Which function of this package does what one of `administration` does, as a `Door` of the command line.

A command names the function of `administration` alone. Either it looks at the resources and nothing else, and is called
with what was fetched of them; or it has a counterpart here. What has neither cannot be done from afar.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Concatenate, Final

from msgspec import ValidationError

from gatepost import __version__
from gatepost.access.principal import Principal, Scope
from gatepost.administration.refusal import Kind, Refusal
from gatepost.remote.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.administration.gateway import Gateway
    from gatepost.remote.address import Address

__all__ = ["COUNTERPARTS", "OF_RESOURCES", "RemoteDoor"]

OF_RESOURCES: Final = frozenset(
    {"listings.domains", "listings.mailboxes", "listings.organizations", "resources.organization", "resources.part",
     "resources.seen"}
)  # fmt: skip
"""Functions of `administration` that read resources and nothing else."""

COUNTERPARTS: Final = frozenset(
    {"alarms.alarms",
     "destinations.accepted", "destinations.forgotten", "destinations.remembered",
     "evidence.export", "evidence.heads", "evidence.keys", "explain.explained",
     "connectors.connectors", "history.history_records", "history.version_records", "queue.acted", "queue.entries",
     "queue.message_entries", "rehearsal.rehearsal",
     "reports.received_failed", "reports.received_sums", "reports.sent", "reports.sessions", "reports.tls_report",
     "resources.add_organization", "resources.add_part",
     "resources.apply_document", "resources.document", "resources.remove_organization", "resources.remove_part",
     "resources.set_organization", "resources.set_part", "status.status", "trace.events", "trace.events_of"}
)  # fmt: skip
"""Functions of `administration` that have one of the same name in the module of this package of the same name."""

_EVERYTHING = Principal("", frozenset({Scope.OWNER}))  # what the token does not see was not fetched


class RemoteDoor:
    """See `cli.door.Door`."""

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
        name = f"{module}.{use_case.__name__}"
        if name in OF_RESOURCES:
            from gatepost.remote.resources import FetchedGateway  # noqa: PLC0415 - mail needs no resources

            return use_case(FetchedGateway(self._connection), _EVERYTHING, *args, **kwargs)
        if name not in COUNTERPARTS:
            text = "this is not served over REST; do it on the gateway's machine, without --server"
            raise Refusal(Kind.INPUT, text)
        counterpart: Any = getattr(import_module(f"gatepost.remote.{module}"), use_case.__name__)
        try:
            found: T = counterpart(self._connection, *args, **kwargs)
        except (LookupError, TypeError, ValueError, ValidationError) as error:
            text = f"{self._connection.url}: its answer is not what this version of the command expects"
            raise Refusal(Kind.UNREADABLE, f"{text} ({__version__}; GET /api/v1/status has its own)") from error
        return found
