"""How mail was protected hour by hour: rows that were received and sent, counted, for a picture of the last day.

Reads the files of the days that are asked for, each once, without their indexes: 20 ms for 50,000 rows. For pages;
reports over many days count otherwise (`store.trace_tally`). Blocks.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import apsw
import msgspec

from gatepost.store.schema import open_for_reading
from gatepost.store.trace import TLS_LEVEL, table_columns
from gatepost.store.trace_files import day_of, trace_files

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["HOUR", "Flow", "trace_hours"]

_log = logging.getLogger(__name__)

HOUR = 3600
_SELECT = (
    f"SELECT CAST(at / {HOUR} AS INTEGER) * {HOUR}, event, {TLS_LEVEL}, count(*) FROM trace NOT INDEXED"  # noqa: S608
    " WHERE at >= ?1 AND at < ?2 AND event IN ('RECEIVE', 'SEND')"
    " AND (?3 IS NULL OR organization COLLATE BINARY IN (SELECT value FROM json_each(?3))) GROUP BY 1, 2, 3"
)
_NEEDED = {"at", "event", "achieved", "organization"}


class Flow(NamedTuple):
    """hour: its beginning, seconds since 1970. event: RECEIVE or SEND. level: none, encrypted or authenticated."""

    hour: int
    event: str
    level: str


def trace_hours(directory: Path, since: float, until: float, organizations: Collection[str] | None) -> Counter[Flow]:
    """How many rows there are of each. since: included, until: not. organizations: of any of these, None for all."""
    counted: Counter[Flow] = Counter()
    among = None if organizations is None else msgspec.json.encode(sorted(organizations)).decode()
    for file in trace_files(directory):
        if not day_of(since) <= file.day <= day_of(until):
            continue
        try:
            with contextlib.closing(open_for_reading(directory / file.name)) as connection:
                if table_columns(connection).issuperset(_NEEDED):
                    for hour, event, level, count in connection.execute(_SELECT, (since, until, among)):
                        counted[Flow(hour, event, level.lower())] += count
        except apsw.Error as error:
            _log.warning("the message trace: %s cannot be counted: %s", file.name, error)
    return counted
