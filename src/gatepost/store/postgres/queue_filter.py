"""Filters of the queue, and what actions do, in PostgreSQL's SQL. Counterpart of `store.sqlite.admin_rows`. No I/O."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.model.queue_id import parse_id
from gatepost.store.queue_admin import Conditions, QueuePlace, applicable, json_pattern, state_terms
from gatepost.store.storable import storable
from gatepost.store.text_pattern import spellings

if TYPE_CHECKING:
    from gatepost.store.interface import QueueFilter


_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_EVERY: Final = "d.quarantine = ''"  # what is in quarantine is for `store.postgres.quarantine` alone
# Held is what an administrator marked, and what waits for one because its destination protects less than before.
# What has no word of it in its text need not be understood for it.
_HELD: Final = (
    "(d.held OR (d.owner IS NULL AND strpos(d.recipients, '\"held\":true') > 0 AND EXISTS"
    " (SELECT FROM json_array_elements(d.recipients::json) AS r WHERE r ->> 'held' = 'true')))"
)
_STATES: Final = {
    "active": "NOT d.held AND d.owner IS NOT NULL",
    "deferred": f"NOT {_HELD} AND d.owner IS NULL",
    "held": _HELD,
}
# Facts may hold what the server cannot read as JSON.
_FACTS: Final = "CASE WHEN strpos(m.facts, '\\u0000') = 0 THEN m.facts::json ELSE '{}'::json END"
_NAMED: Final = (
    f"(SELECT concat_ws(chr(9), m.sender, f ->> 'subject', f ->> 'message_id') FROM (SELECT {_FACTS} AS f) AS facts)"  # noqa: S608 - ours
)
_HAS_PART: Final = (
    f'(strpos(lower({_NAMED} COLLATE "C"), ?) > 0'
    " OR EXISTS (SELECT FROM json_array_elements(d.recipients::json) AS r"
    " WHERE strpos(lower((r ->> 'address') COLLATE \"C\"), ?) > 0))"
)
_SORT_KEYS: Final = {
    "received": "d.message",
    "next_attempt": "CASE WHEN d.owner IS NULL THEN d.next_at ELSE 0 END",
    "size": "m.size",
    "destination": "substr(d.destination, strpos(d.destination, '/') + 1) COLLATE \"C\"",
    "sender": 'lower(m.sender COLLATE "C")',
    "attempts": "d.attempts",
}
_KEY_TYPES: Final = {"next_attempt": "float8", "destination": "text", "sender": "text"}
_DUE: Final = "next_at = CASE WHEN d.owner IS NULL THEN extract(epoch FROM clock_timestamp()) ELSE d.next_at END"
_CHANGES: Final = {
    "hold": "held = TRUE",
    "release": f"held = FALSE, {_DUE}",
    "retry": _DUE,
    "return": f"returned = ?3, held = FALSE, {_DUE}",
    "drop": "dropped = TRUE",
}
_WITH_MESSAGES: Final = "queue_delivery AS d JOIN queue_message AS m ON m.id = d.message"


def change(action: str) -> str:
    """The statement of an action. Parameters: the messages, the deliveries, and for "return" the order."""
    return (
        f"UPDATE queue_delivery AS d SET {_CHANGES[action]}"  # noqa: S608 - ours
        " FROM unnest(?1::bigint[], ?2::bigint[]) AS u(message, id) WHERE d.message = u.message AND d.id = u.id"
    )


def conditions(wanted: QueueFilter) -> Conditions:
    """A filter as SQL. Raises ValueError for what is no queue id."""
    terms = [_EVERY]
    values: list[Any] = []

    def add(term: str, *parameters: Any) -> None:
        terms.append(term)
        values.extend(parameters)

    if wanted.message:
        add("d.message = ?", parse_id(wanted.message))
    if wanted.organization:
        add(f"{_folded('m.organization')} = ?", wanted.organization.translate(_LOWER))
    if wanted.organizations is not None:
        add("d.destination ^@ ANY(?::text[])", [f"{name}/" for name in sorted(wanted.organizations)])
    if wanted.domain:
        domain = "substr(d.destination, strpos(d.destination, '/') + 1)"
        add(f"{_folded(domain)} = ?", wanted.domain.translate(_LOWER))
    if wanted.sender:
        add(_address("m.sender", wanted.sender), wanted.sender.translate(_LOWER))
    if wanted.recipient:
        term = _address("r ->> 'address'", wanted.recipient)
        among = f"EXISTS (SELECT FROM json_array_elements(d.recipients::json) AS r WHERE {term})"
        add(*_within("d.recipients", among, wanted.recipient))
    for part in wanted.parts:
        either = [storable(text) for text in spellings(part)]
        add(f"({' OR '.join([_HAS_PART] * len(either))})", *(text for text in either for _ in range(2)))
    terms += state_terms(wanted, _STATES)
    return " AND ".join(terms), values


def _folded(text: str) -> str:
    """The term with its ASCII letters as small ones."""
    return f'lower(({text}) COLLATE "C")'


def _address(column: str, text: str) -> str:
    """A term with one parameter: the address, or the domain with its "@"."""
    return f"{_folded(f'right({column}, {len(text)})' if text.startswith('@') else column)} = ?"


def _within(column: str, term: str, text: str) -> tuple[str, *tuple[str, ...]]:
    """A term about a text within a column of JSON, applied only to rows that have the text anywhere: few are parsed.

    term: with one parameter, the text in small letters.
    """
    pattern, lower = json_pattern(text), text.translate(_LOWER)
    return (f"{column} ILIKE ? ESCAPE '!' AND {term}", pattern, lower) if pattern else (term, lower)


def applying(action: str, wanted: QueueFilter) -> Conditions:
    """The deliveries of a filter to which an action applies."""
    return applicable(action, conditions(wanted), _HELD)


def after_delivery(where: Conditions, message: int, delivery: int) -> Conditions:
    """Of those the ones that come after a message's delivery, both by their ids, in the order of `select`."""
    terms, values = where
    return f"{terms} AND (d.message, d.id) > (?, ?)", [*values, message, delivery]


