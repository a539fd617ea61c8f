"""The SQL of queue administration: select deliveries by filter; hold, release, retry, return and drop them.

Counterpart of `store.sqlite.rows`, which is the owner's. Works in transactions of `store.sqlite.administration`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.decoding import json_decoder
from gatepost.mail.model.message import Delivery, Message, Recipient, Return
from gatepost.mail.model.queue_id import parse_id
from gatepost.store.queue_admin import (
    DestinationCount,
    QueueEntry,
    applicable,
    is_readable,
    json_pattern,
    released_recipients,
    state_terms,
    unreadable_delivery,
)
from gatepost.store.text_pattern import spellings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import apsw

    from gatepost.store.interface import QueueFilter
    from gatepost.store.queue_admin import Conditions, QueuePlace


_encode = msgspec.json.Encoder().encode
_decode_message = json_decoder(Message)
_decode_return = json_decoder(Return)
_decode_recipients: Callable[[str | bytes], list[Recipient]] = json_decoder(list[Recipient])

_SELECTED = (
    "SELECT d.id, d.destination, CAST(d.recipients AS BLOB), d.attempts, d.next_at, d.expires_at, d.last_error,"
    " d.returned, CAST(m.facts AS BLOB), d.held, m.id, m.size"  # octets: a damaged text may be no UTF-8
    " FROM {source} WHERE NOT d.dropped AND {where}"
)
_SELECT = f"{_SELECTED} ORDER BY {{order}}, d.id LIMIT ?"
_DELIVERIES = "delivery AS d"
_WITH_MESSAGES = "delivery AS d JOIN message AS m ON m.id = d.message"
# Conditions on messages are checked once for each of them, in their order, before their deliveries are looked up.
_MESSAGES_FIRST = "message AS m CROSS JOIN delivery AS d ON d.message = m.id"
_OF_MESSAGE = "m.facts"
_COUNT = "SELECT count(*), count(DISTINCT d.message) FROM {source} WHERE NOT d.dropped AND {where}"
_EVERY = "d.quarantine = ''"  # what is in quarantine is for `store.sqlite.quarantine` alone
_NOTICE = "INSERT INTO notice (action, destination, message, delivery, author) VALUES (?, ?, ?, ?, ?)"
_LET_GO = "UPDATE delivery SET recipients = ? WHERE message = ? AND id = ?"
_REMOVE_DELIVERY = "DELETE FROM delivery WHERE message = ? AND id = ?"
_REMOVE_MESSAGE = (
    "DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1) RETURNING big"
)
_REMOVE_BODY = "DELETE FROM body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?1)"
# To which deliveries an action applies, and what it changes: one in the owner's memory (next_at 0) stays there, and
# `apply` removes a dropped one that waits in the store.
# Held is what an administrator marked, and what waits for one because its destination protects less than before.
# What has no word of it in its text need not be understood for it.
# What is damaged has none of what is looked for, and ends no list.
_RECIPIENTS = "iif(json_valid(d.recipients), d.recipients, '[]')"
_FACTS = "iif(json_valid(m.facts), m.facts, '{}')"
_HELD_BY_MEMORY = (
    """d.next_at > 0 AND instr(d.recipients, '"held":true')"""  # noqa: S608 - ours
    f" AND EXISTS (SELECT 1 FROM json_each({_RECIPIENTS}) WHERE value ->> '$.held')"
)
_HELD = f"(d.held OR ({_HELD_BY_MEMORY}))"
_STATES = {
    "active": "NOT d.held AND d.next_at = 0",
    "deferred": f"NOT {_HELD} AND d.next_at > 0",
    "held": _HELD,
}
_NAMED = " || char(9) || ".join(
    f"ifnull({_FACTS} ->> '$.{name}', '')" for name in ("reverse_path", "subject", "message_id")
)
_HAS_PART = (
    f"(instr(lower({_NAMED}), ?) > 0"  # noqa: S608 - ours
    f" OR EXISTS (SELECT 1 FROM json_each({_RECIPIENTS}) WHERE instr(lower(value ->> '$.address'), ?) > 0))"
)
_SORT_KEYS = {
    "received": "d.message",
    "next_attempt": "d.next_at",
    "size": "m.size",
    "destination": "substr(d.destination, instr(d.destination, '/') + 1)",
    "sender": f"lower(ifnull({_FACTS} ->> '$.reverse_path', ''))",
    "attempts": "d.attempts",
}
_AT_MOST = "SELECT count(*) FROM (SELECT 1 FROM {source} WHERE NOT d.dropped AND {where} LIMIT ?)"
_TOTALS = (
    "SELECT count(*), count(DISTINCT message), ifnull(sum(recipients), 0), ifnull(sum(size), 0),"  # noqa: S608 - ours
    " ifnull(sum(active), 0), ifnull(sum(held), 0) FROM (SELECT d.message AS message,"
    f" json_array_length({_RECIPIENTS}) AS recipients, m.size AS size,"
    " {active} AS active, {held} AS held"
    " FROM {source} WHERE NOT d.dropped AND {where} LIMIT ?)"
)
_CHANGES = {
    "hold": "UPDATE delivery SET held = 1",
    "release": "UPDATE delivery SET held = 0, next_at = iif(next_at > 0, ?1, 0)",
    "retry": "UPDATE delivery SET next_at = iif(next_at > 0, ?1, 0)",
    "return": "UPDATE delivery SET returned = ?4, held = 0, next_at = iif(next_at > 0, ?1, 0)",
    "drop": "UPDATE delivery SET dropped = 1",
}


# A bare column beside one min() is of the row that has it: what the oldest delivery met last.
_BY_DESTINATION = (
    "SELECT d.destination, count(*), sum({active}), sum({held}), min(d.message), d.last_error"
    " FROM {source} WHERE NOT d.dropped AND {where}"
    " GROUP BY d.destination ORDER BY count(*) DESC LIMIT ?"
)
# The same without a filter, in a third of the time: nearly all wait for their next attempt, and the index of those that
# are due has them by destination. The rest is read: what is active or held, and what may be held for its destination's
# sake, which is in the index too.
_APART = """(d.held OR d.next_at = 0 OR instr(d.recipients, '"held":true'))"""
_WAITING = (
    "SELECT destination, count, oldest, (SELECT last_error FROM delivery AS d WHERE d.message = oldest AND"
    " d.destination = w.destination ORDER BY d.id LIMIT 1)"
    " FROM (SELECT destination, count(*) AS count, min(message) AS oldest FROM delivery INDEXED BY due"
    " WHERE next_at > 0 AND NOT held GROUP BY destination) AS w"
)
_REST = (
    f"SELECT d.destination, count(*), sum({_STATES['active']}), sum({_HELD}), min(d.message), d.last_error,"  # noqa: S608
    f" sum(d.next_at > 0 AND NOT d.held) FROM delivery AS d WHERE {_APART} AND {_EVERY}"
    " GROUP BY d.destination"
)
_SOME_DROPPED = "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY dropped WHERE dropped)"


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
        add(*_within("m.facts", f"{_FACTS} ->> '$.organization' = ? COLLATE NOCASE", wanted.organization))
    if wanted.organizations is not None:
        among = msgspec.json.encode(sorted(wanted.organizations)).decode()
        add("substr(d.destination, 1, instr(d.destination, '/') - 1) IN (SELECT value FROM json_each(?))", among)
    if wanted.domain:
        add("substr(d.destination, instr(d.destination, '/') + 1) = ? COLLATE NOCASE", wanted.domain)
    if wanted.sender:
        add(*_within("m.facts", _address(f"{_FACTS} ->> '$.reverse_path'", wanted.sender), wanted.sender))
    if wanted.recipient:
        term = _address("value ->> '$.address'", wanted.recipient)
        among = f"EXISTS (SELECT 1 FROM json_each({_RECIPIENTS}) WHERE {term})"  # noqa: S608 - ours
        add(*_within("d.recipients", among, wanted.recipient))
    for part in wanted.parts:
        either = spellings(part)
        add(f"({' OR '.join([_HAS_PART] * len(either))})", *(text for text in either for _ in range(2)))
    terms += state_terms(wanted, _STATES)
    return " AND ".join(terms), values


def _address(column: str, text: str) -> str:
    """A term with one parameter: the address, or the domain with its "@"."""
    return f"{f'substr({column}, {-len(text)})' if text.startswith('@') else column} = ? COLLATE NOCASE"


def _within(column: str, term: str, text: str) -> tuple[str, *tuple[str, ...]]:
    """A term about a text within a column of JSON, applied only to rows that have the text anywhere: few are parsed.

    term: with one parameter, the text.
    """
    pattern = json_pattern(text)
    return (f"{column} LIKE ? ESCAPE '!' AND {term}", pattern, text) if pattern else (term, text)


def applying(action: str, wanted: QueueFilter) -> Conditions:
    """The deliveries of a filter to which an action applies."""
    return applicable(action, conditions(wanted), _HELD)


def after_delivery(where: Conditions, message: int, delivery: int) -> Conditions:
    """Of those the ones that come after a message's delivery, both by their ids, in the order of `select`."""
    terms, values = where
    return f"{terms} AND m.id >= ? AND (d.message, d.id) > (?, ?)", [*values, message, message, delivery]


