"""The TLS history of a destination: its best known level, and whether a connection falls below it.

Trust on first use: whoever strips STARTTLS, or lets a certificate run out, is noticed because it was there before.
`mail.outbound.destination_history` asks for every new connection, after `policy.decisions.outbound` found it good
enough; `store.destinations` keeps the records, `manage.cli.destination` shows them. Pure: times are parameters, values
come back.

Each host of a destination is remembered for itself, and the destination is as good as its best host: another host does
not excuse a connection that is worse, unless an administrator accepted that host as it is (decision 0008).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from gatepost.policy.decisions.facts import ClassicalOnly  # noqa: TC001 - msgspec reads the types of fields
from gatepost.policy.decisions.outbound import describe_achieved
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.times import minute_text
from gatepost.values import replace

FORGOTTEN_AFTER = 60 * 86400.0
"""Seconds after which a level that was not seen again counts no more; the next lower one that was seen then does."""

CLASSICAL_FOR = 86400.0
"""Seconds for which a host that left a post-quantum key share unanswered is offered none; then it is tried again."""

HOSTS = 16
"""Hosts remembered of one destination."""

_COARSE = 600.0  # seconds by which "last seen" may lag: a busy destination is not written for every connection
_WARN_AGAIN = 3600.0
_WARN_AGAIN_OF_WEAK_HOST = 86400.0
_KNOWN_AFTER = 86400.0  # seconds after which a weaker host that was there all the time is no news


class DestinationName(NamedTuple):
    """A place that mail goes to, as an administrator thinks of it.

    domain: that mail is routed by (MX), "" for smart hosts, which are remembered together under their connector.
    connector: by whose demands it goes, "" without one. Another connector begins a memory of its own: it may trust
    other authorities.
    """

    organization: str
    domain: str
    connector: str = ""

    def __str__(self) -> str:
        """As logs and lists name it."""
        if not self.domain:
            return f"connector:{self.connector}"
        return f"{self.domain} (connector:{self.connector})" if self.connector else self.domain


class SeenSpan(msgspec.Struct, frozen=True):
    """The first and the last time at which a level, or a better one, was seen, in seconds since 1970."""

    since: float
    last: float


class Acceptance(msgspec.Struct, frozen=True):
    """An administrator takes a host as it is. at: seconds since 1970."""

    level: Achieved
    at: float
    by: str


class HostMemory(msgspec.Struct, frozen=True):
    """One host. first, at: its first and its last session, seconds since 1970 (the last to within ten minutes).

    last: what that last session reached; version: its TLS version, "" if unencrypted. tls, mx: when each level above
    NONE was reached, lowest first, None if never. accepted: below what the others do, and an administrator knows.
    classical: it left a post-quantum key share unanswered, and agreed on TLS without one.
    """

    first: float
    at: float
    last: Achieved
    version: str = ""
    tls: tuple[SeenSpan | None, SeenSpan | None] = (None, None)
    mx: tuple[SeenSpan | None, SeenSpan | None] = (None, None)
    accepted: Acceptance | None = None
    classical: ClassicalOnly | None = None


class DestinationHistory(msgspec.Struct, frozen=True):
    """All that is remembered of a destination. warned: when the log last said that it does less, 0 for never."""

    hosts: Mapping[str, HostMemory] = msgspec.field(default_factory=dict)
    warned: float = 0.0

    @property
    def at(self) -> float:
        """The last session, 0 if there was none."""
        return max((host.at for host in self.hosts.values()), default=0.0)


class SeenSession(msgspec.Struct, frozen=True):
    """A connection that was good enough for its requirement.

    host: by name, and port unless it is 25. tls_known: whether the chain could be judged; mx_known: whether DNSSEC can
    be asked for at all. What we could not find out, for a fault of our own, is not held against the destination.
    classical: why its handshake offered classical groups only, None if it offered all.
    """

    host: str
    achieved: Achieved
    at: float
    version: str = ""
    tls_known: bool = True
    mx_known: bool = True
    classical: ClassicalOnly | None = None


class Best(msgspec.Struct, frozen=True):
    """The best of each ladder, and since when; NONE since the first session, 0 without one."""

    achieved: Achieved
    tls_since: float
    mx_since: float


class Drop(msgspec.Struct, frozen=True):
    """A connection protects less than was seen before. was: what was to be expected, since: of the ladder that fell.

    news: the host itself was better, or has only just appeared. False: it always was a weaker one than the others.
    """

    host: str
    was: Achieved
    since: float
    now: Achieved
    news: bool


def best(remembered: DestinationHistory, now: float) -> Best:
    """The best known levels of the destination, by its best host on each ladder."""
    first = min((host.first for host in remembered.hosts.values()), default=0.0)
    tls, tls_since = _highest([host.tls for host in remembered.hosts.values()], first, now)
    mx, mx_since = _highest([host.mx for host in remembered.hosts.values()], first, now)
    return Best(Achieved(TlsLevel(tls), MxLevel(mx)), tls_since, mx_since)


def expected(remembered: DestinationHistory, host: str, now: float) -> Best:
    """The level that a connection to a host should reach: the destination's best, or what an administrator accepted."""
    of_all = best(remembered, now)
    known = remembered.hosts.get(host)
    if known is None or known.accepted is None:
        return of_all
    own, accepted = best(DestinationHistory({host: known}), now), known.accepted.level
    tls = min(of_all.achieved.tls, max(own.achieved.tls, accepted.tls))
    mx = min(of_all.achieved.mx, max(own.achieved.mx, accepted.mx))
    return Best(
        Achieved(tls, mx),
        of_all.tls_since if tls == of_all.achieved.tls else own.tls_since,
        of_all.mx_since if mx == of_all.achieved.mx else own.mx_since,
    )


