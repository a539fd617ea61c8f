"""Delivery problems with partners, for alarms: kept in a worker's memory and in its file. Bounded.

A reader of `events.stream`. What counts is decided here and judged in `analysis.alarms.mail_flow`: a run of attempts
under a requirement that are deferred for TLS, and connections that protect less than their destination was seen to do,
which a delivery ends; connectors by which, and LMTP servers to which nothing is delivered for other reasons; connectors
whose log-in a smart host refuses; sources of recipients and scanners that give no answer; records that cannot be
written; messages that failed without a notice, until they have one; and journal copies that their mailbox refuses.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.events.counts import DELIVERED, level_of
from gatepost.policy.decisions.withheld import concerns_others

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


_MOST: Final = 500  # partners of either kind
_LONG: Final = 300
_HEAD: Final = 100  # characters of a long reply, with code and word
_WAITING: Final = frozenset({"DEFER", "HOLD"})
_OUTCOMES: Final = DELIVERED | _WAITING | {"FAIL", "EXPIRE"}
_OF_A_MESSAGE: Final = re.compile(r"\b4\.(?:[12]\.\d|7\.5\b)")
"""A status that is about the recipient's address or mailbox (RFC 3463), and says nothing of other mail.

4.7.5: of the encryption or signature of the message, for which we have no key or certificate; nobody was connected to.
"""
_OF_ANOTHER_KIND: Final = frozenset({"login_failure", "failed", "journal_waits", "cut_short"})
"""In the details of a deferral that has an alarm of its own, or is no fault."""


class FailingPartner(msgspec.Struct, frozen=True):
    """A partner to which deliveries under a requirement are deferred, as TLS falls short of it.

    name: of the connector, or the domain where none applies. domain: of the recipients. wanted: the requirement as the
    trace prints it. since, last: the first and the last deferral in a row, seconds since 1970. deferrals: attempts.
    by_connector: whether the name is a connector's, which may be called as its domain.
    """

    organization: str
    name: str
    domain: str
    wanted: str
    since: float
    last: float
    deferrals: int
    result_type: str
    host: str = ""
    reply: str = ""
    by_connector: bool = False


class DowngradedDestination(msgspec.Struct, frozen=True):
    """A destination that protects less than it was seen to do.

    was, now: as the trace prints levels. held: so mail waits.
    """

    organization: str
    name: str
    domain: str
    was: str
    now: str
    last: float
    held: bool = False


class UnsentNotice(msgspec.Struct, frozen=True):
    """A message that failed for a recipient and waits, as no notice for its sender could be made.

    message: its queue id. recipient: that it did not reach. failed: the reply by which it failed. last: the last try,
    seconds since 1970. journal: it waits as it is a journal copy, of which nobody is notified.
    """

    organization: str
    message: str
    recipient: str
    failed: str
    last: float
    journal: bool = False


type _Key = tuple[str, str, str]

NOT_IN_POLICY: Final = "450 4.4.8"
"""How the reply begins to mail that waits as the domain's MTA-STS policy does not name its MX hosts."""

HOPS_FAIL: Final = "next-hop-fails"
"""In place of the result of a TLS session: a connector's next hops defer its mail, or do not answer."""

NEXT_HOP: Final = "next hop"
"""In place of the recipients' domain, with `HOPS_FAIL`."""

LMTP_SERVER: Final = "LMTP server"
"""The same for a server of mailboxes. Then name is their `delivery`, and organization accepts their domain."""

LOGIN_REFUSED: Final = "login-refused"
"""In place of the result of a TLS session: the connector could not log in. Then domain and wanted are ""."""


SOURCE_DOWN: Final = "recipient-source-down"
"""In place of the result of a TLS session: recipients of a domain cannot be looked up. Then name is that domain."""

RECIPIENTS: Final = "recipients"
"""In place of the recipients' domain, with `SOURCE_DOWN`."""

SCANNER_DOWN: Final = "scanner-down"
"""In place of the result of a TLS session: a content hook has no usable answer. Then name is the hook's, and wanted its
on_failure."""

HOOK: Final = "hook"
"""In place of the recipients' domain, with `SCANNER_DOWN`."""


RECORDS_DOWN: Final = "records-down"
"""In place of the result of a TLS session: what is recorded of mail waits for the disk. Then name is the record's."""

MESSAGE_TRACE: Final = "message trace"
EVIDENCE_LOG: Final = "evidence log"


