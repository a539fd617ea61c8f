"""Count attempted TLS sessions for TLS reports: in memory at once, in the day's file every few seconds.

`mail.outbound.deliverer` calls a `RouteSessions` for each session it attempts, `node.assembly` makes the one
`SessionLog` of a worker. Counting takes microseconds and never waits for a disk; what is counted is decided in
`policy.decisions.tlsrpt`. Counts are no mail: a killed process loses those of the last seconds, a full disk those that
no longer fit in memory.

A session is an attempt to begin TLS with one address. Messages over a kept connection are none; nor is a connection
that TCP refuses, that ends before the peer said whether it offers STARTTLS, or that goes on unencrypted after TLS
failed on another one, which was counted.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from gatepost.events.counts import count_classical, count_failed_session, count_session
from gatepost.events.metrics.counts import Counts
from gatepost.net import dane
from gatepost.policy.decisions.published import Published, dnssec_failed
from gatepost.policy.decisions.tlsrpt import Seen, attempted, barred, not_fetched
from gatepost.protocols.tls.names import is_ip_address
from gatepost.protocols.tlsrpt.tally import Count, Tally, TlsSession
from gatepost.store.interface import StoreFailure
from gatepost.times import day_text
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Message
    from gatepost.mail.outbound.failure import HopFailure
    from gatepost.mail.outbound.hop import Hop, OpenHop
    from gatepost.net.lookups.question import LookupFailed
    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.policy.decisions.requirement import Shortfall
    from gatepost.store.session_counts import SessionCounts


_log = logging.getLogger(__name__)

_INTERVAL = 5.0
_KEPT_DAYS = 14
_TRIES = 3  # of a file that other workers write at the same moment
_DAY = 86400


class SessionLog:
    """The counts of one worker. `count` is for the event loop; a thread of its own writes.

    stored: where they are written. interval: seconds between two writes. clock: seconds since 1970 UTC. most: results
    that are counted apart between two writes; see `protocols.tlsrpt.tally.Tally`. counts: handshakes and failures are
    counted there too, for metrics.
    """

    def __init__(
        self,
        stored: SessionCounts,
        *,
        interval: float = _INTERVAL,
        clock: Callable[[], float] = time.time,
        most: int = 5_000,
    ) -> None:
        self._stored = stored
        self._interval = interval
        self.clock = clock
        self.counts = Counts()
        self._lock = threading.Lock()
        self._tally = Tally(most)
        self._left_out = 0
        self._today = ""
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session-counts", daemon=True)
        self._thread.start()

    def count(self, session: TlsSession) -> None:
        """Count a session of this moment."""
        day = day_text(self.clock())
        with self._lock:
            self._tally.add(day, session)

    def close(self) -> None:
        """Write what was counted and end the thread. Counts after it are lost."""
        self._closing.set()
        self._thread.join()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        while not self._closing.wait(self._interval):
            self._flush()
        self._flush()
        self._say_left_out()
        if lost := len(self._tally):
            _log.error("session counts: %d of them could not be written, and are lost", lost)

    def _flush(self) -> None:
        with self._lock:
            self._left_out += self._tally.left_out
            counts = self._tally.take()
        days = sorted({count.day for count in counts})
        while days:
            try:
                self._left_out += self._write(days[0], [count for count in counts if count.day == days[0]])
            except StoreFailure as failure:
                self._failed(failure, [count for count in counts if count.day in days])
                break
            days.pop(0)
        today = day_text(self.clock())
        if today != self._today and not self._failing:
            self._today = today
            self._say_left_out()
            self._prune()

    def _write(self, day: str, counts: Sequence[Count]) -> int:
        for _ in range(_TRIES - 1):
            try:
                return self._written(day, counts)
            except StoreFailure:
                time.sleep(0.1)
        return self._written(day, counts)

    def _written(self, day: str, counts: Sequence[Count]) -> int:
        left_out = self._stored.write(day, counts)
        if self._failing:
            self._failing = False
            _log.info("session counts are written again")
        return left_out

    def _failed(self, failure: StoreFailure, counts: Sequence[Count]) -> None:
        """They wait in memory for the next time. One line in the log, however long it lasts."""
        with self._lock:
            self._tally.put_back(counts)
        if not self._failing:
            self._failing = True
            _log.error("session counts: %s; they are kept in memory, as far as they fit", failure)

    def _say_left_out(self) -> None:
        """Once a day, and at the end: there may be more of them every few seconds."""
        if self._left_out:
            _log.error("session counts: there was no room for %d results of sessions", self._left_out)
        self._left_out = 0

    def _prune(self) -> None:
        """Forget old days."""
        try:
            self._stored.prune(day_text(self.clock() - _KEPT_DAYS * _DAY))
        except StoreFailure as error:
            _log.error("session counts: old days cannot be removed: %s", error)


def counted(log: SessionLog | None, message: Message) -> SessionLog | None:
    """The log that counts the sessions of a message; None if the message carries a TLS report of ours.

    Else each report would be a session to report about, and two gateways would write to one another for ever.
    """
    return None if message.is_tls_report else log


class RouteSessions:
    """The sessions of one attempt to deliver, along one way.

    log: None where nothing is counted. domains: the recipient domains, A-labels, each of which has the session counted;
    none for smart hosts, each of which is its own policy domain (RFC 8460 section 1.1). That the MTA-STS policy of a
    domain could not be fetched is reported once, with the first session; there is one domain then.
    """

    def __init__(self, log: SessionLog | None, *domains: str) -> None:
        self._log = log
        self._domains = tuple(filter(None, domains))
        self._told = False

    def opened(self, opened: OpenHop) -> None:
        """Count a connection that met its requirement, and one before it whose handshake was left unanswered."""
        connection = opened.connection
        if opened.before is not None:
            self.failed(opened.hop, opened.before)
        if self._log is not None and opened.facts.classical is not None:
            count_classical(self._log.counts, remembered=opened.before is None)
        if self._log is not None and opened.facts.tls is not None:
            count_session(self._log.counts, "outbound", opened.facts.tls)
        self._attempted(opened.hop, opened.facts, connection.transcript, connection.local)

    def failed(self, hop: Hop, failure: HopFailure) -> None:
        """Count a connection that did not meet it; there is no session if nothing was seen of TLS."""
        if failure.facts is not None:
            self._count_failure(failure)
            self._attempted(hop, failure.facts, failure.transcript, failure.local)

    def _count_failure(self, failure: HopFailure) -> None:
        if self._log is None or failure.facts is None:
            return
        if failure.facts.tls is not None:
            count_session(self._log.counts, "outbound", failure.facts.tls)
        if failure.result_type is not None:
            count_failed_session(self._log.counts, "outbound", str(failure.result_type))

    def unresolved(self, failed: LookupFailed, host: str = "") -> None:
        """Count a name whose DNS answers DNSSEC proves wrong, as a policy failure. host: "" for the MX records."""
        if failed.bogus:
            self.barred(host, dnssec_failed(failed.detail))

    def barred(self, host: str, shortfall: Shortfall, published: Published | None = None) -> None:
        """Count a host that must not be used, so that no connection is opened."""
        for domain in self._policy_domains(host) if self._log is not None else ():
            if (session := barred(domain, host, shortfall, published)) is not None:
                self._count(session, published)

    def _attempted(self, hop: Hop, facts: HopFacts, transcript: Sequence[str], local: str) -> None:
        domains = self._policy_domains(hop.host)
        if self._log is None or not domains:
            return
        tlsa_lookup = hop.published.dane
        if tlsa_lookup is not None and tlsa_lookup.records.usable and facts.tls is not None and facts.dane is None:
            # The message need not obey them, but how the host stands to them is to be reported all the same.
            chain, now = facts.tls.peer_chain, self._log.clock()
            facts = replace(facts, dane=dane.judge(tlsa_lookup.records, chain, names=tlsa_lookup.names, now=now))
        seen = Seen(hop.address, _greeting_name(transcript), local)
        for domain in domains:
            self._count(attempted(domain, hop.requirement, facts, hop.published, seen), hop.published)

    def _count(self, session: TlsSession, published: Published | None) -> None:
        failure = None if self._told or published is None else not_fetched(published.sts)
        if failure is not None:
            self._told = True
            session = TlsSession(session.domain, (*session.results, failure))
        if self._log is not None and session.results:
            self._log.count(session)

    def _policy_domains(self, host: str) -> list[str]:
        """The domains whose reports a session belongs to. An IP address has no domain to look a record up in."""
        names = self._domains or (host,)
        return [name for name in names if not (name.startswith("[") or is_ip_address(name))]


def _greeting_name(transcript: Sequence[str]) -> str:
    """The name in "< 220 mx.b.example ESMTP", "" if there is none."""
    words = transcript[0][len("< 220 ") :].split(None, 1) if transcript and transcript[0].startswith("< 220") else []
    return words[0] if words else ""
