"""Delete what has been in quarantine for too long, and tell mailboxes once a day what is new there.

Made by `node.site_duties`, in one process of the site. What is stored is changed on a thread. A mailbox is noted as
told before its message is queued: a crash between the two costs one list, and never sends two on a day.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.mail.model.queue_id import format_id
from gatepost.mail.queue.own_mail import own_deliveries, own_message
from gatepost.node.lifecycle import Rounds
from gatepost.policy.decisions.forwarding import expand
from gatepost.protocols.message import quarantine_digest
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_address
from gatepost.store.quarantine import DAY, Quarantine
from gatepost.times import day_text
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.node.site_mail import SiteMail
    from gatepost.policy.connectors.records import Organization
    from gatepost.store.changes import ConfigStore
    from gatepost.store.leases import Lease


QUARANTINE_SECONDS: Final = 30.0
"""Between two looks at what is over."""

DIGEST_CONTENT: Final = "quarantine digest"
"""Where the store keeps the last day whose lists were sent."""

_SHOWN: Final = 50  # messages of one list
_MAILBOXES: Final = 100  # that are asked for at a time

_log = logging.getLogger(__name__)


class QuarantineKeeping:
    """opened: opens the quarantine, on a thread; what it is given keeps rows of the trace.

    resources: where the day is kept. mail: the way of the lists. digest_hour: of the day, UTC. zone: of times in them.
    clock: seconds since 1970. lease: that it is ours to do. is_trusted: whether mail may be deleted by the clock.
    tick, close: as of `Rounds`.
    """

    def __init__(  # noqa: PLR0913 - the parts it puts together
        self,
        opened: Callable[[Callable[[Sequence[TraceEvent]], None]], Quarantine],
        resources: ConfigStore,
        mail: SiteMail,
        hostname: str,
        *,
        digest_hour: int,
        zone: tzinfo,
        lease: Lease,
        clock: Callable[[], float] = time.time,
        is_trusted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._opened = opened
        self._resources = resources
        self._mail = mail
        self._hostname = hostname
        self._digest_hour = digest_hour
        self._zone = zone
        self._lease = lease
        self._is_trusted = is_trusted
        self._clock = clock
        self._running = Rounds(
            "quarantine",
            self._round,
            lambda failure: _log.error("the quarantine is not looked after: %s", failure),
        )
        self.tick, self.close = self._running.tick, self._running.close

    async def _round(self) -> None:
        rows: list[TraceEvent] = []
        try:
            quarantine = await asyncio.to_thread(self._opened, rows.extend)
            if self._is_trusted():
                await asyncio.to_thread(quarantine.expire, self._clock())
            await self._digests(quarantine)
        finally:
            if rows:
                self._mail.trace(rows)

    async def _digests(self, quarantine: Quarantine) -> None:
        """Send the lists of today, once."""
        now = self._clock()
        begin = now - now % DAY + self._digest_hour * 3600
        today = day_text(now).encode()
        wanting = [each for each in self._mail.directory().organizations if each.quarantine_digest]
        if now < begin or not wanting or self._resources.content(DIGEST_CONTENT) == today:
            return
        for organization in wanting:
            await self._tell_organization(quarantine, organization, begin)
        if self._lease.held:
            await asyncio.to_thread(self._resources.keep_apart, {DIGEST_CONTENT: today})

    async def _tell_organization(self, quarantine: Quarantine, organization: Organization, since: float) -> None:
        name, after = organization.name, ""
        while mailboxes := await asyncio.to_thread(quarantine.unlisted, name, after, _MAILBOXES):
            for address in mailboxes:
                if not self._lease.held:
                    return
                path = self._path_of(organization, address)
                if path is not None and await asyncio.to_thread(
                    quarantine.note_listed, name, address, self._clock(), since
                ):
                    await self._tell(quarantine, organization, path, address)
            after = mailboxes[-1]

    def _path_of(self, organization: Organization, address: str) -> Path | None:
        """The address, if it is one of the organization's: nobody else is told what it holds."""
        try:
            path = parse_address(address)
        except GrammarError:
            return None
        owner = self._mail.directory().organization_of(path.domain)
        return path if owner is not None and owner.name == organization.name and path.text.isascii() else None

    async def _tell(self, quarantine: Quarantine, organization: Organization, path: Path, address: str) -> None:
        name = organization.name
        held = await asyncio.to_thread(quarantine.of_recipient, name, address)
        if not held:
            return
        store, now = self._mail.store, self._clock()
        number = store.new_id()
        digest = quarantine_digest.QuarantineDigest(
            to=path.text,
            domain=path.domain,
            hostname=self._hostname,
            message_id=f"{format_id(number)}@{self._hostname}",
            now=now,
            entries=tuple(map(_entry, held[:_SHOWN])),
            more=max(0, len(held) - _SHOWN),
            language=organization.quarantine_language,
            zone=self._zone,
        )
        content = quarantine_digest.build_digest(digest)
        message = own_message(
            number,
            name,
            content,
            message_id=digest.message_id,
            subject=quarantine_digest.digest_subject(digest),
            inbound={"notice_about": "quarantine"},
            now=now,
        )
        targets = expand(self._mail.directory(), path).targets
        deliveries = own_deliveries(store.new_id, message, targets, now + self._mail.expiration(name))
        await self._mail.queue(message, deliveries, content)


def _entry(delivery: Delivery) -> quarantine_digest.DigestEntry:
    message, hold = delivery.message, delivery.recipients[0].quarantines[0]
    named = {"sender": message.reverse_path, "until": delivery.next_at, "queue_id": format_id(message.id)}
    return copy_fields(quarantine_digest.DigestEntry, hold, message, **named)
