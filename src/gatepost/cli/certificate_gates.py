"""What the `certificate changeover` commands share: which certificate is meant, its gates, how a step is stored."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.administration.resolving import resolver_of
from gatepost.certificates import course
from gatepost.certificates.course import Refused
from gatepost.certificates.entry import State
from gatepost.certificates.stapling import Stapler
from gatepost.certificates.vault import Vault, VaultError
from gatepost.checks.changeover import Gatekeeper, Scene, apply_step, seen_partners
from gatepost.cli.certificate_store import choose_certificate, listed_certificates, opened
from gatepost.cli.check import progress
from gatepost.cli.chosen import stored_directory
from gatepost.cli.options import BAD_INPUT, NO, author, fail
from gatepost.lookup.http import HttpClient
from gatepost.store.changes import ConfigStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractContextManager

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.inventory import Inventory
    from gatepost.certificates.listed import Listed
    from gatepost.checks.gates import GateFinding, GateReport
    from gatepost.settings.model import Settings

__all__ = ["concerned", "gates_of", "opened_for_look", "scene_of", "stored_step", "tlsa_of", "trace_directory"]


def trace_directory(settings: Settings) -> Path:
    """Where the message trace is."""
    return Path(settings.server.data_dir) / "trace"


def opened_for_look(settings: Settings) -> AbstractContextManager[Inventory]:
    """The inventory, with the master key if this account has it; without it the key's gate says what to do."""
    try:
        Vault.of(settings.store.master_key)
    except VaultError:
        return opened(settings, keys=False)
    return opened(settings)


def concerned(found: Listed, number: str, *, now: float) -> list[Entry]:
    """The certificate that is named; without a name those that are staged, and those that can be rolled back."""
    if number:
        return [choose_certificate(found, number)]
    staged = [one for one in found.entries.values() if one.state is State.NEXT]
    fresh = [one for one in found.entries.values() if course.can_roll_back(one, found.entries, now=now)]
    return [*staged, *fresh]


def scene_of(settings: Settings, found: Listed) -> Scene:
    """Everything that gates are about, partners included."""
    now = time.time()
    seen = seen_partners(trace_directory(settings), now=now)
    return Scene(found.entries, stored_directory(settings).resources.organizations, now, seen)


def gates_of(settings: Settings, inventory: Inventory, entry: Entry, scene: Scene) -> GateReport:
    """Look at the gates, which may take a minute where addresses do not answer."""
    progress(f"looking at the gates of {entry.id} …")
    try:
        return _looked(settings, inventory, lambda keeper: keeper.look(entry, scene))
    finally:
        progress("")


def tlsa_of(settings: Settings, inventory: Inventory, entry: Entry, scene: Scene) -> list[GateFinding]:
    """What TLSA records say of a certificate, () if they do not come in time."""
    try:
        return _looked(settings, inventory, lambda keeper: keeper.sight(entry, scene))
    except TimeoutError:
        return []


def _looked[T](settings: Settings, inventory: Inventory, look: Callable[[Gatekeeper], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        resolver = resolver_of(settings)
        try:
            client = HttpClient(resolver)
            with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
                return await look(Gatekeeper(settings, inventory, resolver, client, Stapler(store, client)))
        finally:
            await resolver.close()

    return asyncio.run(run())


def stored_step(
    settings: Settings,
    inventory: Inventory,
    number: str,
    step: Callable[[Entry, Mapping[str, Entry]], tuple[Entry, ...]],
    note: str,
) -> tuple[Entry, ...]:
    """Do a step of the course on one certificate and store it; ends the command with the reason if it is refused."""

    def entries() -> tuple[int, Mapping[str, Entry]]:
        found = listed_certificates(inventory, settings)
        _, known = inventory.entries()
        for one in found.entries.values():
            if one.id not in known:  # the gateway never ran with these settings
                inventory.record(one, found.chains[one.id], note="found in the settings")
        return inventory.entries()

    def wanted(known: Mapping[str, Entry]) -> tuple[Entry, ...]:
        if number not in known:
            fail(BAD_INPUT, f"certificate {number} is not in the inventory any more")
        return step(known[number], known)

    try:
        return apply_step(inventory, wanted, entries, author=author(), note=note)
    except Refused as refused:
        fail(NO, f"{refused}; nothing was changed")
