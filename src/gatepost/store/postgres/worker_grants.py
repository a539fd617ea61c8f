"""The rights of the role of `store.worker_url`: what processes that talk to the network may do with each table. No I/O.

Every table of the database is listed, also those that they may not even read. What workers want to have changed in the
configuration is judged and written by another process (`node.config_judge`), and they read the node's copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_NONE: Final = frozenset[str]()
_READ: Final = frozenset({"SELECT"})
_ADD: Final = _READ | {"INSERT"}
_KEEP: Final = _ADD | {"UPDATE"}
_PASS_ON: Final = _ADD | {"DELETE"}
_CHANGE: Final = _KEEP | {"DELETE"}

WORKER_GRANTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        # The configuration, and what lies beside it, such as keys and secrets: the copy of the node has it.
        "resource": _NONE,
        "change": _NONE,
        "content": _NONE,
        "content_change": _NONE,
        # Accounts of administrators.
        "user": _NONE,
        "session": _NONE,
        "token": _NONE,
        "passkey": _NONE,
        "setup": _NONE,
        "audit_event": _NONE,
        "login_failure": _NONE,  # of SMTP log-ins each node keeps its own
        # The queue.
        "queue_owner": _KEEP,
        "queue_message": _PASS_ON,
        "queue_delivery": _CHANGE,
        "queue_chunk": _PASS_ON,
        "queue_loose_body": _CHANGE,
        "queue_notice": _PASS_ON,
        # The message trace; the tables of days have the rights of `trace`.
        "trace": _ADD,
        "trace_part": _KEEP,
        "trace_tally": _KEEP,
        # The evidence log: lines, days, signed heads and keys are only added.
        "evidence_chain": _KEEP,
        "evidence_entry": _ADD,
        "evidence_day": _ADD,
        "evidence_head": _ADD,
        "evidence_key": _ADD,
        # Nodes and leases.
        "node": _CHANGE,
        "node_worker": _CHANGE,
        "lease": _KEEP,
        # What is counted and learnt as mail flows, and reports of it.
        "session_day": _PASS_ON,
        "session_policy": _CHANGE,
        "session_failure": _CHANGE,
        "sent_day": _PASS_ON,
        "sent_report": _CHANGE,
        "received_report": _PASS_ON,
        "received_policy": _PASS_ON,
        "sending_usage": _CHANGE,
        "sending_usage_revision": _KEEP,
        "destination_history": _CHANGE,
        "destination_revision": _KEEP,
        "document": _NONE,
        "ticket_secret": _PASS_ON,
        # Versions of the tables, and a move to another engine.
        "schema_version": _READ,
        "store_move": _READ,
    }
)
"""By table. A change of it comes with a new version of a schema: until a node has that, it takes nothing away."""

WORKER_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "schema_version": ("turn",),  # whoever locks a row must be allowed to change something of it
        "evidence_day": ("last_place", "number", "head"),  # not where it begins: what is before that is removed
    }
)
"""Columns that may be changed in tables that may not, by table."""

WORKER_SEQUENCES: Final = ("queue_epoch",)
"""Sequences that may be used."""

WORKER_FUNCTIONS: Final[Mapping[str, bool]] = MappingProxyType(
    {"trace_make_day(text)": True, "trace_drop_day(text)": False}
)
"""Functions with the rights of the tables' owner, and whether they may be called."""
