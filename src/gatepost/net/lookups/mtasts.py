"""Find the MTA-STS policy of a domain: TXT record, policy over HTTPS, and a persistent cache (RFC 8461).

Used by `outbound` and, later, `checks`. Says what is known and what went wrong with its result type for TLS-RPT; what
that means for a delivery is `policy`'s. An unexpired policy is never given up for a failure: not for a missing record,
not for a dead host, not for a policy that cannot be read (section 3.3, section 10).
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

import msgspec

from gatepost.net.lookups.cache import Cache
from gatepost.net.lookups.dns import DnsAnswer, asking_for
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, HttpResponse
from gatepost.net.lookups.mtasts_cache import CachedPolicy, PolicyFolder
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.places import FairPlaces
from gatepost.net.shortage import shortage
from gatepost.net.tasks import Shared
from gatepost.protocols.dns.text_record import RecordError
from gatepost.protocols.mtasts.policy import MAX_BYTES, PolicyError, StsMode, StsPolicy, parse_policy
from gatepost.protocols.mtasts.publish import PATH, policy_host, record_name
from gatepost.protocols.mtasts.record import StsRecord, parse_record
from gatepost.protocols.tls.names import is_ip_address, normalise
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dns.rdtypes.txtbase import TXTBase


_SEEN_SECONDS: Final = 60.0  # for which what was found is not looked up again, even if max_age is shorter
_RETRY_SECONDS: Final = 300.0  # for which a policy that could not be fetched is not fetched again under the same id
_PATIENCE_SECONDS: Final = 10.0  # that a delivery waits for a newer policy while the older one still holds
_UNUSED_SECONDS: Final = 30 * 86_400.0  # after which a policy that no delivery uses is no longer refreshed
_DAY: Final = 86_400.0
_MEMORY_BYTES: Final = 16 * 1024 * 1024
_SEEN_BYTES: Final = 4 * 1024 * 1024
_FAILURES: Final = 10_000
# At a time. They wait for hosts that any sender can name and that may keep silent: so there are many of them, no
# organization has more than three quarters, and each has its whole minute only while half of the places are free. The
# others then serve 25 hosts a second at least, 12 where they are one organization's.
_FETCHES: Final = 500
_BUSY_SECONDS: Final = 10.0  # for one policy where the places run short
_REFRESHES: Final = 16  # at a time
_REFRESH_SECONDS: Final = 600.0  # after which one call begins no further refresh
_MAX_DETAIL: Final = 600

_log = logging.getLogger(__name__)


class _Queries(Protocol):
    """The part of `net.lookups.dns.Resolver` that is used."""

    async def query(self, name: str, rdtype: str, *, fresh: bool = False) -> DnsAnswer:
        """Look up. Raises LookupFailed."""


class StsFailure(msgspec.Struct, frozen=True):
    """The reason why there is no policy, or no newer one.

    detail: for us, never on the wire. ours: this gateway had no time for the fetch, or no socket, file or memory, which
    says nothing of the domain, nor of what another organization would find: whether it has a policy is not known, so
    without one at hand its mail must wait (`StsState.is_unknown`).
    """

    result_type: ResultType
    detail: str
    ours: bool = False


class StsState(msgspec.Struct, frozen=True):
    """The state of a domain's policy.

    domain: the policy domain in A-labels. policy: the one to apply, None if there is none; mode "none" and "testing"
    are given as they are. id: of the TXT record by which it was fetched. origin: "fetched" just now, from the "cache",
    "" without a policy. fetched, expires: seconds since 1970 UTC, 0 without a policy. record: of the DNS now, None if
    there is no usable one. failure: what went wrong now, with or without a policy from the cache.
    """

    domain: str
    policy: StsPolicy | None = None
    id: str = ""
    origin: Literal["fetched", "cache", ""] = ""
    fetched: float = 0.0
    expires: float = 0.0
    record: StsRecord | None = None
    failure: StsFailure | None = None

    @property
    def enforced(self) -> bool:
        """Whether mail may go only to hosts that the policy allows and that prove their name."""
        return self.policy is not None and self.policy.mode is StsMode.ENFORCE

    @property
    def is_unknown(self) -> bool:
        """Whether there may be a policy that this gateway could not fetch by its own fault: no mail goes without it."""
        return self.policy is None and self.failure is not None and self.failure.ours


class PolicyHosts(msgspec.Struct, frozen=True):
    """Settings for the hosts that serve policies.

    timeout: seconds to fetch one policy (section 3.3). private: whether such a host may be at an address that is not of
    the public internet. port: any but 443 is for tests.
    """

    timeout: float = 60.0
    private: bool = False
    port: int = 443


class StsPolicies:
    """client: its context checks the policy hosts' certificates. clock: seconds, never going back.

    folder: where policies are kept over a restart; None for nowhere, and then none is refreshed. fresh: for checks,
    which fetch each policy anew and keep none: what another process keeps is read where none can be had.
    """

    def __init__(
        self,
        resolver: _Queries,
        client: HttpClient,
        folder: Path | None,
        *,
        hosts: PolicyHosts = PolicyHosts(),  # noqa: B008 - it cannot change
        fresh: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._client = client
        self._folder = PolicyFolder(folder, writes=not fresh)
        self._fresh = fresh
        self._hosts = hosts
        self._clock = clock
        # Under None what is everybody's, with an organization what it had no time to find out.
        self._seen: Cache[tuple[str, str | None], StsState] = Cache(_SEEN_BYTES, clock, share=20)
        self._memory: Cache[str, CachedPolicy] = Cache(_MEMORY_BYTES, clock)
        self._failed: Cache[tuple[str, str], StsFailure] = Cache(_FAILURES, clock)
        self._lookups: Shared[tuple[str, bool, str], StsState] = Shared()
        self._fetches: Shared[tuple[str, str], CachedPolicy | StsFailure] = Shared()
        self._places = FairPlaces(_FETCHES)
        self._late: set[str] = set()  # domains whose policy could not be refreshed when that was tried last

    async def find(self, domain: str, *, now: float, recheck: bool = False) -> StsState:
        """The state of `domain`: a recipient's domain or a smart host, never a domain above (section 3.4).

        now: seconds since 1970 UTC. recheck: the policy at hand does not allow a delivery, and there may be a newer one
        (section 5.1): whatever we remember the DNS is asked again, and, since the resolver may remember the old id for
        as long as the record lives, the policy host too, if that was not done for five minutes. Never raises. Who asks
        for a domain that is being looked up for the same organization waits for the same, and giving up does not stop
        it; not for another organization's look-up, which may have to wait for its other ones.
        """
        name = _policy_domain(domain)
        if not name:
            return StsState(domain)
        asker = asking_for.get()
        seen = self._seen.get((name, None)) or self._seen.get((name, asker))
        if seen is not None and not recheck:
            return seen
        work = self._lookups.result(
            (name, recheck, asker), lambda: self._look(name, now, recheck=recheck), f"mta-sts {name}"
        )
        return await work

    async def fetch(self, domain: str) -> StsPolicy | StsFailure:
        """Fetch the policy of `domain` (A-labels) from its host, whatever the DNS says; it is not kept. For checks."""
        return await self._ask(domain)

    async def refresh_due(self, *, now: float) -> tuple[StsState, ...]:
        """Fetch again what would expire otherwise: for a caller with a timer, in one worker, every hour or so.

        Those that end first are tried first, behind them those that failed in the call before: hosts that keep silent
        would else take all of the time. None is that was not used for 30 days. After ten minutes it begins no more: the
        next call will. The states of those it tried.
        """
        due = await asyncio.to_thread(self._due, now)
        slots, begun = asyncio.Semaphore(_REFRESHES), self._clock()

        async def in_turn(entry: CachedPolicy) -> StsState | None:
            async with slots:
                passed = self._clock() - begun
                return await self._refresh(entry, now + passed) if passed < _REFRESH_SECONDS else None

        states = await asyncio.gather(*(in_turn(entry) for entry in due))
        tried = tuple(state for state in states if state is not None)
        untried = {entry.domain for entry in due} - {state.domain for state in tried}
        self._late = (self._late & untried) | {state.domain for state in tried if state.failure is not None}
        return tried

    def retry(self) -> None:
        """Ask again for what could not be had, without waiting for its minutes to pass."""
        self._seen.clear()
        self._failed.clear()

    async def close(self) -> None:
        """Stop all looking up and fetching."""
        await self._lookups.close()
        await self._fetches.close()

    # Looking up.

    async def _look(self, name: str, now: float, *, recheck: bool) -> StsState:
        begun = self._clock()
        record = await self._record(name, fresh=recheck)
        now += self._clock() - begun  # whose record came later fetches the newer policy
        try:
            held = await self._at_hand(name, record, now)
        except OSError as short:
            detail = f"the policies that are kept cannot be read: {short.strerror}"
            return StsState(name, failure=StsFailure(ResultType.STS_POLICY_FETCH_ERROR, detail, ours=True))
        failure = record if isinstance(record, StsFailure) else None
        origin: Literal["fetched", "cache"] = "cache"
        if isinstance(record, StsRecord) and (held is None or held.id != record.id or self._fresh):
            fetched = await self._fetched(name, record, held, now)
            if isinstance(fetched, CachedPolicy):
                held, origin = fetched, "fetched"
            else:
                failure = fetched
        elif recheck and isinstance(record, StsRecord) and held is not None and held.fetched <= now - _RETRY_SECONDS:
            fetched = await self._fetched(name, record, held, now)
            if isinstance(fetched, CachedPolicy):  # else the policy at hand holds, as without a recheck
                held, origin = fetched, "fetched"
        state = StsState(name, record=record if isinstance(record, StsRecord) else None, failure=failure)
        if held is not None:
            state = replace(
                state, policy=held.policy, id=held.id, origin=origin, fetched=held.fetched, expires=held.expires
            )
        if not state.is_unknown:  # the next to ask may find a place
            key = name, asking_for.get() if failure is not None and failure.ours else None
            self._seen.put(key, replace(state, origin="cache") if held else state, _SEEN_SECONDS, _cost(state.policy))
        return state

    async def _record(self, name: str, *, fresh: bool = False) -> StsRecord | StsFailure | None:
        """Look up the TXT record; None if the DNS has none."""
        try:
            answer = await self._resolver.query(record_name(name), "TXT", fresh=fresh)
        except LookupFailed as failed:
            return _failure(failed) if failed.temporary else None
        parsed = parse_record([cast("TXTBase", record).strings for record in answer.records])
        return _failure(parsed) if isinstance(parsed, RecordError) else parsed

    async def _at_hand(self, name: str, record: StsRecord | StsFailure | None, now: float) -> CachedPolicy | None:
        """The unexpired policy that memory or disk has: another worker may have fetched a newer one.

        Raises OSError if this machine lacks what it takes to know whether the disk has one.
        """
        held = self._memory.get(name)
        if held is None or not held.holds(now) or (isinstance(record, StsRecord) and held.id != record.id):
            try:
                kept = await asyncio.to_thread(self._folder.read, name)
            except OSError:
                if held is None or not held.holds(now):
                    raise
                kept = None
            if kept is not None and (held is None or kept.fetched > held.fetched):
                held = self._keep(kept, now)
        if held is None or not held.holds(now):
            return None
        if held.used < now - _DAY:
            held = self._keep(replace(held, used=now), now)
            await asyncio.to_thread(self._folder.touch, held)
        return held

    async def _fetched(
        self, name: str, record: StsRecord, held: CachedPolicy | None, now: float
    ) -> CachedPolicy | StsFailure:
        """Fetch the policy under a new id; where there is an older one, not for long."""
        work = self._fetch(name, record.id, now, now)
        if held is None:
            return await work
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await work
        except TimeoutError:
            detail = f"the policy of id {record.id} is not there after {_PATIENCE_SECONDS:g} s"
            return StsFailure(ResultType.STS_POLICY_FETCH_ERROR, detail, ours=True)

    # Fetching.

    async def _fetch(self, name: str, record_id: str, used: float, now: float) -> CachedPolicy | StsFailure:
        """The policy from its host, or of a fetch for the same organization that is under way."""
        key = name, asking_for.get()
        return await self._fetches.result(
            key, lambda: self._fetch_once(name, record_id, used, now), f"mta-sts fetch {name}"
        )

    async def _fetch_once(self, name: str, record_id: str, used: float, now: float) -> CachedPolicy | StsFailure:
        """The policy from its host, kept. The failure is returned: a task's exception is logged as a fault."""
        failed = self._failed.get((name, record_id))
        if failed is not None:
            return failed
        result = await self._ask(name)
        if isinstance(result, StsFailure):
            if not result.ours:
                self._failed.put((name, record_id), result, _RETRY_SECONDS, 1)
            return result
        entry = CachedPolicy(name, record_id, result, now, used)
        before = self._memory.get(name)
        if before is not None and before.policy.mode is not result.mode:
            _log.info("mta-sts: the policy of %s changed from %s to %s", name, before.policy.mode, result.mode)
        kept = self._keep(entry, now)
        if kept is entry:
            await asyncio.to_thread(self._folder.write, entry)
        return kept

    async def _ask(self, name: str) -> StsPolicy | StsFailure:
        port = "" if self._hosts.port == 443 else f":{self._hosts.port}"
        url = f"https://{policy_host(name)}{port}{PATH}"
        request = HttpRequest(url, MAX_BYTES, self._hosts.timeout, accept="text/plain", private=self._hosts.private)
        try:
            answer = await self._fetch_in_turn(await self._client.located(request))
        except TimeoutError:  # the client's own ends as HttpFailed
            detail = f"{url}: too many other policies are being fetched"
            return replace(_failure(HttpFailed(detail, temporary=True)), ours=True)
        except HttpFailed as failed:
            return _failure(failed)
        return _read(answer)

    async def _fetch_in_turn(self, request: HttpRequest) -> HttpResponse:
        """The answer. Raises HttpFailed, and TimeoutError if others left too little time for it."""
        async with AsyncExitStack() as held:
            async with asyncio.timeout(self._hosts.timeout):
                await held.enter_async_context(self._places.place(asking_for.get()))
            async with asyncio.timeout(_BUSY_SECONDS if self._places.free < _FETCHES / 2 else None):
                return await self._client.fetch(request)

    def _keep(self, entry: CachedPolicy, now: float) -> CachedPolicy:
        """Keep a policy in memory; the newer one that is there already, if it was overtaken."""
        known = self._memory.get(entry.domain)
        if known is not None and entry.is_overtaken_by(known):
            return known
        self._memory.put(entry.domain, entry, entry.expires - now, _cost(entry.policy))
        return entry

    # Refreshing.

    def _due(self, now: float) -> list[CachedPolicy]:
        due = [entry for entry in self._folder.entries() if entry.holds(now) and entry.due(now)]
        used = [entry for entry in due if entry.used > now - _UNUSED_SECONDS]
        return sorted(used, key=lambda entry: (entry.domain in self._late, entry.expires))

    async def _refresh(self, entry: CachedPolicy, now: float) -> StsState:
        """Fetch a policy again that still holds."""
        name, begun = entry.domain, self._clock()
        record = await self._record(name)
        now += self._clock() - begun
        renewed = await self._renewed(entry, record, now)
        held, failure = (renewed, None) if isinstance(renewed, CachedPolicy) else (entry, renewed)
        if failure is not None and entry.policy.mode is not StsMode.NONE:  # section 3.3: administrators are to know
            _log.warning("mta-sts: the policy of %s cannot be refreshed: %s", name, failure.detail)
        self._seen.drop((name, None))
        origin: Literal["fetched", "cache"] = "cache" if held is entry else "fetched"
        published = record if isinstance(record, StsRecord) else None
        return StsState(name, held.policy, held.id, origin, held.fetched, held.expires, published, failure)

    async def _renewed(
        self, entry: CachedPolicy, record: StsRecord | StsFailure | None, now: float
    ) -> CachedPolicy | StsFailure | None:
        """The policy anew. None: the domain does not say any more that it has one, and what is kept runs out.

        If the DNS fails the policy is fetched nevertheless: an attacker who disturbs the DNS until then gains nothing.
        """
        match record:
            case StsRecord(id=record_id):
                pass
            case StsFailure(result_type=ResultType.STS_POLICY_FETCH_ERROR):
                record_id = entry.id
            case _:
                return record
        return await self._fetch(entry.domain, record_id, entry.used, now)


