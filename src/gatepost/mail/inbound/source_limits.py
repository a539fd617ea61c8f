"""Limit what clients that nobody knows do in a minute and at a time: each source, each IPv6 /48, and all together.

One for a worker, made by `node.load`, which sets its share. `net.listener` asks about connections, sessions about the
rest. Known are the addresses that connectors name, this host itself, hosts that speak for others, and clients that a
connector, a log-in or the site identified within a day; they are not limited here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.events.metrics.catalogue import LIMITED, REFUSALS_LEFT_OUT
from gatepost.net.listener import NETWORK_TIMES, ConnectionQuota, network_of, source_of
from gatepost.policy.connectors.directory import Directory, address_key
from gatepost.policy.decisions.load import RateLimit, connections_at, handshake_seconds, rate_at
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.events.metrics.counts import Counts

_KNOWN_FOR: Final = 86400.0
_MOST: Final = 20_000  # sources of each kind that are remembered
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})  # whoever is on this machine has other ways to load it
_SOURCE_BURST: Final = 10.0  # seconds' worth that a source may do at once,
_TOTAL_BURST: Final = 2.0  # and those of an IPv6 /48, and all sources, together
_MINUTE: Final = 60.0
_CODES: Final = {RateLimit.MESSAGES: 450, RateLimit.RECIPIENTS: 450, RateLimit.FAILED_LOGINS: 454}  # else 421
_ROUNDING: Final = 1e-6  # seconds by which sums of binary fractions may be off
_ANSWERS: Final = 300  # refused connections a minute that are told why: each costs as much as 20 that are dropped
_KNOWN_TIMES: Final = 10  # as many refusals of a known source are recorded
_DROPPED: Final = ConnectionQuota(0, 0, "Too many connections at the moment", drops=True)


class Rate(msgspec.Struct, frozen=True):
    """A limit a minute, 0 for none."""

    per_source: int = 0
    in_all: int = 0


class _Pace:
    """When the next of something may be, by key (GCRA). Memory is bounded: what was longest ago is forgotten."""

    __slots__ = ("_free_at",)

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    def allows(self, key: str, a_minute: int, burst: float, now: float, more: int = 0) -> bool:
        """Whether one more, and `more` with it, are within a limit. burst: seconds' worth at once, at least one."""
        if not a_minute:
            return True
        room = max(burst - 60.0 / a_minute, 0.0) - 60.0 * more / a_minute
        return max(self._free_at.get(key, 0.0) - now, 0.0) <= room + _ROUNDING

    def charge(self, key: str, a_minute: int, now: float, number: int = 1) -> None:
        """So many more."""
        if a_minute:
            self._free_at[key] = max(self._free_at.pop(key, 0.0), now) + 60.0 * number / a_minute
            if len(self._free_at) > _MOST:
                del self._free_at[next(iter(self._free_at))]