def select(connection: apsw.Connection, shard: str, where: Conditions, limit: int) -> list[QueueEntry]:
    """The deliveries meant, oldest first. limit: below zero for all."""
    terms, values = where
    source, order = (_MESSAGES_FIRST, "m.id") if _OF_MESSAGE in terms else (_WITH_MESSAGES, "d.message")
    statement = _SELECT.format(source=source, where=terms, order=order)
    rows: list[tuple[Any, ...]] = connection.execute(statement, (*values, limit)).fetchall()
    return [_entry(shard, row) for row in rows]


def after_place(where: Conditions, place: QueuePlace, sort: str) -> Conditions:
    """Of those the ones that come after a place, in the order of `select_sorted`."""
    terms, values = where
    way, key = ("<" if sort.startswith("-") else ">"), _SORT_KEYS[sort.removeprefix("-")]
    behind = f"{key} {way}= ? AND ({key}, d.message, d.id) {way} (?, ?, ?)"
    return f"{terms} AND {behind}", [*values, place.key, place.key, place.message, place.delivery]


def select_sorted(
    connection: apsw.Connection, shard: str, where: Conditions, sort: str, limit: int
) -> list[QueueEntry]:
    """The deliveries meant, sorted. limit: below zero for all."""
    terms, values = where
    way, key = ("DESC" if sort.startswith("-") else "ASC"), _SORT_KEYS[sort.removeprefix("-")]
    source = _MESSAGES_FIRST if _OF_MESSAGE in terms else _WITH_MESSAGES
    statement = (
        f"{_SELECTED.format(source=source, where=terms)} ORDER BY {key} {way}, d.message {way}, d.id {way} LIMIT ?"
    )
    return [_entry(shard, row) for row in connection.execute(statement, (*values, limit))]


