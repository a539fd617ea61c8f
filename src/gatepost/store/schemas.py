"""All tables of `store` that several nodes share: those that PostgreSQL must have before a gateway starts.

With SQLite some of them are files of the data directory, and others are kept in another form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gatepost.store.changes import CONFIGURATION, CONFIGURATION_LOG
from gatepost.store.documents import DOCUMENTS
from gatepost.store.failures import LOGIN_FAILURES
from gatepost.store.move_mark import MOVE
from gatepost.store.postgres.evidence_tables import SCHEMA as EVIDENCE
from gatepost.store.postgres.queue_schema import QUEUE_SCHEMA
from gatepost.store.postgres.trace_tables import SCHEMA as TRACE
from gatepost.store.sending_usage import USAGE
from gatepost.store.sent_reports import RECEIVED, SENT
from gatepost.store.session_counts import SESSIONS
from gatepost.store.shared_destinations import HISTORY
from gatepost.store.site_tables import SITE
from gatepost.store.ticket_secrets import TICKETS

if TYPE_CHECKING:
    from gatepost.store.interface import Schema

STORED: Final[tuple[Schema, ...]] = (
    CONFIGURATION,
    CONFIGURATION_LOG,
    LOGIN_FAILURES,
    QUEUE_SCHEMA,
    TRACE,
    EVIDENCE,
    SITE,
    SESSIONS,
    SENT,
    RECEIVED,
    USAGE,
    HISTORY,
    DOCUMENTS,
    TICKETS,
    MOVE,
)

SAME_IN_BOTH: Final[tuple[Schema, ...]] = (CONFIGURATION, SESSIONS, SENT, RECEIVED, USAGE)
"""Those whose tables are the same in a file of SQLite and in PostgreSQL, so that a move copies them row by row."""