def _policy_domain(domain: str) -> str:
    """The name of the record, "" for what cannot have a policy: an address, an address literal."""
    name = normalise(domain)
    return "" if "*" in name or is_ip_address(name) else name


def _read(answer: HttpResponse) -> StsPolicy | StsFailure:
    """The policy in an answer. Its media type must be text/plain; parameters say nothing (section 3.2)."""
    media_type = answer.content_type.partition(";")[0].strip()
    if media_type != "text/plain":
        said = ascii(media_type[:60]) if media_type else "not said"
        return _failure(HttpFailed(f"{answer.url}: its type is {said}, not text/plain", temporary=False))
    policy = parse_policy(answer.body)
    if isinstance(policy, PolicyError):
        return _failure(replace(policy, detail=f"{answer.url}: {policy.detail}"))
    return policy


def _failure(found: LookupFailed | RecordError | HttpFailed | PolicyError) -> StsFailure:
    """The one place where what went wrong gets its result type (RFC 8460 section 4.3.2.2)."""
    match found:
        case RecordError() | PolicyError():
            kind = ResultType.STS_POLICY_INVALID
        case HttpFailed(untrusted=True):
            kind = ResultType.STS_WEBPKI_INVALID
        case HttpFailed() | LookupFailed():
            kind = ResultType.STS_POLICY_FETCH_ERROR
    ours = isinstance(found, Exception) and shortage(found) is not None
    return StsFailure(kind, found.detail[:_MAX_DETAIL], ours)


def _cost(policy: StsPolicy | None) -> int:
    """About the bytes that it takes in memory."""
    return 1000 if policy is None else 1000 + sum(100 + len(line) for line in policy.lines)