def after_place(where: Conditions, place: QueuePlace, sort: str) -> Conditions:
    """Of those the ones that come after a place, in the order of `select` with that sort."""
    terms, values = where
    name, way = sort.removeprefix("-"), "<" if sort.startswith("-") else ">"
    key, kind = _SORT_KEYS[name], _KEY_TYPES.get(name, "bigint")
    behind = f"{key} {way}= CAST(? AS {kind}) AND ({key}, d.message, d.id) {way} (CAST(? AS {kind}), ?, ?)"
    value = place.key if name in _KEY_TYPES else int(place.key)
    return f"{terms} AND {behind}", [*values, value, value, place.message, place.delivery]


def select(terms: str, *, locked: bool = False, sort: str = "") -> str:
    """The deliveries meant, oldest first or sorted; the last parameter is how many, None for all.

    locked: until the commit.
    """
    way = "DESC" if sort.startswith("-") else "ASC"
    key = f"{_SORT_KEYS[sort.removeprefix('-')]} {way}, " if sort else ""
    return (
        "SELECT d.id, d.destination, d.recipients, d.attempts,"  # noqa: S608 - ours
        " CASE WHEN d.owner IS NULL THEN d.next_at ELSE 0 END, d.expires_at, d.last_error, d.returned, m.facts,"
        f" d.held, d.owner, d.message, m.sender, m.size FROM {_WITH_MESSAGES} WHERE NOT d.dropped AND {terms}"
        f" ORDER BY {key}d.message {way}, d.id {way} LIMIT CAST(? AS bigint){' FOR UPDATE OF d' if locked else ''}"
    )


def count_to(terms: str) -> str:
    """The number of deliveries that meet conditions; the last parameter is up to how many are counted."""
    source = _source(terms)
    return f"SELECT count(*) FROM (SELECT FROM {source} WHERE NOT d.dropped AND {terms} LIMIT CAST(? AS bigint)) AS s"  # noqa: S608 - ours


def totals(terms: str) -> str:
    """Sums as `store.queue_admin.summed` takes them; the last parameter is of how many deliveries at most."""
    return (
        "SELECT count(*), count(DISTINCT message), coalesce(sum(recipients), 0)::bigint,"  # noqa: S608 - ours
        " coalesce(sum(size), 0)::bigint, count(*) FILTER (WHERE active), count(*) FILTER (WHERE held)"
        " FROM (SELECT d.message, json_array_length(d.recipients::json) AS recipients, m.size,"
        f" {_STATES['active']} AS active, {_HELD} AS held FROM {_WITH_MESSAGES} WHERE NOT d.dropped AND {terms}"
        " LIMIT CAST(? AS bigint)) AS s"
    )


def count(terms: str) -> str:
    """The number of deliveries that meet conditions, and of their messages."""
    return f"SELECT count(*), count(DISTINCT d.message) FROM {_source(terms)} WHERE NOT d.dropped AND {terms}"  # noqa: S608 - ours


def by_destination(terms: str) -> str:
    """The deliveries meant, counted by destination, the fullest first; the last parameter is how many, None for all."""
    return (
        "SELECT c.destination, c.count, c.active, c.held, c.oldest,"  # noqa: S608 - ours
        " coalesce((SELECT o.last_error FROM queue_delivery AS o WHERE o.message = c.oldest"
        " AND o.destination = c.destination ORDER BY o.id LIMIT 1), '')"
        f" FROM (SELECT d.destination, count(*) AS count, count(*) FILTER (WHERE {_STATES['active']}) AS active,"
        f" count(*) FILTER (WHERE {_HELD}) AS held, min(d.message) AS oldest FROM {_source(terms)}"
        f" WHERE NOT d.dropped AND {terms} GROUP BY d.destination) AS c"
        " ORDER BY c.count DESC, c.destination LIMIT CAST(? AS bigint)"
    )


def _source(terms: str) -> str:
    return _WITH_MESSAGES if "m." in terms else "queue_delivery AS d"
