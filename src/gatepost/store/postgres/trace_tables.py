"""The tables of the message trace in PostgreSQL: a partition for each day, and what each writer has in it. No I/O.

Who writes the trace owns no table. Two functions act for the owner, on tables of days alone: one makes the table of a
day, one drops it.

Text is compared as people compare addresses and names: ASCII letters without regard to case, which is what `lower` does
in the collation "C". Keys of indexes are cut, as PostgreSQL takes no long ones; the whole text is compared besides.

`writer_name` gives writers names over all nodes, of the trace and of the evidence log.
"""

from __future__ import annotations

import hashlib
from datetime import date
from types import MappingProxyType
from typing import Final

from gatepost.store.interface import Schema
from gatepost.store.trace import COLUMNS

_LONGEST: Final = 32  # characters: the name of a file of evidence has no room for more
_KEPT: Final = 14  # of a long host name
_DIGITS: Final = 8  # of its hash, in hexadecimal


def writer_name(node: str, worker: int) -> str:
    """The name of a worker of a node: "mx1_example_com-0". node: its name; that of its host has no "_".

    Names with one, and long ones, end in a hash, so that no two nodes have one name.
    """
    label = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else "_" for letter in node.lower()
    )
    name = f"{label}-{worker}"
    if len(name) <= _LONGEST and "_" not in node:
        return name
    digits = hashlib.sha256(node.lower().encode("utf-8", "replace")).hexdigest()[:_DIGITS]
    return f"{label[:_KEPT]}_{digits}-{worker}"


DAY: Final = 86_400
_EPOCH: Final = date(1970, 1, 1)
KEY: Final = 300
"""Characters of a key in an index."""

_TYPES: Final = {
    "at": "DOUBLE PRECISION NOT NULL",
    "size": "BIGINT NOT NULL DEFAULT 0",
    "tls": "TEXT NOT NULL DEFAULT '{}'",
    "detail": "TEXT NOT NULL DEFAULT '{}'",
}
_TEXT: Final = "TEXT COLLATE \"C\" NOT NULL DEFAULT ''"

TLS_LEVEL: Final = "lower(substr(achieved, strpos(achieved, '/') + 1))"
"""The level achieved on the TLS ladder: all of `achieved` inbound, the part after the MX ladder outbound."""

PEER_IP: Final = (
    "lower(CASE WHEN strpos(peer_address, ']:') > 1 THEN substr(peer_address, 2, strpos(peer_address, ']') - 2)"
    " WHEN strpos(peer_address, '.') BETWEEN 1 AND strpos(peer_address, ':')"
    " THEN split_part(peer_address, ':', 1) ELSE peer_address END)"
)
"""The IP address of the other side: outbound it is kept with its port, of IPv6 in brackets then."""

HANDED_OVER: Final = "strpos(detail, '\"handover\"') > 0"
"""Of rows that may have another node's ids: few do, and a text without the word need not be understood for it."""
TRIED: Final = "(strpos(detail, 'would_refuse_connector') > 0 OR strpos(detail, 'would go first') > 0)"
"""Of rows that tell of a connector in rehearsal which is not its own (`analysis.rehearsal.rehearsal`)."""
RARE_EVENT: Final = "event NOT IN ('RECEIVE', 'SEND', 'DELIVER')"
"""Of rows whose event is worth an index."""


def key(column: str) -> str:
    """A column as its index has it."""
    return f"left(lower({column}), {KEY})"


def backwards(column: str) -> str:
    """The same from its end on: an address and its domain are found by one index."""
    return f"left(reverse(lower({column})), {KEY})"


def cut(text: str) -> str:
    """A text as long as a key."""
    return text[:KEY]


# One index on each thing that is looked for. Those of ids and times grow at their end, which is cheap; those of what
# many rows share have the time behind it, so that the newest rows are found without the others.
_INDEXES: Final = (
    "trace_at ON trace (at, writer, number)",
    "trace_number ON trace (writer, number)",
    *(f"trace_{name} ON trace (({key(name)})) WHERE {name} <> ''" for name in ("message", "session", "message_id")),
    *(f"trace_{name} ON trace (({backwards(name)})) WHERE {name} <> ''" for name in ("sender", "recipient")),
    f"trace_organization ON trace (({key('organization')}), at)",
    f"trace_connector ON trace (({key('connector')}), at) WHERE connector <> ''",
    f"trace_event ON trace (({key('event')}), at) WHERE {RARE_EVENT}",
    f"trace_result_type ON trace (({key('result_type')}), at) WHERE result_type <> ''",
    f"trace_peer_host ON trace (({key('peer_host')}), at) WHERE peer_host <> ''",
    f"trace_peer_ip ON trace ((left({PEER_IP}, {KEY})), at)",
    f"trace_handover ON trace (at) WHERE {HANDED_OVER}",
    f"trace_trial ON trace (at) WHERE {TRIED}",
)

# A function with the owner's rights. Its search_path is the schema of the tables, whatever the caller's is, with the
# caller's temporary objects last: else even `TEXT` may be a type of theirs, which runs their functions for the owner.
# The argument can name nothing but the table of a day.
_OF_OWNER: Final = "LANGUAGE plpgsql SECURITY DEFINER"
_APART: Final = """
    DO $do$
    DECLARE
        name pg_catalog.text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['trace_make_day', 'trace_drop_day'] LOOP
            EXECUTE format('ALTER FUNCTION %I(pg_catalog.text) SET search_path = %I, pg_temp', name, current_schema());
        END LOOP;
    END $do$;
"""
_DAY_ALONE: Final = """
        IF name !~ '^trace_[0-9]{8}$' THEN
            RAISE EXCEPTION 'not the table of a day: %', name USING ERRCODE = 'invalid_parameter_value';
        END IF;"""
