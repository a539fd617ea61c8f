"""Quarantine of messages that arrive: the reasons to hold one, and whether there is room for it.

`mail.inbound.transaction` asks when the message is complete. What holds it is decided by `policy.decisions.quarantine`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.mail.model.message import QuarantineHold
from gatepost.net.tasks import SingleTask
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.decisions.parties import parties
from gatepost.policy.decisions.quarantine import Quarantined, holds, quarantined_by_rules
from gatepost.protocols.message.fields import field_values
from gatepost.store.interface import StoreFailure
from gatepost.store.quarantine import QuarantineUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.decisions.forwarding import Target


_KNOWN_SECONDS: Final = 5.0  # for which what was counted counts


class QuarantineLimits(msgspec.Struct, frozen=True):
    """How much each organization may have in quarantine: deliveries, and octets of messages."""

    messages: int = 10_000
    size: int = 1 << 30

    def fullness(self, usage: QuarantineUsage) -> float:
        """How full a quarantine is: 1.0 for full."""
        return max(usage.deliveries / self.messages, usage.size / self.size)


class SharedRoom(msgspec.Struct, frozen=True):
    """The room that all quarantines together leave to mail on its way: what they hold stays there for weeks.

    room: see `Store.room`. least: octets of it that are left. most: that all may have, 0 for no limit.
    """

    room: Callable[[], float] = lambda: math.inf
    least: int = 0
    most: int = 0

    def lacks(self, held: int, size: int) -> bool:
        """Whether there is none for so many octets more. held: that all quarantines have."""
        return self.room() - size < self.least or bool(self.most and held + size > self.most)


_UNKNOWN: Final = SharedRoom()


class QuarantineRoom:
    """Knows whether an organization's quarantine is full; each worker counts what it has put there since it looked.

    usage: how much is there; blocks, and may raise StoreFailure. clock: seconds, never back. full: organizations that
    had no room when it was last looked for, with the least that found none; while they are asked after, it is looked
    again. shared: the room of all.
    """

    def __init__(
        self,
        usage: Callable[[], Mapping[str, QuarantineUsage]],
        limits: QuarantineLimits,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedRoom = _UNKNOWN,
    ) -> None:
        self._usage = usage
        self._limits = limits
        self._shared = shared
        self._clock = clock
        self._known: dict[str, QuarantineUsage] = {}
        self._until = self._again_at = 0.0
        self._looking = asyncio.Lock()
        self._again = SingleTask("quarantine")
        self.full: dict[str, QuarantineUsage] = {}

    async def take(self, wanted: Mapping[str, int], size: int) -> str:
        """Make room for deliveries of one message by organization; why the first has none, "" if all have.

        Raises StoreFailure.
        """
        await self._look()
        added = {name: QuarantineUsage(count, size) for name, count in wanted.items()}
        for name, lacking in added.items():
            if reason := self._refusal(name, lacking):
                self.full[name] = min(self.full.get(name, lacking), lacking, key=self._limits.fullness)
                return reason
        for name, usage in added.items():
            self.full.pop(name, None)
            self._known[name] = self._grown(name, usage)
        return ""

    def full_for(self, directory: Directory, organization: str, targets: Iterable[Target]) -> set[str]:
        """The full ones whose mail flow rules may hold a message for a recipient. organization: whose mail it is."""
        if self.full and self._clock() >= max(self._until, self._again_at):
            self._again.begin(self._look_again)
        owners = (parties(directory, organization, target.path.domain).rule_owners for target in targets)
        holders = {owner for each in owners for owner in each if directory.quarantine_rules.of(owner) is not None}
        return self.full.keys() & holders

    async def _look(self) -> None:
        """Count anew what is there, unless that is known. Raises StoreFailure."""
        async with self._looking:
            if self._clock() >= self._until:
                self._known = dict(await asyncio.to_thread(self._usage))
                self._until = self._clock() + _KNOWN_SECONDS

    async def _look_again(self) -> None:
        """Forget who was full, and has room by now for what found none: with less it would be refused again."""
        try:
            await self._look()
        except StoreFailure:  # said where mail is held; it is looked again a while later
            self._again_at = self._clock() + _KNOWN_SECONDS
        else:
            self.full = {name: least for name, least in self.full.items() if self._refusal(name, least)}

    def _refusal(self, organization: str, added: QuarantineUsage) -> str:
        """Why there is no room for this, "" if there is."""
        if self._limits.fullness(self._grown(organization, added)) > 1:
            return (
                f"the message is to be held in quarantine, and that of {organization} is full: the client must try "
                "again later"
            )
        if self._shared.lacks(sum(known.size for known in self._known.values()), added.size):
            return (
                "the message is to be held in quarantine, and the room that is left is kept for mail on its way: the "
                "client must try again later"
            )
        return ""

    def _grown(self, organization: str, added: QuarantineUsage) -> QuarantineUsage:
        known = self._known.get(organization, QuarantineUsage())
        return QuarantineUsage(known.deliveries + added.deliveries, known.size + added.size)


class QuarantineFindings:
    """The reasons to hold one message: those of scanners for all recipients, those of mail flow rules for some."""

    __slots__ = ("_content", "_directory", "_scanned", "_sender")

    def __init__(self, directory: Directory, sender: str, header: bytes) -> None:
        """sender: the reverse-path. header: the section as it arrived, for rules that test its fields."""
        self._directory = directory
        self._sender = sender
        self._scanned: tuple[Quarantined, ...] = ()
        names = directory.quarantine_rules.header_names
        self._content = Content(field_values(header, names) if names else {})

    def scanned(self, findings: tuple[Quarantined, ...]) -> None:
        """Take what scanners found."""
        self._scanned = findings

    def of(self, organization: str, target: Target) -> list[QuarantineHold]:
        """The organizations that hold the message for one recipient. organization: whose mail it is."""
        findings = self._scanned
        if self._directory.quarantine_rules:
            envelope = self._sender, target.path.text, target.path.domain
            findings = (*findings, *quarantined_by_rules(self._directory, organization, envelope, self._content))
        return [QuarantineHold(*hold) for hold in holds(self._directory, findings)] if findings else []


def count_by_holder(holding: list[list[QuarantineHold]]) -> Counter[str]:
    """The deliveries that each organization would have, all that are to release one counted."""
    return Counter(hold.organization for some in holding for hold in some)
