"""Secrets for session tickets, one for each day: made here for one node, or in a table that the nodes of a site share.

Given out by `Storage.ticket_secrets`, asked by `node.ticket_secrets`. In the table they are sealed, and what is older
than any ticket is removed, so that nobody reads recorded TLS 1.2 sessions with what a backup of the database holds.
"""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import TYPE_CHECKING, Final, Protocol

from gatepost.store.interface import Database, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.srs_keys import Sealing

# day: since 1970 UTC. made: seconds since 1970, by the server's clock.
TICKETS: Final = Schema(
    name="tickets",
    file="tickets.db",
    application_id=0x6770746B,  # "gptk"
    version=1,
    tables="""
    CREATE TABLE ticket_secret (
        day    INTEGER PRIMARY KEY,
        sealed BLOB NOT NULL,
        made   REAL NOT NULL
    );
    """,
    secret=True,
)
"""With SQLite there is one node, which needs no table."""

_OCTETS: Final = 32
_KEPT: Final = 3 * 86400.0  # a day's secret is made up to a day before, and a node's clock may be wrong

_ADD = "INSERT INTO ticket_secret (day, sealed, made) VALUES (?, ?, {clock}) ON CONFLICT (day) DO NOTHING"
_REMOVE = "DELETE FROM ticket_secret WHERE made < {clock} - ?"


class TicketSecrets(Protocol):
    """Where the secret of a day comes from. Blocks."""

    def secret(self, day: int) -> bytes:
        """32 bytes, made by the first who asks. Raises StoreFailure, and what the sealing raises."""


class NodeTicketSecrets:
    """Of one node: whoever asks keeps what it gets."""

    def secret(self, day: int) -> bytes:
        """Implements `TicketSecrets`."""
        del day
        return secrets.token_bytes(_OCTETS)


class SiteTicketSecrets:
    """Of all nodes that share a database, sealed with the master key that they share."""

    def __init__(self, open_database: Callable[[], Database], sealing: Sealing) -> None:
        self._open = open_database
        self._sealing = sealing

    def secret(self, day: int) -> bytes:
        """Implements `TicketSecrets`."""
        place = f"tls/tickets/{day}"
        sealed = self._sealing.seal(secrets.token_bytes(_OCTETS), place)
        with closing(self._open()) as database, database.single() as connection:
            connection.execute(_REMOVE.format(clock=connection.clock), (_KEPT,))
            connection.execute(_ADD.format(clock=connection.clock), (day, sealed))
            sealed = bytes(connection.value("SELECT sealed FROM ticket_secret WHERE day = ?", (day,)))
        return self._sealing.open(sealed, place)
