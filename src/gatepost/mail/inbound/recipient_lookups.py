"""Ask sources outside the configuration whether a recipient of a relayed domain exists, and remember the answers.

`mail.inbound.session` waits for it at RCPT TO. Whoever asks costs a source little: one question at a time about an
address for a client, few at a time and so many in a minute for a client and for a domain. No client waits for the turn
of another. What an answer means is `policy.decisions.recipient_validation`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.events.counts import count_recipient_question
from gatepost.events.metrics.counts import Counts
from gatepost.net.lookups.cache import Cache
from gatepost.net.places import Places
from gatepost.net.tasks import Shared
from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion, judge_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from gatepost.policy.connectors.values import RecipientValidation
    from gatepost.protocols.smtp.replies import Reply

    type Source = Callable[[RecipientQuestion], Awaitable[RecipientAnswer]]
    type Key = tuple[str, str, tuple[str, ...], object]


class LookupLimits(msgspec.Struct, frozen=True):
    """Limits of one worker.

    known, unknown: seconds for which an answer counts. stale: seconds for which a known recipient stays known while its
    source gives no answer. failed: seconds before a source that is down is asked again. per_client, per_domain:
    questions under way. client_minute, domain_minute: questions in a minute. seconds: for one question, with the wait
    for its turn. octets: of what is remembered. clients: counted by themselves in a minute, others together.
    """

    known: float = 4 * 3600.0
    unknown: float = 600.0
    stale: float = 3 * 86400.0
    failed: float = 10.0
    per_client: int = 4
    per_domain: int = 8
    client_minute: int = 200
    domain_minute: int = 600
    seconds: float = 60.0
    octets: int = 16 << 20
    clients: int = 10_000


_OVERHEAD: Final = 300  # octets of an entry beside its address


class _Minute:
    """Counts by key in the current minute. keys: so many have a count of their own, the others one together."""

    def __init__(self, most: int, keys: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._keys = keys
        self._clock = clock
        self._minute = 0
        self._counts: dict[Hashable, int] = {}

    def passes(self, key: Hashable) -> bool:
        """Count one; whether the key has not had too many."""
        if self._minute != (minute := int(self._clock() // 60)):
            self._minute, self._counts = minute, {}
        if key not in self._counts and len(self._counts) >= self._keys:
            key = None
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] <= self._most


class RecipientLookups:
    """What the sessions of one worker share. sources: by kind. clock: seconds, never back. counts: questions.

    at_hand: sources of this machine, which are asked each time and not limited. told: of each answer of a source.
    """

    def __init__(
        self,
        sources: Mapping[RecipientValidation, Source],
        limits: LookupLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        counts: Counts | None = None,
        *,
        at_hand: Mapping[RecipientValidation, Source] | None = None,
        told: Callable[[RecipientQuestion, RecipientAnswer], None] = lambda _question, _answer: None,
    ) -> None:
        self._counts = counts or Counts()
        self._at_hand = at_hand or {}
        self._told = told
        self._sources = sources
        self._limits = limits or LookupLimits()
        self._clock = clock
        self._answers: Cache[Key, tuple[RecipientAnswer, float]] = Cache(self._limits.octets, clock)
        self._running: Shared[tuple[str, Key], RecipientAnswer] = Shared()
        self._clients = Places(self._limits.per_client)
        self._domains = Places(self._limits.per_domain)
        self._client_minute = _Minute(self._limits.client_minute, self._limits.clients, clock)
        self._domain_minute = _Minute(self._limits.domain_minute, self._limits.clients, clock)
        self._down: dict[tuple[str, str], tuple[float, RecipientAnswer]] = {}

    def forget(self) -> None:
        """Ask anew about everybody."""
        self._answers.clear()
        self._down.clear()

    async def close(self) -> None:
        """Stop all questions."""
        await self._running.close()

    def remembered(self, question: RecipientQuestion) -> tuple[Reply | None, str] | None:
        """The judgement by what is remembered and still counts, None if the source must be asked."""
        fresh = self._fresh(question)
        return judge_answer(question, *fresh) if fresh is not None else None

    def _fresh(self, question: RecipientQuestion) -> tuple[RecipientAnswer, float] | None:
        """The answer that is remembered and still counts, and its age in seconds."""
        entry = self._answers.get(_key(question))
        if entry is None:
            return None
        answer, at = entry
        age = self._clock() - at
        return None if age > (self._limits.known if answer.exists else self._limits.unknown) else (answer, age)

    async def ask(self, question: RecipientQuestion, client: str) -> tuple[Reply | None, str]:
        """The judgement by what the source says. client: IP address of who sends the message."""
        if (source := self._at_hand.get(question.domain.recipient_validation)) is not None:
            return judge_answer(question, self._noted(question, await source(question)), 0.0)
        # Of each client apart: else whoever waits for a turn of its own would have others wait for it, too.
        answer = self._left_alone(question, client) or await self._running.result(
            (_network(client), _key(question)), lambda: self._look_up(question, client), "recipient validation"
        )
        if answer.exists is None and (entry := self._answers.get(_key(question))) is not None and entry[0].exists:
            return judge_answer(question, entry[0], self._clock() - entry[1])
        return judge_answer(question, answer, 0.0)

    def _left_alone(self, question: RecipientQuestion, client: str) -> RecipientAnswer | None:
        """Why the source is not asked now. The limit for the client comes first, so that it spends none of others'."""
        if (down := self._is_down(question)) is not None:
            return down
        if not self._client_minute.passes(_network(client)):
            return _no_answer(f"the client has caused more than {self._limits.client_minute} questions in this minute")
        if not self._domain_minute.passes(_domain(question)):
            return _no_answer(f"more than {self._limits.domain_minute} questions about the domain in this minute")
        return None

    def _is_down(self, question: RecipientQuestion) -> RecipientAnswer | None:
        until, answer = self._down.get(_domain(question), (0.0, None))
        return answer if self._clock() < until else None

    async def _look_up(self, question: RecipientQuestion, client: str) -> RecipientAnswer:
        try:
            async with (
                asyncio.timeout(self._limits.seconds),
                self._clients.place(_network(client)),
                self._domains.place(_domain(question)),
            ):
                # Others may have found out meanwhile, or that nobody answers.
                if (fresh := self._fresh(question)) is not None:
                    return fresh[0]
                if (down := self._is_down(question)) is not None:
                    return down
                answer = await self._sources[question.domain.recipient_validation](question)
        except TimeoutError:
            return _no_answer(f"no answer within {self._limits.seconds:g} s")
        self._remember(question, answer)
        return self._noted(question, answer)

    def _noted(self, question: RecipientQuestion, answer: RecipientAnswer) -> RecipientAnswer:
        count_recipient_question(self._counts, question.domain.recipient_validation, answer.exists)
        self._told(question, answer)
        return answer

    def _remember(self, question: RecipientQuestion, answer: RecipientAnswer) -> None:
        if answer.exists is None:
            if answer.is_down:
                self._down[_domain(question)] = self._clock() + self._limits.failed, answer
            return
        seconds = self._limits.stale if answer.exists else self._limits.unknown
        cost = _OVERHEAD + len(question.recipient.text) + len(answer.source)
        self._answers.put(_key(question), (answer, self._clock()), seconds, cost)


def _no_answer(why: str) -> RecipientAnswer:
    return RecipientAnswer(exists=None, source=why)


def _domain(question: RecipientQuestion) -> tuple[str, str]:
    return question.organization, question.domain.name


def _key(question: RecipientQuestion) -> Key:
    how = question.domain.recipient_validation
    # What another directory said, or the same to another filter or separator, is no answer any more.
    source = question.domain.recipient_directory, question.domain.recipient_graph
    return question.organization, how, question.addresses, source


def _network(client: str) -> str:
    """The client as limits count it: an IPv4 address, or a /64 of IPv6."""
    address = ipaddress.ip_address(client.partition("%")[0])
    if not isinstance(address, ipaddress.IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
