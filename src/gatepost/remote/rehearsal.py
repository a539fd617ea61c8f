"""What connectors and mail flow rules of another gateway did to real mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.administration.rehearsal import rehearsal_of
from gatepost.remote.times import time_text

if TYPE_CHECKING:
    from gatepost.administration.rehearsal import Question, Rehearsal
    from gatepost.remote.connection import Connection

__all__ = ["rehearsal"]


def rehearsal(connection: Connection, question: Question) -> Rehearsal:
    """As `administration.rehearsal.rehearsal`."""
    query = {
        "name": question.name,
        "organization": question.organization,
        "direction": question.direction,
        "since": time_text(question.since),
        "rule": question.rule,
        "replay": question.replay,
    }
    return rehearsal_of(connection.get("/rehearsal", **query).value, question)