def drop(remembered: DestinationHistory, session: SeenSession) -> Drop | None:
    """Whether a connection does less than is to be expected on either ladder. Ask before `seen` takes it up."""
    wanted, now = expected(remembered, session.host, session.at), session.achieved
    tls_fell = session.tls_known and now.tls < wanted.achieved.tls
    mx_fell = session.mx_known and now.mx < wanted.achieved.mx
    if not tls_fell and not mx_fell:
        return None
    since = wanted.tls_since if tls_fell else wanted.mx_since
    return Drop(session.host, wanted.achieved, since, now, _is_news(remembered, session))


def _is_news(remembered: DestinationHistory, session: SeenSession) -> bool:
    known = remembered.hosts.get(session.host)
    if known is None or session.at - known.first < _KNOWN_AFTER:
        return True
    own = best(DestinationHistory({session.host: known}), session.at).achieved
    return session.achieved.tls < own.tls or session.achieved.mx < own.mx


def due_to_warn(remembered: DestinationHistory, fallen: Drop, now: float) -> bool:
    """Whether the log is to say so: once an hour, of a host that always was weaker once a day."""
    wait = _WARN_AGAIN if fallen.news else _WARN_AGAIN_OF_WEAK_HOST
    return not remembered.warned <= now < remembered.warned + wait


def warned(remembered: DestinationHistory, now: float) -> DestinationHistory:
    """The log has said so."""
    return replace(remembered, warned=now)


def seen(remembered: DestinationHistory, session: SeenSession) -> DestinationHistory:
    """The memory with one more session; the very same object if that is not worth writing down."""
    known = remembered.hosts.get(session.host)
    host = _with_session(known, session) if known is not None else _first(session)
    if host is known:
        return remembered
    hosts = {
        name: host_memory
        for name, host_memory in remembered.hosts.items()
        if session.at - host_memory.at <= FORGOTTEN_AFTER
    }
    hosts[session.host] = host
    if len(hosts) > HOSTS:
        del hosts[min(hosts, key=lambda name: _worth(hosts[name], session.at))]
    return replace(remembered, hosts=hosts)


def accept(remembered: DestinationHistory, *, at: float, by: str) -> DestinationHistory:
    """An administrator takes each host as its last session was. What it does better from then on counts again."""
    hosts = {name: _lowered(host) for name, host in remembered.hosts.items()}
    lowered = DestinationHistory(hosts)
    for name, host in hosts.items():
        wanted = expected(lowered, name, at).achieved
        if host.last.tls < wanted.tls or host.last.mx < wanted.mx:
            hosts[name] = replace(host, accepted=Acceptance(host.last, at, by))
    return DestinationHistory(hosts)


