"""Run scheduled switches, in one worker, every second; and check TLSA records before.

Made by `node.certificate_manager`. When the time has come the gates are looked at again. What is red then is not
switched: the log says so, and `certificate changeover status` why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.analysis.checks.changeover import CheckContext, GateChecker, apply_step
from gatepost.analysis.checks.gates import Light
from gatepost.net.tasks import SingleTask
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.lifecycle import Refused
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.grants import STORED_KINDS
from gatepost.store.changes import ConfigConflict, ConfigStore
from gatepost.store.directory import stored_directory
from gatepost.store.interface import StoreFailure
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.policy.connectors.records import Organization
    from gatepost.policy.connectors.resources import PrefixLimits


SWITCH_SECONDS: Final = 1.0
"""Between two looks at what is due."""

SIGHT_SECONDS: Final = 300.0
"""Between two looks at the TLSA records of what is staged."""

_AUTHOR: Final = "gatepost"
_log = logging.getLogger(__name__)


class ScheduledSwitches:
    """For one worker of all. prefixes: by which stored resources are read."""

    def __init__(
        self,
        resources: ConfigStore,
        inventory: Inventory,
        gatekeeper: GateChecker,
        prefixes: PrefixLimits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resources = resources
        self._inventory = inventory
        self._gatekeeper = gatekeeper
        self._prefixes = prefixes
        self._clock = clock
        self._version = -1
        self._staged: list[Entry] = []
        self._switching = SingleTask("changeover")
        self._sighting = SingleTask("changeover: TLSA records")

    def switch_due(self) -> None:
        """Begin with what is due, if that is not under way. Cheap if nothing is."""
        if self._switching.is_running:
            return
        self._refresh()
        now = self._clock()
        due = [entry for entry in self._staged if 0 < entry.switch_at <= now]
        if due:
            self._switching.begin(self._switch, due)

    def sight(self) -> None:
        """Look at the TLSA records of what is staged, if that is not under way."""
        if self._sighting.is_running:
            return
        self._refresh()
        if self._staged:
            self._sighting.begin(self._sight)

    def close(self) -> None:
        """Stop what is under way."""
        self._switching.cancel()
        self._sighting.cancel()

    def _refresh(self) -> None:
        version = self._resources.version()
        if version == self._version:
            return
        try:
            _, entries = self._inventory.entries()
        except ValueError as error:
            _log.error("no certificate is switched: %s", error)
            entries = {}
        self._staged = [entry for entry in entries.values() if entry.state is State.NEXT]
        self._version = version  # not before: what the store could not say is asked again

    async def _sight(self) -> None:
        context = self._context()
        for entry in self._staged:
            try:
                await self._gatekeeper.sight(entry, context)
            except TimeoutError:
                _log.warning("the TLSA records for certificate %s could not be looked at in time", entry.id)

    async def _switch(self, due: Sequence[Entry]) -> None:
        for entry in sorted(due, key=lambda candidate: candidate.switch_at):
            try:
                await self._switch_one(entry)
            except (StoreFailure, ConfigConflict) as failure:
                _log.error("certificate %s is not switched to yet: %s", entry.id, failure)
            except Exception:  # noqa: BLE001 - or it would come again every second, whatever it was
                _log.exception("certificate %s is not switched to", entry.id)
                await self._hold(entry, "an internal error, see the log")

    async def _switch_one(self, entry: Entry) -> None:
        report = await self._gatekeeper.look(entry, self._context())
        if report.unusable or (report.light is not Light.GREEN and not entry.forced):
            await self._hold(entry, report.unusable or report.reasons)
            return
        note = f"changeover: at the time that was planned{_forced(entry.forced, report.reasons)}"
        try:
            if await self._apply(entry, self._switched, note):
                _log.info("certificate %s is current", entry.id)
        except Refused as refused:
            await self._hold(entry, str(refused))

    def _switched(self, entry: Entry, entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
        return course.switch(entry, entries, now=self._clock(), losing=bool(entry.forced))

    async def _hold(self, entry: Entry, why: str) -> None:
        planned = second_text(entry.switch_at)
        _log.error("certificate %s was to become current at %s and did not: %s", entry.id, planned, why)
        await self._apply(
            entry, lambda current, _: (course.hold(current, why),), f"changeover: not switched: {why}"[:1000]
        )

    async def _apply(
        self, entry: Entry, step: Callable[[Entry, Mapping[str, Entry]], tuple[Entry, ...]], note: str
    ) -> bool:
        """Whether it is done: not if the plan was changed meanwhile."""

        def wanted(entries: Mapping[str, Entry]) -> tuple[Entry, ...]:
            current = entries.get(entry.id)
            if current is None or current.switch_at != entry.switch_at:
                return ()  # somebody cancelled it, or chose another time, while gates were looked at
            return step(current, entries)

        def apart() -> bool:
            with self._inventory.apart() as inventory:
                return bool(apply_step(inventory, wanted, inventory.entries, author=_AUTHOR, note=note))

        return await asyncio.to_thread(apart)

    def _context(self) -> CheckContext:
        _, entries = self._inventory.entries()
        return CheckContext(entries, self._organizations(), self._clock())

    def _organizations(self) -> Sequence[Organization]:
        try:
            loaded = self._resources.load(*STORED_KINDS)
            return stored_directory(self._resources, *loaded, self._prefixes).organizations
        except ResourceErrors as errors:
            _log.error("stored resources cannot be used, gates are looked at without them: %s", errors)
            return ()


def _forced(reason: str, reasons: str) -> str:
    return f"; forced: {reason} ({reasons or 'all gates were open'})" if reason else ""
