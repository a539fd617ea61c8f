"""The persistent cache of MTA-STS policies: a folder with a small file for each domain.

Used by `net.lookups.mtasts` alone. Workers of one gateway share the folder: what one has fetched, the others read. A
file that cannot be read or written costs a fetch, nothing else. Every method blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.net.lookups.cache import make_room, replace_file
from gatepost.net.shortage import shortage
from gatepost.protocols.mtasts.policy import MAX_AGE, MAX_BYTES, PolicyError, StsPolicy, parse_policy

_FILES: Final = 10_000
_TOTAL_BYTES: Final = 64 * 1024 * 1024
_FILE_BYTES: Final = 2 * MAX_BYTES  # a policy as JSON, with what is said about it
_WRITES: Final = 50  # between two looks at the size of the folder
_REFRESH_SECONDS: Final = 24 * 3600.0  # RFC 8461 section 3.3
_AT_ONCE: Final = 300.0  # seconds within which fetches may overtake each other: longer than one takes with its waits
_SUFFIX: Final = ".json"

_log = logging.getLogger(__name__)


class CachedPolicy(msgspec.Struct, frozen=True):
    """A policy that was fetched. domain: A-labels. id: of the TXT record by which it was fetched.

    fetched, used: seconds since 1970 UTC; used: the last use by a delivery, to the day.
    """

    domain: str
    id: str
    policy: StsPolicy
    fetched: float
    used: float

    @property
    def expires(self) -> float:
        """Until when it is applied, seconds since 1970 UTC."""
        return self.fetched + min(self.policy.max_age, MAX_AGE)

    def holds(self, now: float) -> bool:
        """Whether it is to be applied."""
        return now <= self.expires

    def is_overtaken_by(self, other: CachedPolicy) -> bool:
        """Whether another was fetched after this one, which was on its way meanwhile.

        One from further ahead is no newer one: the clock was set back.
        """
        return 0 < other.fetched - self.fetched <= _AT_ONCE

    def due(self, now: float) -> bool:
        """Whether it is time to fetch it again, so that it does not expire: daily, at half of a shorter life."""
        return not self.fetched <= now < self.fetched + min(_REFRESH_SECONDS, self.policy.max_age / 2)


class _File(msgspec.Struct, frozen=True):
    """The content of a file."""

    domain: str
    id: str
    fetched: float
    policy: str


def policy_folder(data_dir: str) -> Path:
    """Where a gateway keeps policies. data_dir: of its settings."""
    return Path(data_dir) / "cache" / "mta-sts"


class PolicyFolder:
    """path: the folder, made when it is first needed; None keeps nothing. writes: whether anything is changed in it."""

    def __init__(self, path: Path | None, *, writes: bool = True) -> None:
        self._path = path
        self._changes = writes
        self._writes = 0

    def read(self, domain: str) -> CachedPolicy | None:
        """The cached policy of `domain`, expired or not. Raises OSError for a shortage (`net.shortage`)."""
        path = self._file(domain)
        policy = None if path is None else _read(path)
        return policy if policy is not None and policy.domain == domain else None

    def write(self, entry: CachedPolicy) -> None:
        """Keep a policy instead of an older one of its domain. After a crash one of the two is there, whole."""
        path = self._file(entry.domain)
        if path is None or not self._changes:
            return
        try:
            kept = _read(path)
            if kept is not None and entry.is_overtaken_by(kept):
                return
            content = msgspec.json.encode(_File(entry.domain, entry.id, entry.fetched, entry.policy.text))
            replace_file(path, content, used=entry.used)
            if self._writes % _WRITES == 0:
                self._make_room(path.parent)
            self._writes += 1
        except OSError as failure:
            _log.warning("mta-sts: %s cannot be kept: %s", path, failure.strerror)

    def touch(self, entry: CachedPolicy) -> None:
        """Note when it was last used."""
        path = self._file(entry.domain)
        if path is not None and self._changes:
            with suppress(OSError):  # gone, or never kept
                os.utime(path, (entry.used, entry.used))

    def entries(self) -> Iterator[CachedPolicy]:
        """All that is kept and can be read, expired or not."""
        paths = [] if self._path is None else sorted(self._path.glob(f"*{_SUFFIX}"))
        for path in paths[: 2 * _FILES]:
            try:
                policy = _read(path)
            except OSError:  # the next call may read them
                return
            if policy is not None and self._file(policy.domain) == path:
                yield policy

    @staticmethod
    def _make_room(folder: Path) -> None:
        """Those go that were used longest ago."""
        if removed := make_room(folder, files=_FILES, octets=_TOTAL_BYTES):
            _log.warning("mta-sts: %s is full: %d policies that were used longest ago are forgotten", folder, removed)

    def _file(self, domain: str) -> Path | None:
        """A name that no domain can make dangerous."""
        if self._path is None:
            return None
        return self._path / f"{hashlib.sha256(domain.encode()).hexdigest()}{_SUFFIX}"


def _read(path: Path) -> CachedPolicy | None:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
            used = os.fstat(file.fileno()).st_mtime
        if len(content) > _FILE_BYTES:
            return None
        kept = from_json(content, _File)
    except OSError as failure:
        if shortage(failure):
            raise
        return None
    except msgspec.DecodeError:
        return None
    policy = parse_policy(kept.policy.encode("utf-8", "replace"))
    if isinstance(policy, PolicyError):
        return None
    return CachedPolicy(kept.domain, kept.id, policy, kept.fetched, used)