def below(remembered: DestinationHistory, now: float) -> list[Drop]:
    """The hosts whose last session did less than is to be expected of them."""
    present = {name: host for name, host in remembered.hosts.items() if now - host.at <= FORGOTTEN_AFTER}
    last = (SeenSession(name, host.last, now) for name, host in present.items())
    return [fallen for fallen in (drop(remembered, session) for session in last) if fallen is not None]


def classical_still(known: ClassicalOnly | None, now: float) -> ClassicalOnly | None:
    """Return the record of a host's classical handshakes, unless it is too old to count."""
    return known if known is not None and known.since <= now < known.since + CLASSICAL_FOR else None


def describe_drop(fallen: Drop) -> str:
    """Describe the expected and the presented level, as other shortfalls do (exchange.md section 7.3)."""
    since = minute_text(fallen.since)
    return (
        f"Expected: {describe_achieved(fallen.was)}, as seen since {since}."
        f" Presented: {describe_achieved(fallen.now)} by {fallen.host}."
    )


def _highest(ladders: list[tuple[SeenSpan | None, SeenSpan | None]], first: float, now: float) -> tuple[int, float]:
    """The highest level that one of the hosts reached and that is not forgotten, and since when."""
    for level in (2, 1):
        spans = [span for ladder in ladders if (span := ladder[level - 1]) and now - span.last <= FORGOTTEN_AFTER]
        if spans:
            return level, min(span.since for span in spans)
    return 0, first


def _first(session: SeenSession) -> HostMemory:
    at, achieved = session.at, session.achieved
    ladders = (None, None)
    tls, mx = _raised(ladders, achieved.tls, at), _raised(ladders, achieved.mx, at)
    return HostMemory(at, at, achieved, session.version, tls, mx, classical=session.classical)


def _with_session(known: HostMemory, session: SeenSession) -> HostMemory:
    achieved = Achieved(
        session.achieved.tls if session.tls_known else max(session.achieved.tls, known.last.tls),
        session.achieved.mx if session.mx_known else max(session.achieved.mx, known.last.mx),
    )
    tls, mx = _raised(known.tls, achieved.tls, session.at), _raised(known.mx, achieved.mx, session.at)
    classical = session.classical if session.version else known.classical  # unencrypted: nothing was offered
    after = replace(known, last=achieved, version=session.version, tls=tls, mx=mx, classical=classical)
    if after == known and session.at - known.at < _COARSE:
        return known
    return replace(after, at=max(known.at, session.at))


def _raised(
    ladder: tuple[SeenSpan | None, SeenSpan | None], level: int, at: float
) -> tuple[SeenSpan | None, SeenSpan | None]:
    """A ladder after a session that reached a level, and with it all below."""
    span, two = ladder
    return (_stretched(span, at) if level >= 1 else span, _stretched(two, at) if level >= 2 else two)


def _stretched(span: SeenSpan | None, at: float) -> SeenSpan:
    if span is None or at - span.last > FORGOTTEN_AFTER:
        return SeenSpan(at, at)
    return span if at - span.last < _COARSE else SeenSpan(span.since, at)


def _lowered(host: HostMemory) -> HostMemory:
    """A host that was never better than it last was."""
    return replace(host, tls=_cut(host.tls, host.last.tls), mx=_cut(host.mx, host.last.mx))


def _cut(ladder: tuple[SeenSpan | None, SeenSpan | None], level: int) -> tuple[SeenSpan | None, SeenSpan | None]:
    return (ladder[0] if level >= 1 else None, ladder[1] if level >= 2 else None)


def _worth(host: HostMemory, now: float) -> tuple[int, int, bool, float]:
    """The value of keeping a host: by what it proves, an administrator's decision, and the time it was last seen."""
    own = best(DestinationHistory({"": host}), now).achieved
    return own.tls, own.mx, host.accepted is not None, host.at
