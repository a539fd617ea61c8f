"""The changes of certificates that the gateway makes by itself, and that a process may therefore ask for.

Called by `node.config_judge`. Each step is made anew here, of what is stored, in files and in the settings; what a
process asks for must be the very result. So it chooses when a step is made, not what comes of it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.pki.acme import schedule
from gatepost.pki.acme.duty import policy_hosts
from gatepost.pki.acme.schedule import wanted
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.directories import pairs_in
from gatepost.pki.certificates.entry import TIMES, Entry, Origin, State, document_of, entry_of
from gatepost.pki.certificates.files import CertificateFileError, load_identity
from gatepost.pki.certificates.inventory import Inventory, chain_place, entry_from, key_place, removed_with
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.pki.certificates.watch import not_named, recorded, watched_pairs, with_another_chain
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.store.config_requests import RequestDenied
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore

    type Documents = Mapping[str, dict[str, Any] | None]
    type Contents = Mapping[str, bytes | None]


KIND: Final = "certificate"
"""The kind of document that is judged here."""

_SKEW: Final = 600.0  # seconds between a step and its judgement
_REASON: Final = 10_000  # characters
_MOST: Final = 1000  # certificates that change in one step
_MOST_A_DAY: Final = 50  # certificates that come for the same names
_DAY: Final = 86400.0

_encode = msgspec.json.Encoder(order="deterministic").encode


class _Step(msgspec.Struct, frozen=True):
    """A step that may be made: entries that change, those that go, and contents that it stores or removes."""

    changed: tuple[Entry, ...]
    gone: tuple[Entry, ...] = ()
    stored: dict[str, bytes] = {}

    def is_of(self, documents: Documents, contents: Contents) -> bool:
        """Whether it is what a process asks for."""
        result = dict.fromkeys((entry.id for entry in self.gone), None) | {
            entry.id: document_of(entry) for entry in self.changed
        }
        return _encode(result) == _encode(documents) and contents == removed_with(self.changed, self.gone) | self.stored


class CertificateSteps:
    """store, vault: of the gateway. now: seconds since 1970."""

    def __init__(self, settings: Settings, store: ConfigStore, vault: Vault | None, now: float) -> None:
        self._settings = settings
        self._store = store
        self._vault = vault
        self._now = now
        self._inventory = Inventory(store, vault)
        self._pairs = [(Path(pair.chain), Path(pair.key)) for pair in settings.certificates]

    def check(self, documents: Documents, contents: Contents) -> None:
        """Raise RequestDenied if this is not a step that is due, or not all of it."""
        if len(documents) > _MOST:
            raise RequestDenied(f"{len(documents)} certificates are too many for one step")
        try:
            _, entries = self._inventory.entries()
            requested = [entry_of(number, document) for number, document in documents.items() if document is not None]
        except (ValueError, msgspec.MsgspecError) as error:
            raise RequestDenied(str(error)) from error
        if not all(_has_form(entry) for entry in requested):
            raise RequestDenied("a certificate has a time that is none, or a reason that is not text")
        if any(abs(entry.since - self._now) > _SKEW for entry in requested if _is_moved(entry, entries)):
            raise RequestDenied("a certificate would change at another time than now")
        if not any(step.is_of(documents, contents) for step in self._steps(entries, requested, contents)):
            numbers = ", ".join(sorted(documents)[:10])
            raise RequestDenied(f"nothing that the gateway does by itself changes certificates so: {numbers}")

    def _steps(self, entries: Mapping[str, Entry], requested: list[Entry], contents: Contents) -> Iterator[_Step]:
        """The steps that may be made at the times that the entries name."""
        at = max((entry.since for entry in requested), default=0.0)
        yield _Step(tuple(not_named(self._pairs, entries, at)))
        for entry in requested:
            before = entries.get(entry.id)
            if before is not None and before.state is State.NEXT:
                yield from self._of_waiting(before, entry, entries)
        fresh = [entry for entry in requested if chain_place(entry) in contents]
        if len(fresh) == 1:  # what is read and worked out for it is for one request
            yield from self._of_fresh(fresh[0], entries, contents, at)

    def _of_fresh(self, entry: Entry, entries: Mapping[str, Entry], contents: Contents, at: float) -> Iterator[_Step]:
        """The certificate that a request stores."""
        if entry.key_file:
            yield from self._of_files(entry, entries)
        elif entry.origin is Origin.ACME and self._settings.acme.is_on:
            yield from self._of_acme(entry, entries, contents, at)

    def _of_waiting(self, before: Entry, entry: Entry, entries: Mapping[str, Entry]) -> Iterator[_Step]:
        """A planned changeover at its time, or what waits though nothing is presented for its names."""
        is_due = 0 < before.switch_at <= self._now
        if is_due or schedule.waits_alone(before, entries, self._now):
            with suppress(course.Refused):
                yield _Step(course.switch(before, entries, now=entry.since, losing=bool(before.forced)))
        if is_due and len(entry.held) <= _REASON:
            yield _Step((course.hold(before, entry.held),))

    def _of_files(self, entry: Entry, entries: Mapping[str, Entry]) -> Iterator[_Step]:
        """What files hold that the settings, an entry or a directory name: read here, too."""
        pair = (Path(entry.chain_file), Path(entry.key_file))
        origin = watched_pairs(self._pairs, entries, self._in_directories()).get(pair)
        if origin is None:
            return
        with suppress(CertificateFileError, IdentityError):
            identity = load_identity(*pair)
            step = recorded(pair, origin, identity, entries, entry.since)
            if step is None and (same := with_another_chain(pair, identity, self._inventory)) is not None:
                step = same, ()
            if step is not None:
                yield _Step((*step[1], step[0]), stored={chain_place(step[0]): identity.chain_pem})

    def _in_directories(self) -> Iterator[tuple[Path, Path]]:
        for path in self._inventory.directories.paths():
            with suppress(OSError):
                yield from pairs_in(path)

    def _of_acme(self, entry: Entry, entries: Mapping[str, Entry], contents: Contents, at: float) -> Iterator[_Step]:
        """A certificate for names that the settings ask for, with its key; who issued it is not known here."""
        chain, sealed = contents.get(chain_place(entry)), contents.get(key_place(entry))
        if chain is None or sealed is None or self._vault is None:
            return
        if entry.id in entries or abs(entry.added - self._now) > _SKEW:  # it would not count as one that came
            return
        names = set(entry.leaf.dns_names)
        if not self._is_wanted(names) or self._came_lately(names, entries) >= _MOST_A_DAY:
            return
        with suppress(IdentityError, VaultError, course.Refused):
            identity = ServerIdentity(chain, self._vault.open(sealed, key_place(entry)))
            fresh = replace(entry_from(identity, now=entry.added), origin=Origin.ACME)
            staged = schedule.staged(fresh, entries)
            for held in ("", "held"):
                placed, others, gone, _ = schedule.placed(staged, entries, held, at)
                stored = {chain_place(placed): chain, key_place(placed): sealed}
                yield _Step((*others, placed), tuple(gone), stored)

    def _came_lately(self, names: set[str], entries: Mapping[str, Entry]) -> int:
        """The number of certificates for these names that came within a day: each stays, with its history."""
        ours = (entry for entry in entries.values() if entry.origin is Origin.ACME)
        return sum(set(entry.leaf.dns_names) == names and entry.added > self._now - _DAY for entry in ours)

    def _is_wanted(self, names: set[str]) -> bool:
        hosts: list[str] = []
        with suppress(ResourceErrors):
            hosts = policy_hosts(self._settings, self._store)
        lists = wanted(self._settings.acme, self._settings.server.hostname, hosts)
        return names in [set(names_of) for names_of in lists]


def _has_form(entry: Entry) -> bool:
    """Whether what a request chooses itself is of its type: JSON has no NaN, and the entry could not be read again."""
    times = [getattr(entry, name) for name in TIMES]
    numbers = all(isinstance(at, float | int) and not isinstance(at, bool) and math.isfinite(at) for at in times)
    return numbers and all(isinstance(text, str) for text in (entry.held, entry.key_file, entry.chain_file))


def _is_moved(entry: Entry, entries: Mapping[str, Entry]) -> bool:
    """Whether an entry is new, or in another state than before."""
    before = entries.get(entry.id)
    return before is None or before.since != entry.since
