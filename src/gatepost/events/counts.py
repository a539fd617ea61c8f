"""Count events, TLS sessions and connections under labels. Every label has a bound.

`EventMeter` reads the groups of `events.stream` on their thread; the functions are called by `mail.inbound.session` and
`mail.outbound.sessions` on the loop, each with the `Counts` of its own thread. Peers choose no label: what they present
is counted by closed lists, or as "other".
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gatepost.events.metrics import catalogue as metrics
from gatepost.events.metrics.counts import Counts, Few

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.protocols.tls.facts import TlsFacts


DELIVERED: Final = frozenset({"SEND", "DELIVER"})
"""Events by which a recipient has its message."""

_INBOUND: Final = frozenset({"RECEIVE", "REFUSE"})
_CONNECTORS: Final = 100
_CODES: Final = 100
_NAMES: Final = 40  # groups, suites: what our own profiles offer

_groups, _suites = Few(_NAMES), Few(_NAMES)


class EventMeter:
    """Counts events into `counts`."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._connectors = Few(_CONNECTORS)
        self._codes = Few(_CODES)

    def __call__(self, groups: Sequence[Sequence[TraceEvent]]) -> None:
        """Count groups of events."""
        for group in groups:
            if group and group[0].event == "TLSFAIL":
                continue  # no recipient; the session counted it
            for event in group:
                self._count(event)
            if group:
                self._count_group(group[0])

    def _count_group(self, first: TraceEvent) -> None:
        if first.event == "RECEIVE":
            self._counts.add((metrics.MESSAGES_RECEIVED.name, first.direction))
        elif first.event not in _INBOUND and "seconds" in first.detail:
            self._counts.observe((metrics.ATTEMPT.name,), metrics.ATTEMPT.buckets, first.detail["seconds"])

    def _count(self, event: TraceEvent) -> None:
        counts, name = self._counts, event.event.lower()
        counts.add((metrics.RECIPIENTS.name, name, event.direction or "none"))
        if event.connector:
            owner = event.detail.get("connector_organization", event.organization)
            connector = self._connectors(f"{owner}/{event.connector}")
            counts.add((metrics.CONNECTOR_RECIPIENTS.name, connector, name))
        if name == "refuse":
            counts.add((metrics.REFUSALS.name, self._codes(_code(event.reply))))
        elif name == "receive":
            counts.add((metrics.VERDICTS.name, "inbound", *verdict_of(event.requirement, event.achieved)))
        elif event.event in DELIVERED:
            if "delay" in event.detail:
                counts.observe((metrics.DELAY.name, name), metrics.DELAY.buckets, event.detail["delay"])
            if event.event == "SEND":
                counts.add((metrics.VERDICTS.name, "outbound", *verdict_of(event.requirement, event.achieved)))
        elif event.result_type:
            counts.add((metrics.DELIVERY_FAILURES.name, event.result_type))
        if "journal" in event.detail:
            counts.add((metrics.JOURNAL_COPIES.name, event.detail["journal"]["form"], name))
        if "protection_drop" in event.detail:
            counts.add((metrics.PROTECTION_DROPS.name, "no" if event.tls_version else "yes"))


def count_connection(counts: Counts, role: str) -> None:
    """A client connected to a listener of this role."""
    counts.add((metrics.CONNECTIONS_MADE.name, role))


def count_recipient_question(counts: Counts, source: str, exists: bool | None) -> None:  # noqa: FBT001 - an answer
    """The source of a relayed domain was asked for a recipient. exists: None if it gave no answer."""
    answer = "unavailable" if exists is None else "known" if exists else "unknown"
    counts.add((metrics.RECIPIENT_QUESTIONS.name, source, answer))


def count_session(counts: Counts, side: str, facts: TlsFacts) -> None:
    """A handshake is complete. side: "inbound" or "outbound"."""
    group, suite = _groups(facts.group), _suites(facts.suite)
    counts.add((metrics.TLS_SESSIONS.name, side, facts.version, group, suite, "yes" if facts.resumed else "no"))


def count_failed_session(counts: Counts, side: str, result_type: str) -> None:
    """TLS failed, or is less than what was required. result_type: of RFC 8460, or "handshake" for a client's."""
    counts.add((metrics.TLS_FAILURES.name, side, result_type))


def count_classical(counts: Counts, *, remembered: bool) -> None:
    """An outbound handshake was agreed with classical groups only. remembered: no other one was tried before it."""
    counts.add((metrics.CLASSICAL_ONLY.name, "remembered" if remembered else "unanswered"))


def level_of(text: str) -> str:
    """A requirement or what was achieved, as the trace prints it, by its TLS level alone.

    "authenticated(dane) with requiretls" is "authenticated", "dnssec/encrypted" is "encrypted", "" is "none".
    """
    return text.partition("(")[0].rpartition("/")[2].partition(" ")[0]


@lru_cache(maxsize=1024)
def verdict_of(requirement: str, achieved: str) -> tuple[str, str]:
    """The levels wanted and got, "none" for what is not known."""
    return level_of(requirement) or "none", level_of(achieved) or "none"


@lru_cache(maxsize=256)
def _code(reply: str) -> str:
    """The enhanced status code of a reply of ours, else its code."""
    words = reply.split(None, 2)
    enhanced = words[1] if len(words) > 1 and words[1].count(".") == 2 else ""
    return enhanced or (words[0] if words else "none")