_LOCK_MILLISECONDS: Final = 300  # what others may have to wait for a day that is dropped: below deadlock_timeout

_MAKE_DAY: Final = f"""
    CREATE OR REPLACE FUNCTION trace_make_day(name TEXT) RETURNS VOID {_OF_OWNER} AS $function$
    DECLARE
        place TEXT := quote_ident(current_schema());
        start BIGINT;
        allowed RECORD;
    BEGIN{_DAY_ALONE}
        start := extract(epoch FROM to_date(substr(name, 7), 'YYYYMMDD'));
        EXECUTE format('CREATE TABLE %s.%I (LIKE %1$s.trace INCLUDING DEFAULTS)', place, name);
        FOR allowed IN
            SELECT quote_ident(r.rolname) AS role, string_agg(a.privilege_type, ', ') AS rights
            FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a, pg_catalog.pg_roles AS r
            WHERE c.oid = to_regclass(format('%s.trace', place)) AND r.oid = a.grantee
                AND a.grantee <> c.relowner AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
            GROUP BY r.rolname
        LOOP
            EXECUTE format('GRANT %s ON %s.%I TO %s', allowed.rights, place, name, allowed.role);
        END LOOP;
        EXECUTE format('ALTER TABLE %s.trace ATTACH PARTITION %1$s.%I FOR VALUES FROM (%s) TO (%s)',
                       place, name, start, start + {DAY});
    END $function$;
"""  # noqa: S608 - our numbers
_FUNCTIONS: Final = f"""
    {_MAKE_DAY}
    CREATE FUNCTION trace_drop_day(name TEXT) RETURNS VOID {_OF_OWNER}
        SET lock_timeout = {_LOCK_MILLISECONDS} AS $function$
    DECLARE
        place TEXT := quote_ident(current_schema());
        gone TEXT;
    BEGIN{_DAY_ALONE}
        gone := to_char(to_date(substr(name, 7), 'YYYYMMDD'), 'YYYY-MM-DD');
        EXECUTE format('DELETE FROM %s.trace_part WHERE day = $1', place) USING gone;
        EXECUTE format('DELETE FROM %s.trace_tally WHERE day = $1', place) USING gone;
        EXECUTE format('LOCK TABLE %s.trace IN ACCESS EXCLUSIVE MODE', place);  -- two drops would disturb each other
        EXECUTE format('DROP TABLE %s.%I', place, name);
    END $function$;
    {_APART}
    REVOKE ALL ON FUNCTION trace_make_day(TEXT), trace_drop_day(TEXT) FROM PUBLIC;
"""  # noqa: S608 - our numbers

SCHEMA: Final = Schema(
    name="trace",
    file="",
    application_id=0,
    version=2,
    tables=f"""
    CREATE TABLE trace (
        writer TEXT COLLATE "C" NOT NULL,
        number BIGINT NOT NULL,
        {", ".join(f"{name} {_TYPES.get(name, _TEXT)}" for name in COLUMNS)}
    ) PARTITION BY RANGE (at);
    CREATE TABLE trace_part (
        day    TEXT COLLATE "C" NOT NULL,
        writer TEXT COLLATE "C" NOT NULL,
        rows   BIGINT NOT NULL,
        PRIMARY KEY (day, writer)
    );
    CREATE TABLE trace_tally (
        day    TEXT COLLATE "C" NOT NULL,
        writer TEXT COLLATE "C" NOT NULL,
        rows   BIGINT NOT NULL,
        kinds  BYTEA NOT NULL,
        PRIMARY KEY (day, writer)
    );
    {"".join(f"CREATE INDEX {index};" for index in _INDEXES)}
    {_FUNCTIONS}
    """,
    upgrades=MappingProxyType({1: _MAKE_DAY + _APART}),
)
"""trace_part: how many rows each writer has of each day, and the lock that keeps two processes of one writer apart.
trace_tally: counts of parts whose day is over (`store.postgres.trace_counts`).
trace_make_day, trace_drop_day: take the name of a day's table, on which roles have the rights that they have on
`trace`. Each is one transaction. A drop locks the whole trace, so it waits so short a time for who reads or writes that
nobody waits long behind it; later it is tried again."""


REAL_DAY: Final = (
    "CASE WHEN day ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN to_regclass('trace_' || replace(day, '-', '')) IS NOT NULL"
    " ELSE false END"
)
"""The condition of rows of trace_part whose day has a table: processes with fewer rights write them, and a day becomes
a part of statements."""
PARTS: Final = (
    f"SELECT day, writer, rows FROM trace_part WHERE day >= $1 AND day <= $2 AND {REAL_DAY} ORDER BY day, writer"  # noqa: S608 - ours
)
"""The parts of some days, in order."""


def partition(day: str) -> str:
    """The name of a day's table. day: "2026-11-24". Raises ValueError for what is not a day."""
    return f"trace_{date.fromisoformat(day).isoformat().replace('-', '')}"


def midnight(day: str) -> int:
    """The beginning of a day, seconds since 1970."""
    return (date.fromisoformat(day) - _EPOCH).days * DAY