def count_to(connection: apsw.Connection, where: Conditions, limit: int) -> int:
    """The number of deliveries that meet conditions, `limit` for more."""
    terms, values = where
    source = _MESSAGES_FIRST if _OF_MESSAGE in terms else _DELIVERIES
    number: int = connection.execute(_AT_MOST.format(source=source, where=terms), (*values, limit)).get
    return number


def totals(connection: apsw.Connection, where: Conditions, limit: int) -> tuple[int, ...]:
    """Sums over the first deliveries that meet conditions, as `store.queue_admin.summed` takes them."""
    terms, values = where
    source = _MESSAGES_FIRST if _OF_MESSAGE in terms else _WITH_MESSAGES
    statement = _TOTALS.format(active=_STATES["active"], held=_HELD, source=source, where=terms)
    rows: list[tuple[Any, ...]] = connection.execute(statement, (*values, limit)).fetchall()
    return rows[0]


def count(connection: apsw.Connection, where: Conditions) -> tuple[int, int]:
    """Count the deliveries that meet conditions, and their messages."""
    terms, values = where
    source = _MESSAGES_FIRST if _OF_MESSAGE in terms else _DELIVERIES
    ((deliveries, messages),) = connection.execute(_COUNT.format(source=source, where=terms), values)
    return deliveries, messages


