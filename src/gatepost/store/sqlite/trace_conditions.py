"""Filters of the message trace as SQL, for files with and without the indexes they need.

No I/O. `store.sqlite.trace_search` asks files by it, and `store.sqlite.trace_meanings` which of several questions has
an answer.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gatepost.store.sqlite.trace import HANDED_OVER, PEER_IP, TLS_LEVEL, TRIED, domain_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gatepost.store.interface import TraceFilter
    from gatepost.store.text_pattern import TextPattern
    from gatepost.store.trace import Among


FOLDED = "folded"
"""The SQL function that is `store.text_pattern.fold`: SQLite's own `lower` knows ASCII alone."""

_IDS = ("message", "session")
_WITH_PORT = re.compile(r"\[(.+)\]:\d+|([^:]+):\d+", re.ASCII)
_NO_ADDRESS = re.compile(r"(?=.*[G-Z_-])[\w.-]+", re.ASCII | re.IGNORECASE)
_RECIPIENT_DOMAIN = domain_of("recipient")


class _Condition(NamedTuple):
    """A term of WHERE. by: what of it an index of a full file is about, as the index has it; "" for none.

    plain: the same without an index, where that is cheaper to ask of each row.
    """

    term: str
    values: tuple[str | float, ...]
    by: str = ""
    plain: str = ""


type Where = tuple[str, list[str | float]]


class Conditions:
    """Conditions on rows, as SQL.

    unindexed: for reading a file whole. indexed: alternatives, of which a row meets one at most; by each SQLite looks
    rows up by the most telling term and by no other: it knows nothing of how often values occur, and would as soon look
    them up by one that all rows have.

    elsewhere: ids of messages and sessions are those of another node. patterns: what the conditions say of them is
    necessary and no more.
    """

    def __init__(
        self,
        wanted: TraceFilter,
        events: Collection[str] = (),
        *,
        elsewhere: bool = False,
        among: Among | None = None,
    ) -> None:
        ids = list(_elsewhere(wanted) if elsewhere else _whole(wanted, _IDS))
        ways = _ways(among) if among else [[]]
        alternatives = [
            [*_times(wanted), *ids, *way, *_texts(wanted, either, protected)]
            for either in _on_either_side(wanted)
            for protected in _protected(wanted.protection)
            for way in ways
        ]
        if events:
            any_of = _Condition(f"event IN ({', '.join('?' * len(events))})", tuple(events))
            alternatives = [[*conditions, any_of] for conditions in alternatives]
        plain = [_joined(conditions) for conditions in alternatives]
        self.unindexed = " OR ".join(term for term, _ in plain), [value for _, values in plain for value in values]
        self.indexed = [_joined(conditions, _most_telling(conditions)) for conditions in alternatives]
        self.patterns = wanted.patterns
        self.organizations = wanted.organizations


def _ways(among: Among) -> list[list[_Condition]]:
    """Each way to be one of few; a row is so in one way at most."""
    ways: list[list[_Condition]] = [[]]
    if among.connector:
        ways = [[_equal("connector", among.connector)]]
        if among.tried:
            others = _Condition("connector <> ?", (among.connector,))
            ways.append([others, _Condition("{0} = 1", (), TRIED)])
            untried = _Condition(f"{TRIED} IS NULL AND instr(detail, 'refused_by_connector') > 0", ())
            ways.append([others, untried, _equal("event", "REFUSE")])
    if among.recipients:
        ways = [[*way, _in_domain("recipient", domain)] for way in ways for domain in among.recipients]
    if among.holding:
        ways = [[*way, _Condition("instr(detail, ?) > 0", (among.holding,))] for way in ways]
    return ways


def _most_telling(conditions: Sequence[_Condition]) -> str:
    return next((condition.by for condition in conditions if condition.by), "")


def _joined(conditions: Sequence[_Condition], index: str = "") -> Where:
    terms = [
        condition.plain
        if condition.plain and not index
        else condition.term.format(condition.by if condition.by == index else f"+{condition.by}")
        for condition in conditions
    ]
    return " AND ".join(terms) or "TRUE", [value for condition in conditions for value in condition.values]


def _on_either_side(wanted: TraceFilter) -> list[list[_Condition]]:
    """Conditions on sender or recipient, whole or by domain, and on the peer: each way to meet them all."""
    return [
        [*address, *domain, *peer]
        for address in _of_address(wanted.address)
        for domain in _of_domain(wanted.domain)
        for peer in _of_peer(wanted.peer)
    ]


def _of_address(address: str) -> list[list[_Condition]]:
    """An address on either side: looked up on each, and rows that have it on both are found on one."""
    if not address:
        return [[]]
    other = _Condition("recipient <> ?", (address,))
    return [[_equal("recipient", address)], [_equal("sender", address), other]]


def _of_domain(domain: str) -> list[list[_Condition]]:
    """The same of a domain."""
    if not domain:
        return [[]]
    sent = _in_domain("sender", domain)
    other = _Condition(f"{_RECIPIENT_DOMAIN} <> ?", (domain,), plain="? IS NOT NULL")
    return [[_in_domain("recipient", domain)], [sent, other]]


