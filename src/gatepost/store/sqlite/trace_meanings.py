"""Find the first of several trace searches that has a match, opening each file once.

For a person's word that may mean several things. `store.sqlite.trace_search` then finds the rows. Blocks.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import apsw

from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import is_sealed, table_columns
from gatepost.store.sqlite.trace_conditions import Conditions
from gatepost.store.sqlite.trace_files import files_of_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatepost.store.interface import TraceFilter


_log = logging.getLogger(__name__)


def first_answered(directory: Path, questions: Sequence[TraceFilter]) -> int | None:
    """The place of the first question that any row answers, None if none does.

    All ask for the same time. An id is looked for among those of other nodes, too, where no row has it as its own, as
    `search_trace` does. A file that cannot be read, or that lacks a column of the conditions, has no match.
    """
    open_conditions = [
        (place, Conditions(question, elsewhere=elsewhere))
        for place, question in enumerate(questions)
        for elsewhere in ((False, True) if question.message or question.session else (False,))
    ]
    answered: int | None = None
    for file in reversed(files_of_time(directory, questions[0].since, questions[0].until)):
        try:
            number = _first(directory / file.name, [conditions for _, conditions in open_conditions])
        except apsw.Error as error:
            _log.warning("the message trace: %s cannot be read: %s", file.name, error)
            continue
        if number is not None:
            answered = open_conditions[number][0]
            open_conditions = open_conditions[:number]  # only those before it may still win
        if not open_conditions:
            break
    return answered


def _first(path: Path, questions: Sequence[Conditions]) -> int | None:
    """The same of one file. Raises apsw.Error."""
    with contextlib.closing(open_for_reading(path)) as connection:
        if not table_columns(connection):
            return None
        if not is_sealed(connection):
            return _read_whole(connection, questions)
        for number, question in enumerate(questions):
            for term, values in question.indexed:
                if connection.execute(f"SELECT 1 FROM trace WHERE {term} LIMIT 1", values).fetchone():  # noqa: S608 - ours
                    return number
    return None


def _read_whole(connection: apsw.Connection, questions: Sequence[Conditions]) -> int | None:
    """The newest row first, until one answers the first question."""
    terms = " ".join(f"WHEN {question.unindexed[0]} THEN {place}" for place, question in enumerate(questions))
    values = [value for question in questions for value in question.unindexed[1]]
    places = f"SELECT CASE {terms} END AS place FROM trace NOT INDEXED ORDER BY rowid DESC"  # noqa: S608 - our names
    best: int | None = None
    for (place,) in connection.execute(f"SELECT place FROM ({places}) WHERE place IS NOT NULL", values):  # noqa: S608
        best = place if best is None else min(best, place)
        if best == 0:
            break
    return best