class DeliveryProblems:
    """failing, dropped, untold: what an earlier process of this worker knew. changed: since last set to False."""

    def __init__(
        self,
        failing: Iterable[FailingPartner] = (),
        dropped: Iterable[DowngradedDestination] = (),
        untold: Iterable[UnsentNotice] = (),
    ) -> None:
        self.changed = False
        self._failing = {(partner.organization, partner.name, partner.domain): partner for partner in failing}
        self._dropped = {
            (destination.organization, destination.name, destination.domain): destination for destination in dropped
        }
        self._untold = {(notice.message, notice.recipient): notice for notice in untold}

    @property
    def failing(self) -> tuple[FailingPartner, ...]:
        """Partners with which TLS falls short."""
        return tuple(self._failing.values())

    @property
    def dropped(self) -> tuple[DowngradedDestination, ...]:
        """Destinations that protect less than before."""
        return tuple(self._dropped.values())

    @property
    def untold(self) -> tuple[UnsentNotice, ...]:
        """Messages that failed and whose senders could not be notified."""
        return tuple(self._untold.values())

    def __call__(self, groups: Sequence[Sequence[TraceEvent]]) -> None:
        """Learn from groups of events: one of each attempt and destination tells it."""
        for group in groups:
            seen: set[_Key] = set()
            for event in group:
                self._learn_unsent_notice(event)
                if event.event not in DELIVERED and event.event not in _WAITING:
                    continue
                key = _key(event)
                if key not in seen:
                    seen.add(key)
                    self._learn(key, event)
                    self._learn_login(event)
            self._learn_hops(group)

    def _learn(self, key: _Key, event: TraceEvent) -> None:
        if event.event in DELIVERED:
            self._delivered(key, event)
        elif wanted := _unmet(event):
            self._failed(key, event, wanted)
        drop = event.detail.get("protection_drop")
        if drop is not None and _has_room(self._dropped, key, event.organization):
            held = event.event == "HOLD"
            self._dropped[key] = DowngradedDestination(*key, drop["was"], drop["now"], event.at, held)
            self.changed = True

    def _learn_hops(self, group: Sequence[TraceEvent]) -> None:
        """Note next hops of which one attempt only deferred mail; one delivery of the attempt shows that they work."""
        deferred = {_hop_key(event): event for event in group if _is_of_the_hop(event)}
        if not deferred and not self._failing:
            return
        working = {_hop_key(event) for event in group if event.event in DELIVERED}
        for key in working & self._failing.keys():
            del self._failing[key]
            self.changed = True
        for key in deferred.keys() - working:
            self._note_hop(key, deferred[key])

    def _note_hop(self, key: _Key, event: TraceEvent) -> None:
        before = self._failing.get(key)
        if not _has_room(self._failing, key, key[0]):
            return
        since, deferrals = (before.since, before.deferrals + 1) if before is not None else (event.at, 1)
        host, reply = event.peer_host[:_LONG], _shortened(event.reply)
        self._failing[key] = FailingPartner(
            *key, "", since, event.at, deferrals, HOPS_FAIL, host, reply, by_connector=key[2] == NEXT_HOP
        )
        self.changed = True

    def _learn_login(self, event: TraceEvent) -> None:
        """Note a log-in that an administrator must see to, of the connector's owner; another one that works ends it."""
        key = str(event.detail.get("connector_organization") or event.organization), event.connector, ""
        if event.event in DELIVERED:
            if self._failing and "login" in event.detail and self._failing.pop(key, None) is not None:
                self.changed = True
        elif event.detail.get("login_failure") == "refused":
            before = self._failing.get(key)
            if not _has_room(self._failing, key, key[0]):
                return
            why, host = str(event.detail.get("detail", event.reply))[:_LONG], event.peer_host[:_LONG]
            since, deferrals = (before.since, before.deferrals + 1) if before is not None else (event.at, 1)
            self._failing[key] = FailingPartner(*key, "", since, event.at, deferrals, LOGIN_REFUSED, host, why)
            self.changed = True

    def _learn_unsent_notice(self, event: TraceEvent) -> None:
        """Note an attempt whose notice could not be made, and forget it after any other result."""
        if event.event not in _OUTCOMES:
            return
        key, journal = (event.message, event.recipient[:_LONG]), "journal_waits" in event.detail
        failed = event.detail.get("journal_waits" if journal else "failed")
        if failed is None:
            if self._untold and self._untold.pop(key, None) is not None:
                self.changed = True
        elif _has_room(self._untold, key, event.organization):
            shown = _code(failed) if concerns_others(event.detail) else failed[:_LONG]
            self._untold[key] = UnsentNotice(event.organization, *key, shown, event.at, journal)
            self.changed = True

    def note_source(self, organization: str, domain: str, failure: str, at: float) -> None:
        """Note that the source of a domain's recipients gives no answer; with failure "" that it does.

        Called on the event loop for each question, so it costs nothing while all is well.
        """
        self._note_silent((organization, domain, RECIPIENTS), SOURCE_DOWN, "", failure, at)

    def note_scanner(self, organization: str, hook: str, on_failure: str, failure: str, at: float) -> None:
        """The same of a content hook: its scanner gives no usable answer, or does."""
        self._note_silent((organization, hook, HOOK), SCANNER_DOWN, on_failure, failure, at)

    def note_record(self, record: str, failure: str, at: float) -> None:
        """The same of a record, the message trace or the evidence log: it cannot be written, or is."""
        self._note_silent(("", record, ""), RECORDS_DOWN, "", failure, at)

    def _note_silent(self, key: _Key, kind: str, wanted: str, failure: str, at: float) -> None:
        before = self._failing.get(key)
        if not failure:
            if before is not None:
                del self._failing[key]
                self.changed = True
            return
        if not _has_room(self._failing, key, key[0]):
            return
        since, deferrals = (before.since, before.deferrals + 1) if before is not None else (at, 1)
        self._failing[key] = FailingPartner(*key, wanted, since, at, deferrals, kind, reply=failure[:_LONG])
        self.changed = True

    def _delivered(self, key: _Key, event: TraceEvent) -> None:
        if self._failing and self._failing.pop(key, None) is not None:
            self.changed = True
        if self._dropped and "protection_drop" not in event.detail and self._dropped.pop(key, None) is not None:
            self.changed = True

    def _failed(self, key: _Key, event: TraceEvent, wanted: str) -> None:
        before = self._failing.get(key)
        if not _has_room(self._failing, key, key[0]):
            return
        wanted, host, reply = wanted[:_LONG], event.peer_host[:_LONG], _shortened(event.reply)
        if concerns_others(event.detail):  # who reads the alarm is told of another's way as the trace tells it
            wanted, host, reply = level_of(wanted), "", _code(event.reply)
        by_connector = bool(_connector(event))
        since, deferrals = (before.since, before.deferrals + 1) if before is not None else (event.at, 1)
        self._failing[key] = FailingPartner(
            *key, wanted, since, event.at, deferrals, event.result_type, host, reply, by_connector
        )
        self.changed = True