def _of_peer(peer: str) -> list[list[_Condition]]:
    """The other side, by name or IP address."""
    if not peer:
        return [[]]
    if _NO_ADDRESS.fullmatch(peer):
        return [[_equal("peer_host", peer)]]
    address = _Condition("{0} = ?", (peer,), PEER_IP)
    if match := _WITH_PORT.fullmatch(peer):
        address = _Condition("{0} = ? AND peer_address = ?", (match[1] or match[2], peer), PEER_IP)
    return [[_equal("peer_host", peer)], [address, _Condition("peer_host <> ?", (peer,))]]


def _in_domain(column: str, domain: str) -> _Condition:
    plain = f"substr({column}, {-1 - len(domain)}) = '@' || ? COLLATE NOCASE"
    return _Condition("{0} = ?", (domain,), domain_of(column), plain)


def _times(wanted: TraceFilter) -> Iterator[_Condition]:
    if wanted.since:
        yield _Condition("at >= ?", (wanted.since,))
    if wanted.until:
        yield _Condition("at <= ?", (wanted.until,))


def _required_by(source: str) -> str:
    """Whether a source is among those of the requirement. The first term is cheap, and mostly decides."""
    among = f"SELECT 1 FROM json_each(detail, '$.requirement_sources') WHERE value || ':' GLOB '{source}:*'"  # noqa: S608 - our words
    return f"(instr(detail, '\"{source}') AND EXISTS ({among}))"


_DEMANDED = "substr(requirement, 1, 13) = 'authenticated'"
_DANE, _MTA_STS = _required_by("dane"), _required_by("mta-sts")
# By TLS level and what else has to be so, as `analysis.reports.tls.protection_of` tells it of counted rows.
_PROTECTIONS = {
    "dane": [("authenticated", f"{_DEMANDED} AND {_DANE}")],
    "mta-sts": [("authenticated", f"{_DEMANDED} AND NOT {_DANE} AND {_MTA_STS}")],
    "verified": [("authenticated", f"{_DEMANDED} AND NOT {_DANE} AND NOT {_MTA_STS}")],
    "encrypted": [("encrypted", "TRUE"), ("authenticated", f"NOT {_DEMANDED}")],
    "cleartext": [("none", "TRUE"), ("", "TRUE")],
}


def _protected(protection: str) -> list[list[_Condition]]:
    """Conditions on the protection of mail that was received or sent; none for an unknown protection."""
    if not protection:
        return [[]]
    carried = _Condition("event IN ('RECEIVE', 'SEND')", ())
    levels = _PROTECTIONS.get(protection, [("", "FALSE")])
    return [[_Condition(f"{{0}} = ? AND {term}", (level,), TLS_LEVEL), carried] for level, term in levels]


_OWN_WAY = " AND ".join(
    f"detail ->> '$.{name}' IS NULL"
    for name in ("connector_organization", "domain_organization", "connector_of_recipient")
)


def _texts(wanted: TraceFilter, either: Sequence[_Condition], protected: Sequence[_Condition]) -> Iterator[_Condition]:
    """Conditions on the text of columns, most selective first.

    either: the side on which a domain is looked for. protected: how mail was protected.
    """
    yield from _whole(wanted, ("message_id",))
    for column in ("recipient", "sender"):
        text: str = getattr(wanted, column)
        if text.startswith("@"):
            yield _in_domain(column, text[1:])
        elif text:
            yield _equal(column, text)
    yield from either
    yield from _whole(wanted, ("result_type", "connector", "tls_group"))
    if wanted.achieved:
        yield _Condition("{0} = ?", (wanted.achieved.rpartition("/")[2],), TLS_LEVEL)
    if "/" in wanted.achieved:
        yield _Condition("achieved = ?", (wanted.achieved,))
    yield from protected
    yield from _whole(wanted, ("tls_version", "organization", "event"))
    if wanted.organizations is not None:
        among = msgspec.json.encode(sorted(wanted.organizations)).decode()
        yield _Condition("organization COLLATE BINARY IN (SELECT value FROM json_each(?))", (among,))
        if wanted.connector or wanted.peer:  # nothing is found by what is not shown (`policy.decisions.withheld`)
            yield _Condition(_OWN_WAY, ())
    # Last, so that the texts of rows that are not to be seen are not looked at.
    yield from map(_holding, filter(attrgetter("needle"), wanted.patterns))


def _holding(pattern: TextPattern) -> _Condition:
    """What a row with the pattern has for certain; `store.text_pattern.matcher` tells of each whether it matches."""
    text = " || char(9) || ".join(pattern.columns)
    folded = f"lower({text})" if pattern.needle.isascii() else f"{FOLDED}({text})"
    return _Condition(f"instr({folded}, ?) > 0", (pattern.needle,))


def _elsewhere(wanted: TraceFilter) -> Iterator[_Condition]:
    """Another node's ids, which stand in the detail of hops between nodes."""
    for name in _IDS:
        text: str = getattr(wanted, name)
        if text:
            yield _Condition(f"{{0}} = 1 AND detail ->> '$.handover.{name}' = ?", (text,), HANDED_OVER)


def _whole(wanted: TraceFilter, columns: Sequence[str]) -> Iterator[_Condition]:
    for column in columns:
        text: str = getattr(wanted, column)
        if text:
            yield _equal(column, text)


def _equal(column: str, text: str) -> _Condition:
    """The second term is what lets a partial index be used."""
    return _Condition(f"{{0}} = ? AND {column} <> ''", (text,), column)
