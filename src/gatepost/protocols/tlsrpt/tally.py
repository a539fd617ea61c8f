"""Count attempted TLS sessions for TLS reports, by domain, policy and result (RFC 8460 sections 4.3 and 4.4).

`policy.decisions.tlsrpt` says what a session showed, `mail.outbound.sessions` counts it in a worker's memory,
`store.session_counts` keeps the counts of a day, `analysis.reports.tlsrpt` makes a report of them. Pure; all that a
peer or a domain writes is cut to a length here, and the number of things counted apart has a bound.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.protocols.tlsrpt.result import ResultType


# A policy may have 64 KiB, and somebody may have thousands of domains: what a report shows of one is far less. A
# hundred TLSA records with digests fit; of one with a whole certificate the end is cut.
_LINE: Final = 1200  # characters
_LINES: Final = 8192  # characters of all lines, and of all patterns
_NAME: Final = 255
_REASON: Final = 120


class PolicyType(StrEnum):
    """The type of the applied policy (section 4.4, policy-type)."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class AppliedPolicy(msgspec.Struct, frozen=True):
    """A policy as the report shows it; made by `applied`.

    domain: of the policy, A-labels: for TLSA records their base domain, else the recipient domain (RFC 8460 section
    1.1). strings: TLSA records as RFC 6698 section 2.2 writes them, or the lines of an MTA-STS policy; () where none
    could be had. mx_hosts: patterns of an MTA-STS policy.
    """

    type: PolicyType
    domain: str
    strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()

    @property
    def bare(self) -> AppliedPolicy:
        """The same without what it says: where a domain shows more policies in a day than are counted apart."""
        return AppliedPolicy(self.type, self.domain)


class FailureDetail(msgspec.Struct, frozen=True):
    """The cause of a failed session, as the report shows it; made by `detail`. "" for what is not known.

    mx_host, address, helo: of the receiving side. sending_address: ours. reason: one word for the cause, from a closed
    list ("UntrustedRoot"), never a text of a peer or a library.
    """

    result: ResultType
    mx_host: str = ""
    address: str = ""
    helo: str = ""
    sending_address: str = ""
    reason: str = ""

    @property
    def bare(self) -> FailureDetail:
        """The result alone: where a domain shows more failures in a day than are counted apart."""
        return FailureDetail(self.result)


type Result = tuple[AppliedPolicy, FailureDetail | None]
"""A policy, and why the session failed it; None if it met the policy."""


class TlsSession(msgspec.Struct, frozen=True):
    """One attempted session. domain: who would get the report, A-labels. results: one for each policy that applied."""

    domain: str
    results: tuple[Result, ...]


class Count(NamedTuple):
    """The number of sessions of a UTC day ("2026-11-24") with one result. failure: None if they met the policy."""

    day: str
    domain: str
    policy: AppliedPolicy
    failure: FailureDetail | None
    sessions: int


def applied(type_: PolicyType, domain: str, strings: Iterable[str] = (), mx_hosts: Iterable[str] = ()) -> AppliedPolicy:
    """A policy, cut to what a report may hold."""
    return AppliedPolicy(type_, _clean(domain, _NAME), _cut(strings, _LINE), _cut(mx_hosts, _NAME))


def detail(
    result: ResultType,
    *,
    mx_host: str = "",
    address: str = "",
    helo: str = "",
    sending_address: str = "",
    reason: str = "",
) -> FailureDetail:
    """A failure, cut to what a report may hold."""
    receiving = (_clean(mx_host, _NAME), _clean(address, _NAME), _clean(helo, _NAME))
    return FailureDetail(result, *receiving, _clean(sending_address, _NAME), _clean(reason, _REASON))


def _cut(texts: Iterable[str], most: int) -> tuple[str, ...]:
    """As many of them, from the first one on, as a report may hold."""
    kept, room = [], _LINES
    for text in texts:
        room -= min(len(text), most)
        if room < 0:
            break
        kept.append(_clean(text, most))
    return tuple(kept)


def _clean(text: str, most: int) -> str:
    """Printable US-ASCII, so that no reader of a report meets what a peer would have it meet."""
    cut = text[:most]
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(character if " " <= character <= "~" else "?" for character in cut)


class Tally:
    """Counts sessions until somebody takes the counts.

    most: results that are counted apart. Beyond it they are counted without details, and beyond twice as many a new one
    is not counted, but in `left_out`. So it holds some megabytes at most, and 80 if everybody means it ill.
    """

    def __init__(self, most: int = 5_000) -> None:
        self.left_out = 0
        self._most = most
        self._counts: dict[tuple[str, str, AppliedPolicy, FailureDetail | None], int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, day: str, session: TlsSession) -> None:
        """Count a session of a UTC day."""
        for policy, failure in session.results:
            self._add(Count(day, session.domain, policy, failure, 1))

    def put_back(self, counts: Iterable[Count]) -> None:
        """Counts that could not be written: they wait here."""
        for count in counts:
            self._add(count)

    def take(self) -> list[Count]:
        """All counts; it begins anew, `left_out` as well."""
        counts, self._counts, self.left_out = self._counts, {}, 0
        return [Count(*key, sessions) for key, sessions in counts.items()]

    def _add(self, count: Count) -> None:
        day, domain, policy, failure, sessions = count
        key = (day, domain, policy, failure)
        if key not in self._counts and len(self._counts) >= self._most:
            key = (day, domain, policy.bare, failure.bare if failure else None)
            if key not in self._counts and len(self._counts) >= 2 * self._most:
                self.left_out += sessions
                return
        self._counts[key] = self._counts.get(key, 0) + sessions