def select_destinations(connection: apsw.Connection, where: Conditions, limit: int) -> list[DestinationCount]:
    """The deliveries meant, counted by destination, the fullest first."""
    terms, values = where
    if terms == _EVERY and not connection.execute(_SOME_DROPPED).get:
        counted = sorted(_all_destinations(connection), key=lambda destination: -destination.count)
        return counted if limit < 0 else counted[:limit]
    source = _MESSAGES_FIRST if _OF_MESSAGE in terms else _DELIVERIES
    statement = _BY_DESTINATION.format(active=_STATES["active"], held=_HELD, source=source, where=terms)
    return [DestinationCount(*row) for row in connection.execute(statement, (*values, limit))]


def _all_destinations(connection: apsw.Connection) -> list[DestinationCount]:
    counts = {
        destination: DestinationCount(destination, count, 0, 0, oldest, last_error)
        for destination, count, oldest, last_error in connection.execute(_WAITING)
    }
    for destination, count, active, held, oldest, last_error, indexed in connection.execute(_REST):
        total = counts.setdefault(destination, DestinationCount(destination, 0, 0, 0, oldest, last_error))
        total.count += count - indexed
        total.active, total.held = active, held
        if oldest <= total.oldest:
            total.oldest, total.last_error = oldest, last_error
    return list(counts.values())


def _entry(shard: str, row: tuple[Any, ...]) -> QueueEntry:
    *columns, held, message, size = row
    try:
        delivery = _delivery(columns)
    except ValueError:  # others can still be listed, and this one be removed
        delivery = unreadable_delivery(columns, message, "", size)
    delivery.held = bool(held)
    waits = delivery.next_at and not delivery.returned and any(recipient.held for recipient in delivery.recipients)
    return QueueEntry(delivery, shard, "held" if held or waits else "deferred" if delivery.next_at else "active")


def _delivery(columns: Sequence[Any]) -> Delivery:
    """As it is stored: that of a journal copy has the message's own envelope. Raises ValueError."""
    number, destination, recipients, attempts, next_at, expires_at, last_error, returned, facts = columns
    return Delivery(
        id=number,
        message=_decode_message(facts),
        destination=destination,
        recipients=_decode_recipients(recipients),
        attempts=attempts,
        next_at=next_at,
        expires_at=expires_at,
        last_error=last_error,
        returned=_decode_return(returned) if returned else None,
    )


def apply(
    connection: apsw.Connection, action: str, deliveries: list[Delivery], author: str, now: float, text: str = ""
) -> list[int]:
    """Change deliveries and leave their owner notices; returns the big files that are no longer needed.

    text: for the senders of returned mail.
    """
    statement = f"{_CHANGES[action]} WHERE message = ?2 AND id = ?3"
    more = (_encode(Return(author, text)).decode(),) if action == "return" else ()
    connection.executemany(statement, [(now, delivery.message.id, delivery.id, *more) for delivery in deliveries])
    if action == "release":
        readable = [delivery for delivery in deliveries if delivery.next_at and is_readable(delivery)]
        connection.executemany(_LET_GO, map(released_recipients, readable))
    active = [delivery for delivery in deliveries if not delivery.next_at]
    notices = [(action, delivery.destination, delivery.message.id, delivery.id, author) for delivery in active]
    if action in {"release", "retry", "return"}:
        waiting = {delivery.destination for delivery in deliveries if delivery.next_at}
        notices += [(action, destination, 0, 0, author) for destination in sorted(waiting)]
    connection.executemany(_NOTICE, notices)
    if action != "drop":
        return []
    return remove(connection, [delivery for delivery in deliveries if delivery.next_at])


def remove(connection: apsw.Connection, deliveries: list[Delivery]) -> list[int]:
    """Remove deliveries, and messages without any; returns the big files that are no longer needed."""
    connection.executemany(_REMOVE_DELIVERY, [(delivery.message.id, delivery.id) for delivery in deliveries])
    messages = [(delivery.message.id,) for delivery in deliveries]
    unlink: list[int] = [big for (big,) in connection.executemany(_REMOVE_MESSAGE, messages) if big is not None]
    connection.executemany(_REMOVE_BODY, messages)
    return unlink