class SourceLimits:
    """rates: a minute. connections: at a time, in all and for each source. speaks_for_others: trusted proxies.

    clock: seconds, never back. share: what is left of the limits, 1.0 for all.
    """

    def __init__(
        self,
        rates: Mapping[RateLimit, Rate],
        connections: tuple[int, int],
        counts: Counts,
        speaks_for_others: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.share = 1.0
        self._rates = rates
        self._connections = connections
        self._counts = counts
        self._speaks_for_others = speaks_for_others
        self._clock = clock
        self._sources = {limit: _Pace() for limit in RateLimit}
        self._all = {limit: _Pace() for limit in RateLimit}
        self._answers = _Pace()
        self._recognized: dict[str, float] = {}
        self._networks: dict[tuple[int, int], set[int]] = {}

    def use(self, directory: Directory) -> None:
        """Know the addresses that the connectors in force name."""
        networks: dict[tuple[int, int], set[int]] = {}
        for organization in directory.organizations:
            for connector in organization.inbound_connectors:
                if connector.enabled:
                    for version, shift, prefix in directory.entry(organization, connector).networks:
                        networks.setdefault((version, shift), set()).add(prefix)
        self._networks = networks

    def recognize(self, host: str) -> None:
        """A client at this address was identified: it is known for a day."""
        source = source_of(host)
        self._recognized.pop(source, None)
        self._recognized[source] = self._clock() + _KNOWN_FOR
        if len(self._recognized) > _MOST:
            del self._recognized[next(iter(self._recognized))]

    def is_known(self, host: str) -> bool:
        """Whether the client at this address keeps its limits, however loaded the worker is."""
        if host in _LOOPBACK or self._recognized.get(source_of(host), 0.0) > self._clock():
            return True
        return self._is_named(host) or self._speaks_for_others(host)

    def _is_named(self, host: str) -> bool:
        if not self._networks or (key := address_key(host)) is None:
            return False
        version, number = key
        return any(
            version == named and number >> shift in prefixes for (named, shift), prefixes in self._networks.items()
        )

    def connection(self, host: str) -> ConnectionQuota:
        """The limits of a client that connects now; charges the connection.

        In a flood this is half of what a worker does: for a connection that is dropped nothing is made.
        """
        if self.is_known(host):
            return ConnectionQuota(*self._connections)
        source, now = source_of(host), self._clock()
        limit = RateLimit.ERRORS
        if not (scope := self._exceeded(limit, source, now)):
            limit = RateLimit.CONNECTIONS
            scope = self._exceeded(limit, source, now)
        if not scope:
            self._charge(limit, source, now)
            return ConnectionQuota(*connections_at(*self._connections, self.share), stranger=True)
        if not self._answers.allows("", _ANSWERS, 1.0, now):
            return _DROPPED
        self._answers.charge("", _ANSWERS, now)
        return ConnectionQuota(0, 0, _too_many(limit, scope, source), stranger=True)

    def take(self, limit: RateLimit, host: str) -> Reply | None:
        """One more of a client; the refusal if that is too many."""
        if self.is_known(host):
            return None
        source, now = source_of(host), self._clock()
        if scope := self._exceeded(limit, source, now):
            return _refusal(limit, scope, source)
        self._charge(limit, source, now)
        return None

    def records(self, host: str, number: int, *, identified: bool = False) -> bool:
        """Whether so many refusals of a client get a row each: it takes a hundred octets to bring about one of 1500.

        identified: its certificate shows who it is, though none of its mail was accepted. Those of this host do.
        Others of known clients have a limit, too: a tenant may name any network. All must be within the limits, or a
        message with many recipients would use up what all strangers have.
        """
        if host in _LOOPBACK:
            return True
        source, now, rate = source_of(host), self._clock(), self._rates[RateLimit.REFUSALS]
        if identified or self.is_known(host):
            most, in_all = rate.per_source * _KNOWN_TIMES, 0
        else:
            most, in_all = rate_at(rate.per_source, self.share), rate_at(rate.in_all, self.share)
        sources = self._sources[RateLimit.REFUSALS]
        paces = [(sources, source, most), (self._all[RateLimit.REFUSALS], "", in_all)]
        if in_all and (network := network_of(source)):
            paces.append((sources, network, most * NETWORK_TIMES))
        if not all(pace.allows(key, a_minute, _MINUTE, now, number - 1) for pace, key, a_minute in paces):
            self._counts.add((REFUSALS_LEFT_OUT.name,), number)
            return False
        for pace, key, a_minute in paces:
            pace.charge(key, a_minute, now, number)
        return True

    def handshake_seconds(self, host: str) -> float:
        """Within which a client's TLS handshake must be complete."""
        return handshake_seconds(1.0 if self.is_known(host) else self.share)

    def spent(self, limit: RateLimit, host: str) -> Reply | None:
        """The refusal of one more; None if it is within the limits, and of a known client."""
        if self.is_known(host):
            return None
        source = source_of(host)
        scope = self._exceeded(limit, source, self._clock())
        return _refusal(limit, scope, source) if scope else None

    def _exceeded(self, limit: RateLimit, source: str, now: float) -> str:
        """Whose limit one more of a source would exceed: "source", "all", or "" for none; counts the refusal."""
        rate, share, sources = self._rates[limit], self.share, self._sources[limit]
        most, network = rate_at(rate.per_source, share), network_of(source)
        if not sources.allows(source, most, _SOURCE_BURST, now) or (
            network and not sources.allows(network, most * NETWORK_TIMES, _TOTAL_BURST, now)
        ):
            scope = "source"
        elif not self._all[limit].allows("", rate_at(rate.in_all, share), _TOTAL_BURST, now):
            scope = "all"
        else:
            return ""
        self._counts.add((LIMITED.name, limit.value, scope))
        return scope

    def _charge(self, limit: RateLimit, source: str, now: float) -> None:
        rate, share, sources = self._rates[limit], self.share, self._sources[limit]
        most = rate_at(rate.per_source, share)
        sources.charge(source, most, now)
        if network := network_of(source):
            sources.charge(network, most * NETWORK_TIMES, now)
        self._all[limit].charge("", rate_at(rate.in_all, share), now)


def _too_many(limit: RateLimit, scope: str, source: str) -> str:
    where = f"from {source} in a minute" if scope == "source" else "at the moment"
    return f"Too many {limit.noun} {where}"


def _refusal(limit: RateLimit, scope: str, source: str) -> Reply:
    return Reply(_CODES.get(limit, 421), "4.7.0", (f"{_too_many(limit, scope, source)}, try again later",))
