"""What connectors and mail flow rules of another gateway did to real mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.remote.times import time_text
from gatepost.manage.use_cases.rehearsal import rehearsal_of

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.rehearsal import Question, Rehearsal


def rehearsal(connection: Connection, question: Question) -> Rehearsal:
    """As `manage.use_cases.rehearsal.rehearsal`."""
    query = {
        "name": question.name,
        "organization": question.organization,
        "direction": question.direction,
        "since": time_text(question.since),
        "rule": question.rule,
        "replay": question.replay,
    }
    return rehearsal_of(connection.get("/rehearsal", **query).value, question)
