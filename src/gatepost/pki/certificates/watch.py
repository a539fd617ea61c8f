"""Watch certificate files that other programs renew (certbot, for one): check, record and present new ones.

Called by `node.certificate_manager` in one worker of each node, every two seconds: a look costs a few calls of stat,
content is read only when it changed. What is recorded makes a new version of the store, by which every worker presents
it within a second; what was presented before stays in memory until then. A renewal that cannot be used changes nothing
and is told once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.pki.certificates.directories import pairs_in
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State, entry_id
from gatepost.pki.certificates.files import CertificateFileError, file_stamp
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.lifecycle import is_covered, names_of, replaced
from gatepost.pki.certificates.presented import refused_by_tls
from gatepost.store.changes import ConfigConflict
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.values import replace

WATCH_SECONDS: Final = 2.0
"""Between two looks at the files."""

_PATIENCE: Final = 30.0  # a chain and its key are written one after the other
_AGAIN: Final = 5.0  # seconds until a record that failed is tried again, twice as many each time:
_SELDOM: Final = 60.0  # who records waits for another process, up to two seconds in which no mail moves
_OWN: Final = frozenset({Origin.SETTINGS, Origin.FILES})

_log = logging.getLogger(__name__)

type Pair = tuple[Path, Path]


class _Seen(msgspec.Struct):
    """The state of a pair of files. bad_since: not usable since then. again: when to read it though it is unchanged."""

    stamp: object = None
    bad_since: float = 0.0
    told: bool = False
    again: float = inf


class FileWatch:
    """settings: the pairs of `[[certificate]]`; they are presented, whatever else is. profile: of listeners."""

    def __init__(self, inventory: Inventory, settings: Sequence[Pair], profile: str = "default") -> None:
        self._inventory = inventory
        self._profile = profile
        self._settings = list(settings)
        self._seen: dict[Pair, _Seen] = {}
        self._unlisted: set[Path] = set()
        self._accept = False
        self._begin_at = -inf  # inf: it has begun
        self._rest_until = -inf  # nothing is looked at: who is busy is not waited for by each pair in turn
        self._pause = _AGAIN

    def accept(self) -> None:
        """Take what was refused for the names that it lost: an administrator sent SIGHUP, and so wants the files."""
        self._accept = True
        self._rest_until = -inf
        self._seen.clear()

    def changed(self, now: float) -> list[Pair]:
        """The pairs that the next `look` reads, for a thread to load them before. now: seconds since 1970."""
        if self._rests(now):
            return []
        _, entries = self._inventory.entries()
        seen = ((pair, self._seen.get(pair, _Seen())) for pair in self._pairs(entries))
        return [pair for pair, known in seen if file_stamp(pair) != known.stamp or now >= known.again]

    def look(self, now: float) -> None:
        """Record what others changed. now: seconds since 1970. Never raises for what is in files."""
        if self._rests(now):
            return
        _, entries = self._inventory.entries()
        if now >= self._begin_at:
            self._begin(entries, now)
        pairs = self._pairs(entries)
        for pair, origin in pairs.items():
            if self._rests(now):
                return
            seen = self._seen.setdefault(pair, _Seen())
            stamp = file_stamp(pair)
            if stamp == seen.stamp and now < seen.again:
                continue
            if stamp != seen.stamp:
                seen.told, seen.bad_since = False, 0.0
            seen.stamp, seen.again = stamp, inf
            self._examine(pair, origin, seen, now)
        self._seen = {pair: seen for pair, seen in self._seen.items() if pair in pairs}
        self._accept = False

    def _pairs(self, entries: Mapping[str, Entry]) -> dict[Pair, Origin]:
        return watched_pairs(self._settings, entries, self._in_directories())

    def _in_directories(self) -> Iterator[Pair]:
        for path in self._inventory.directories.paths():
            try:
                yield from pairs_in(path)
                self._unlisted.discard(path)
            except OSError as error:
                if path not in self._unlisted:
                    _log.error("certificates in %s cannot be watched: %s", path, error.strerror)
                self._unlisted.add(path)

    def _begin(self, entries: Mapping[str, Entry], now: float) -> None:
        try:
            self._withdraw(entries, now)
        except (ConfigConflict, StoreFailure) as failure:
            _log.warning("certificates that the settings do not name any more are not withdrawn yet: %s", failure)
            self._begin_at = now if isinstance(failure, StoreBusy) else now + _SELDOM
            self._rest_if_busy(failure, now)
        else:
            self._begin_at, self._pause = inf, _AGAIN

    def _rest_if_busy(self, failure: Exception, now: float) -> None:
        if isinstance(failure, StoreBusy):
            self._rest_until = now + self._pause
            self._pause = min(2 * self._pause, _SELDOM)

    def _rests(self, now: float) -> bool:
        """Whether whoever is busy is left alone; not for longer when the clock is put back."""
        return self._rest_until - _SELDOM <= now < self._rest_until

    def _withdraw(self, entries: Mapping[str, Entry], now: float) -> None:
        """Deprecate certificates of files that the settings no longer name."""
        if gone := not_named(self._settings, entries, now):
            self._inventory.change(gone, author="gatepost", note="removed from the settings")

    def _examine(self, pair: Pair, origin: Origin, seen: _Seen, now: float) -> None:
        try:
            identity = self._inventory.files.load(*pair)
        except CertificateFileError as error:
            self._broken(str(error), seen, now)
            return
        seen.bad_since = 0.0
        try:
            self._consider(pair, origin, identity, seen, now)
        except (ConfigConflict, StoreFailure) as failure:
            _log.warning("a renewed certificate is not recorded yet: %s", failure)
            seen.again = now if isinstance(failure, ConfigConflict | StoreBusy) else now + _SELDOM
            self._rest_if_busy(failure, now)
        else:
            self._pause = _AGAIN

    def _broken(self, why: str, seen: _Seen, now: float) -> None:
        """Half a renewal, most likely: the other half comes. If it does not, say so, once."""
        seen.bad_since = seen.bad_since or now
        if now < seen.bad_since + _PATIENCE:
            seen.again = seen.bad_since + _PATIENCE
        else:
            self._tell(seen, f"the renewed certificate cannot be used: {why}")

    def _tell(self, seen: _Seen, text: str) -> None:
        if not seen.told:
            _log.error("%s; the gateway goes on presenting the previous certificate", text)
        seen.told = True

    def _consider(self, pair: Pair, origin: Origin, identity: ServerIdentity, seen: _Seen, now: float) -> None:
        version, entries = self._inventory.entries()
        holder = _holder(pair, entries)
        step = recorded(pair, origin, identity, entries, now)
        if step is None:
            if (entry := with_another_chain(pair, identity, self._inventory)) is not None:
                note = f"another chain in {pair[0]}"
                self._inventory.record(entry, identity.chain_pem, note=note, expected=version)
                _log.info("certificate %s (%s) has %s", entry.id, entry.leaf.subject, note)
            return
        entry, before = step
        objection = self._objection(entry, holder, seen, now)
        if not objection and entry.purpose is Purpose.SERVER:
            objection = refused_by_tls(identity, self._profile)
        if objection:
            self._tell(seen, f"{pair[0]}: {objection}")
            return
        note = f"{'renewed' if holder else 'found'} in {pair[0]}"
        self._inventory.record(entry, identity.chain_pem, before, note=note, expected=version)
        _log.info("certificate %s (%s) is %s: %s", entry.id, entry.leaf.subject, entry.state, note)

    def _objection(self, entry: Entry, holder: Entry | None, seen: _Seen, now: float) -> str:
        """Explain why a certificate is not accepted, "" if it is."""
        if holder is None and entry.origin is Origin.SETTINGS:
            return ""  # there is no other to present in its place
        if entry.leaf.not_after <= now:
            return f"the certificate {entry.id} has expired; renew it again"
        if entry.leaf.not_before > now:
            seen.again = entry.leaf.not_before
            return f"the certificate {entry.id} is not valid yet; the gateway uses it from then on"
        if holder is None or entry.purpose is Purpose.CLIENT or self._accept:
            return ""
        lost = [name for name in names_of(holder) if not is_covered(name, [entry])]
        if not lost:
            return ""
        return (
            f"the certificate {entry.id} does not bear {', '.join(lost)} any more, which {holder.id} does; renew it "
            "with all names, or send SIGHUP to the gateway if they are to go"
        )


def not_named(settings: Sequence[Pair], entries: Mapping[str, Entry], now: float) -> list[Entry]:
    """The current certificates of files that the settings name no more, deprecated."""
    named = {(str(chain), str(key)) for chain, key in settings}
    return [
        _without_files(_deprecated(entry, now))
        for entry in entries.values()
        if entry.origin is Origin.SETTINGS
        and entry.state is State.CURRENT
        and (entry.chain_file, entry.key_file) not in named
    ]


def watched_pairs(
    settings: Sequence[Pair], entries: Mapping[str, Entry], in_directories: Iterable[Pair]
) -> dict[Pair, Origin]:
    """The files that are watched, and the origin of what is in them."""
    result = dict.fromkeys(settings, Origin.SETTINGS)
    live = [entry for entry in entries.values() if entry.origin is Origin.FILES and entry.state is not State.RETIRED]
    added = [(Path(entry.chain_file), Path(entry.key_file)) for entry in live if entry.key_file]
    for pair in (*added, *in_directories):
        result.setdefault(pair, Origin.FILES)
    return result


def recorded(
    pair: Pair, origin: Origin, identity: ServerIdentity, entries: Mapping[str, Entry], now: float
) -> tuple[Entry, tuple[Entry, ...]] | None:
    """The entry of what files hold, and what becomes of others by it; None if there is nothing to record.

    Raises IdentityError.
    """
    holder = _holder(pair, entries)
    number = entry_id(read_identity(identity).leaf)
    known = entries.get(number)
    if holder is not None and holder.id == number:
        return None
    if holder is None and known is not None and (known.key_file or known.origin not in _OWN):
        return None  # it is in the inventory in its own right, and a changeover may have its reasons
    return _succeed(_entry(pair, origin, identity, holder or known, now), holder, entries, now)


def with_another_chain(pair: Pair, identity: ServerIdentity, inventory: Inventory) -> Entry | None:
    """The entry of files that hold the same certificate with other intermediates than are stored; None if they do not.

    As when one was missing, or ends too early. Raises IdentityError.
    """
    holder = _holder(pair, inventory.entries()[1])
    if holder is None or holder.id != entry_id(read_identity(identity).leaf):
        return None
    with suppress(CertificateFileError):
        if inventory.chain_pem(holder) == identity.chain_pem:
            return None
    return replace(holder, chain=hashlib.sha256(identity.chain_pem).hexdigest()[:16])


def _holder(pair: Pair, entries: Mapping[str, Entry]) -> Entry | None:
    """The certificate that was last known to be in these files."""
    place = tuple(map(str, pair))
    matches = [entry for entry in entries.values() if (entry.chain_file, entry.key_file) == place]
    matches = [entry for entry in matches if entry.state is not State.RETIRED]
    return max(matches, key=lambda entry: (entry.state is State.CURRENT, entry.since), default=None)


def _entry(pair: Pair, origin: Origin, identity: ServerIdentity, like: Entry | None, now: float) -> Entry:
    fresh = replace(entry_from(identity, now=now), origin=origin, chain_file=str(pair[0]), key_file=str(pair[1]))
    if like is None:
        return fresh
    return replace(fresh, purpose=like.purpose, organization=like.organization, label=like.label)


def _succeed(
    entry: Entry, holder: Entry | None, entries: Mapping[str, Entry], now: float
) -> tuple[Entry, tuple[Entry, ...]]:
    """The new certificate in the state that its place gives it, and what becomes of the one that it replaces."""
    current = replace(entry, state=State.CURRENT, current_from=now)
    if holder is None:
        shown = entry.origin is Origin.SETTINGS or not replaced(entry, entries)
        return (current if shown else entry), ()
    match holder.state:
        case State.CURRENT:
            return replace(current, replaces=(holder.id,)), (_without_files(_deprecated(holder, now)),)
        case State.NEXT:
            gone = replace(holder, state=State.RETIRED, since=now, switch_at=0.0)
            return replace(entry, switch_at=holder.switch_at), (_without_files(gone),)
        case _:  # a changeover has taken its place; what was renewed waits for another one
            return entry, (_without_files(holder),)


def _deprecated(entry: Entry, now: float) -> Entry:
    begun = entry.current_from or now
    return replace(entry, state=State.DEPRECATED, since=now, current_from=begun, current_until=now)


def _without_files(entry: Entry) -> Entry:
    """Its files hold another certificate by now, or belong to nobody."""
    return replace(entry, chain_file="", key_file="")
