"""Filters of the message trace as SQL of PostgreSQL: the same rows as by `store.sqlite.trace_conditions`. No I/O."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Final

from gatepost.store.postgres.trace_tables import (
    HANDED_OVER,
    KEY,
    PEER_IP,
    RARE_EVENT,
    TLS_LEVEL,
    TRIED,
    backwards,
    cut,
    key,
)
from gatepost.store.storable import storable

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatepost.store.interface import TraceFilter
    from gatepost.store.text_pattern import TextPattern
    from gatepost.store.trace import Among


_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_WITH_PORT: Final = re.compile(r"\[(.+)\]:\d+|([^:]+):\d+", re.ASCII)
_NO_ADDRESS: Final = re.compile(r"(?=.*[G-Z_-])[\w.-]+", re.ASCII | re.IGNORECASE)
_ASCII: Final = re.compile(r"[\x01-\x7f]+")
_COMMON: Final = frozenset({"receive", "send", "deliver"})
_OWN_WAY: Final = " AND ".join(
    f"detail::json ->> '{name}' IS NULL"
    for name in ("connector_organization", "domain_organization", "connector_of_recipient")
)
_DEMANDED: Final = "substr(requirement, 1, 13) = 'authenticated'"


def lower(text: str) -> str:
    """ASCII letters in lower case, and nothing that PostgreSQL cannot have in a text."""
    return storable(text).translate(_LOWER)


def _required_by(source: str) -> str:
    """Whether a source is among those of the requirement. The first term is cheap, and mostly decides."""
    sources = "detail::json -> 'requirement_sources'"
    among = f"json_array_elements_text(CASE json_typeof({sources}) WHEN 'array' THEN {sources} ELSE '[]'::json END)"
    return (
        f"(strpos(detail, '\"{source}') > 0"  # noqa: S608 - our words
        f" AND EXISTS (SELECT 1 FROM {among} AS one WHERE one || ':' LIKE '{source}:%'))"
    )


_REFUSED_BY: Final = "(event = 'REFUSE' AND strpos(detail, 'refused_by_connector') > 0)"
_DANE, _MTA_STS = _required_by("dane"), _required_by("mta-sts")
# By TLS level and what else has to be so, as `analysis.reports.tls.protection_of` tells it of counted rows.
_PROTECTIONS: Final = {
    "dane": f"{TLS_LEVEL} = 'authenticated' AND {_DEMANDED} AND {_DANE}",
    "mta-sts": f"{TLS_LEVEL} = 'authenticated' AND {_DEMANDED} AND NOT {_DANE} AND {_MTA_STS}",
    "verified": f"{TLS_LEVEL} = 'authenticated' AND {_DEMANDED} AND NOT {_DANE} AND NOT {_MTA_STS}",
    "encrypted": f"({TLS_LEVEL} = 'encrypted' OR {TLS_LEVEL} = 'authenticated' AND NOT {_DEMANDED})",
    "cleartext": f"{TLS_LEVEL} IN ('none', '')",
}


class PostgresConditions:
    """PostgresConditions on rows: text of WHERE with `$1` and so on, and their values.

    telling: an index finds few rows by them, so that it is not worth looking through the newest ones in order.
    elsewhere: ids of messages and sessions are those of another node.
    """

    def __init__(
        self,
        wanted: TraceFilter,
        events: Collection[str] = (),
        *,
        elsewhere: bool = False,
        among: Among | None = None,
    ) -> None:
        self.values: list[object] = []
        self.telling = False
        self._terms: list[str] = []
        self._times(wanted)
        self._ids(wanted, elsewhere=elsewhere)
        self._addresses(wanted)
        self._texts(wanted)
        if events:
            self._add(f"event = ANY({self.value(list(events))}::text[])")
        if wanted.organizations is not None:
            self._organizations(wanted)
        if among is not None:
            self._among(among)
        for pattern in wanted.patterns:  # last, so that the texts of rows that are not to be seen are not looked at
            self._holding(pattern)

    @property
    def where(self) -> str:
        """All of them."""
        return " AND ".join(self._terms) or "TRUE"

    def between(self, begin: float, end: float) -> None:
        """Rows from a time on, and before another one."""
        self._add(f"at >= {self.value(float(begin))} AND at < {self.value(float(end))}")

    def value(self, value: object) -> str:
        """The place of one more value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def _add(self, term: str, *, telling: bool = False) -> None:
        self._terms.append(term)
        self.telling = self.telling or telling

    def _times(self, wanted: TraceFilter) -> None:
        if wanted.since:
            self._add(f"at >= {self.value(float(wanted.since))}")
        if wanted.until:
            self._add(f"at <= {self.value(float(wanted.until))}")

    def _ids(self, wanted: TraceFilter, *, elsewhere: bool) -> None:
        for name in ("message", "session"):
            text: str = getattr(wanted, name)
            if text and elsewhere:
                identifier = self.value(storable(text))
                self._add(f"{HANDED_OVER} AND detail::json -> 'handover' ->> '{name}' = {identifier}", telling=True)
            elif text:
                self._add(self._equal(name, text), telling=True)
        if wanted.message_id:
            self._add(self._equal("message_id", wanted.message_id), telling=True)

    def _addresses(self, wanted: TraceFilter) -> None:
        for column in ("recipient", "sender"):
            text: str = getattr(wanted, column)
            if text.startswith("@"):
                self._add(self._in_domain(column, text[1:]), telling=True)
            elif text:
                self._add(self._is_address(column, text), telling=True)
        if wanted.address:
            either = (self._is_address(column, wanted.address) for column in ("recipient", "sender"))
            self._add(f"({' OR '.join(either)})", telling=True)
        if wanted.domain:
            either = (self._in_domain(column, wanted.domain) for column in ("recipient", "sender"))
            self._add(f"({' OR '.join(either)})", telling=True)
        if wanted.peer:
            self._add(self._is_peer(wanted.peer), telling=True)

    def _texts(self, wanted: TraceFilter) -> None:
        if wanted.result_type:
            self._add(self._equal("result_type", wanted.result_type), telling=True)
        if wanted.event:
            rare = "" if lower(wanted.event) in _COMMON else f" AND {RARE_EVENT}"
            self._add(f"{key('event')} = {self.value(cut(lower(wanted.event)))}{rare}")
        for column in ("connector", "organization"):
            if text := getattr(wanted, column):
                self._add(self._equal(column, text))
        for column in ("tls_group", "tls_version"):
            if text := getattr(wanted, column):
                self._add(f"lower({column}) = {self.value(lower(text))}")
        if wanted.achieved:
            self._add(f"{TLS_LEVEL} = {self.value(lower(wanted.achieved.rpartition('/')[2]))}")
        if "/" in wanted.achieved:
            self._add(f"lower(achieved) = {self.value(lower(wanted.achieved))}")
        if wanted.protection:
            self._add(f"{_PROTECTIONS.get(wanted.protection, 'FALSE')} AND event IN ('RECEIVE', 'SEND')")

    def _organizations(self, wanted: TraceFilter) -> None:
        """Few, of any case: the first term is that of the index."""
        names = sorted(storable(name) for name in wanted.organizations or ())
        self._add(f"{key('organization')} = ANY({self.value([cut(lower(name)) for name in names])}::text[])")
        self._add(f"organization = ANY({self.value(names)}::text[])")
        if wanted.connector or wanted.peer:  # nothing is found by what is not shown (`policy.decisions.withheld`)
            self._add(_OWN_WAY)

    def _among(self, among: Among) -> None:
        if among.connector:
            term = self._equal("connector", among.connector)
            self._add(f"({term} OR {TRIED} OR {_REFUSED_BY})" if among.tried else term, telling=True)
        if among.recipients:
            self._add(
                f"({' OR '.join(self._in_domain('recipient', domain) for domain in among.recipients)})", telling=True
            )
        if among.holding:
            self._add(f"strpos(detail, {self.value(storable(among.holding))}) > 0")

    def _holding(self, pattern: TextPattern) -> None:
        """What a row with the pattern has for certain; `store.text_pattern.matcher` tells of each whether it matches.

        The server's `lower` knows ASCII alone here, so that only the longest such part of the pattern is of use.
        """
        parts = (part for piece in pattern.pieces for part in _ASCII.findall(storable(piece)))
        if part := max(parts, key=len, default=""):
            text = " || chr(9) || ".join(pattern.columns)
            self._add(f"strpos(lower({text}), {self.value(part)}) > 0")

    def _equal(self, column: str, text: str) -> str:
        """The term on the empty text is what lets a partial index be used."""
        whole = self.value(lower(text))
        return f"({column} <> '' AND {key(column)} = {self.value(cut(lower(text)))} AND lower({column}) = {whole})"

    def _is_address(self, column: str, text: str) -> str:
        whole = self.value(lower(text))
        start = self.value(cut(lower(text)[::-1]))
        return f"({column} <> '' AND {backwards(column)} = {start} AND lower({column}) = {whole})"

    def _in_domain(self, column: str, domain: str) -> str:
        """What ends with "@" and the domain; read backwards, that is a range of the index. "A" comes after "@"."""
        turned = lower(domain)[::-1]
        if len(turned) >= KEY:
            return "FALSE"
        first, behind = self.value(cut(turned + "@")), self.value(cut(turned + "A"))
        ends = self.value(lower(f"@{domain}"))
        return (
            f"({column} <> '' AND {backwards(column)} >= {first} AND {backwards(column)} < {behind}"
            f" AND right(lower({column}), {len(domain) + 1}) = {ends})"
        )

    def _is_peer(self, peer: str) -> str:
        """The other side, by name or IP address."""
        named = self._equal("peer_host", peer)
        if _NO_ADDRESS.fullmatch(peer):
            return named
        parts = _WITH_PORT.fullmatch(peer)
        address = lower((parts[1] or parts[2]) if parts else peer)
        by_ip = f"left({PEER_IP}, {KEY}) = {self.value(cut(address))}"
        if parts:
            by_ip = f"({by_ip} AND lower(peer_address) = {self.value(lower(peer))})"
        return f"({named} OR {by_ip})"
