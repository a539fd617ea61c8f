"""Ask the content hooks about a complete message, all in parallel, each within its own timeout.

`mail.inbound.session` waits for it before it answers the message, `analysis.checks.content_hook` tries a hook with it.
What the answers mean is `policy.decisions.content`'s. The message is read as often as there are hooks, piece by piece,
and never joined.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.clamd import ask_clamd
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.rspamd import ask_rspamd
from gatepost.net.places import FairPlaces
from gatepost.net.shortage import shortage
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy
from gatepost.policy.connectors.hook_index import ApplicableHook, scanner_of
from gatepost.policy.connectors.values import HookType
from gatepost.policy.decisions.content import ScanResult
from gatepost.protocols.scanners.finding import ScanFinding, UnusableAnswer
from gatepost.protocols.scanners.rspamd import Described
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gatepost.net.lookups.dns import Resolver
    from gatepost.policy.connectors.content_hook import ContentHook
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.store.interface import BodyWriter


_log = logging.getLogger(__name__)

_KEPT: Final = 256  # scanners of which it is known whether they answer


class Examined(msgspec.Struct, frozen=True):
    """A message to be examined. content: reads it from its beginning, each time anew; size: its octets."""

    described: Described
    size: int
    content: Callable[[], AsyncIterator[bytes]]


def shown_message(
    session: SessionFacts,
    reverse_path: str,
    recipients: tuple[str, ...],
    queue_id: str,
    hostname: str,
    body: BodyWriter,
) -> Examined:
    """A message that arrived in a session, as scanners get it. recipients: as the client named them."""
    tls = session.tls
    described = Described(
        ip=session.peer_ip,
        hello=session.hello,
        reverse_path=reverse_path,
        recipients=recipients,
        queue_id=queue_id,
        hostname=hostname,
        user=session.user,
        tls_version=tls.version if tls else "",
        tls_cipher=tls.suite if tls else "",
    )
    return Examined(described, body.size, body.chunks)


class _Scanner:
    """One scanner as this worker knows it. failing: since when it gives no usable answer.

    connections: one for each message. Where several organizations use it, a flood for some does not keep mail of others
    from being scanned in time.
    """

    __slots__ = ("connections", "failing")

    def __init__(self, connections: int) -> None:
        self.connections = FairPlaces(connections)
        self.failing = 0.0


class ContentHooks:
    """What the hooks of one worker share: connections, counted by scanner, and by organization where several ask it.

    resolver: finds scanners that have a name. clock: seconds, never back. tenants: which addresses may be called for a
    hook that a tenant wrote. told: called after each answer with the hook, and why the answer is of no use ("": it is).
    load: reads trust anchors by their name; raises AnchorsError.
    """

    def __init__(
        self,
        resolver: Resolver,
        clock: Callable[[], float] = time.monotonic,
        tenants: AddressPolicy = PUBLIC_ADDRESSES,
        told: Callable[[ApplicableHook, str], None] = lambda _asked, _failure: None,
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        self._tenants = tenants
        self._told = told
        self._load = load
        self._resolver = resolver
        self._clock = clock
        self._clients: dict[tuple[str, bool], HttpClient] = {}
        self._scanners: dict[tuple[str, int], _Scanner] = {}

    def reload(self) -> None:
        """Take other trust anchors when they are needed."""
        self._clients.clear()

    async def ask(self, hooks: Sequence[ApplicableHook], message: Examined) -> list[ScanResult]:
        """The answers of all hooks, in their order. Raises StoreFailure if the message cannot be read."""
        if len(hooks) == 1:
            return [await self._ask(hooks[0], message)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(hook, message)) for hook in hooks]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return [task.result() for task in tasks]

    async def _ask(self, asked: ApplicableHook, message: Examined) -> ScanResult:
        hook = asked.hook
        if message.size > hook.max_size:
            return ScanResult(asked, too_large=True)
        begun = self._clock()
        scanner = self._scanner(hook)
        try:
            finding = await self._within(scanner, asked, message)
        except UnusableAnswer as failure:
            self._tell(scanner, asked, str(failure))
            took = self._since(begun)
            return ScanResult(asked, failure=str(failure)[:300], milliseconds=took, ours=shortage(failure) is not None)
        self._tell(scanner, asked, "")
        return ScanResult(asked, finding, milliseconds=self._since(begun))

    async def _within(self, scanner: _Scanner, asked: ApplicableHook, message: Examined) -> ScanFinding:
        """The answer within the hook's time, of which waiting for a connection is a part."""
        hook = asked.hook
        late = f"no connection was free within {hook.timeout:g} s (connections = {hook.connections})"
        place = scanner.connections.place(asked.organization if asked.shared else "")
        try:
            async with asyncio.timeout(hook.timeout), place:
                late = f"{hook.address}: no whole answer within {hook.timeout:g} s"
                return await self._finding(asked, message)
        except TimeoutError:
            raise UnusableAnswer(late) from None

    async def _finding(self, asked: ApplicableHook, message: Examined) -> ScanFinding:
        hook = asked.hook
        content = message.content()
        tenants = self._tenants if ("address", hook.address) in hook.ungranted else None
        if hook.type is HookType.CLAMAV:
            return await ask_clamd(self._resolver, hook.address, content, tenants)
        described = replace(message.described, tag=asked.organization, settings_id=hook.settings_id)
        client = self._client(hook.trust_anchors, tenants)
        return await ask_rspamd(client, hook.address, described, content, size=message.size, seconds=hook.timeout)

    def _client(self, anchors: str, tenants: AddressPolicy | None) -> HttpClient:
        client = self._clients.get((anchors, tenants is not None))
        if client is None:
            try:
                context = https_context(self._load(anchors)) if anchors not in {"", "system"} else None
            except AnchorsError as error:
                raise UnusableAnswer(f"trust_anchors: {error}") from error
            client = HttpClient(self._resolver, context, tenants)
            self._clients[anchors, tenants is not None] = client
        return client

    def _scanner(self, hook: ContentHook) -> _Scanner:
        key = scanner_of(hook)
        scanner = self._scanners.get(key)
        if scanner is None:
            if len(self._scanners) >= _KEPT:
                self._scanners.clear()
            scanner = self._scanners[key] = _Scanner(hook.connections)
        return scanner

    def _tell(self, scanner: _Scanner, asked: ApplicableHook, failure: str) -> None:
        """A line in the log when a scanner begins to fail, and one when it answers again; not one a message."""
        self._told(asked, failure)
        if failure and not scanner.failing:
            scanner.failing = self._clock()
            text = '%s: %s; until it answers again, on_failure = "%s" decides'
            _log.warning(text, asked.label, failure, asked.hook.on_failure)
        elif not failure and scanner.failing:
            _log.info("%s: it answers again, after %.0f s", asked.label, self._clock() - scanner.failing)
            scanner.failing = 0.0

    def _since(self, begun: float) -> int:
        return round((self._clock() - begun) * 1000)