def _unmet(event: TraceEvent) -> str:
    """The requirement that TLS falls short of, as the trace prints it; "" if that is not why mail waits.

    A host that an MTA-STS policy does not name gets no connection, whatever else would be required of it. TLS with an
    LMTP server is its administrators' matter, as all else about it is.
    """
    if "mailbox" in event.detail:
        return ""
    if event.result_type and level_of(event.requirement) not in {"", "opportunistic"}:
        return event.requirement
    return "authenticated(mta-sts)" if event.reply.startswith(NOT_IN_POLICY) else ""


def _is_of_the_hop(event: TraceEvent) -> bool:
    """Whether a connector of the organization, or an LMTP server, deferred it, and would defer other mail as well."""
    if event.event != "DEFER" or not _hop_key(event)[1] or _OF_ANOTHER_KIND & event.detail.keys():
        return False
    return not _unmet(event) and _OF_A_MESSAGE.search(event.reply) is None


def _has_room[K, P: FailingPartner | DowngradedDestination | UnsentNotice](
    problems: dict[K, P], key: K, organization: str
) -> bool:
    """Whether one more may be kept. Where there are too many, the organization with the most of them loses its oldest.

    So none can fill the table, that others' problems are not told.
    """
    if key in problems or len(problems) < _MOST:
        return True
    known = list(problems.items())  # other threads note some meanwhile
    numbers = Counter(problem.organization for _, problem in known)
    greediest, most = numbers.most_common(1)[0]
    if numbers[organization] + 1 >= most:
        return False
    problems.pop(next(name for name, problem in known if problem.organization == greediest), None)
    return True


def _shortened(reply: str) -> str:
    """Beginning and end of a long reply: our own say at the end what was wrong with a certificate."""
    return reply if len(reply) <= _LONG else f"{reply[:_HEAD]} … {reply[_HEAD + 3 - _LONG :]}"


def _code(reply: str) -> str:
    """Code and status of a reply, without its words."""
    return " ".join(reply.split(" ", 2)[:2])[:_LONG]


def _hop_key(event: TraceEvent) -> _Key:
    if mailbox := event.detail.get("mailbox"):
        owner = event.detail.get("domain_organization") or event.organization
        return str(owner), str(mailbox)[:_LONG], LMTP_SERVER
    return event.organization, _connector(event), NEXT_HOP


def _key(event: TraceEvent) -> _Key:
    domain = event.recipient.rpartition("@")[2].lower()[:_LONG]
    return event.organization, _connector(event) or domain, domain


def _connector(event: TraceEvent) -> str:
    """The organization's own connector: another organization's may be called as one of this one."""
    return "" if "connector_organization" in event.detail else event.connector
