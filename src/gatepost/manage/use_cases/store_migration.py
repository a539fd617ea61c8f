"""Move everything stored into another engine, and let a store that was moved be used again.

Used by `gatepost store migrate` and `gatepost store reopen`. Blocks.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.manage.access.schema import ACCESS
from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.pki.certificates.site_key import CANARY_PLACE
from gatepost.pki.certificates.vault import SEALED, Vault, VaultError
from gatepost.policy.connectors.maildirs import node_local_text, stored_maildirs
from gatepost.quantity import quantity
from gatepost.settings.store_url import SQLITE, store_url
from gatepost.store.move import Comparison, Move, MoveProgress, MoveRefused, MoveSide, reopened
from gatepost.store.move_tables import sealed_contents, stored_organizations
from gatepost.store.schemas import SAME_IN_BOTH
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.settings.model import Settings
    from gatepost.store.move_mark import MoveMark


class StoreMigration:
    """One move, or what it would be. Close it.

    source, target: "sqlite:" for data_dir, "sqlite:/PATH" for another directory, or as store.url.
    """

    def __init__(
        self, settings: Settings, source: str, target: str, on_progress: Callable[[MoveProgress], None]
    ) -> None:
        """Raises ValueError for an address that is wrong, MoveRefused for the same engine twice, VaultError."""
        self._vault = Vault.of(settings.store.master_key)
        addresses = (
            _address(settings, "the store to move from", source),
            _address(settings, "the store to move to", target),
        )
        _check_engines(addresses[0][0], addresses[1][0])
        self._settings = settings
        self._is_to_nodes = addresses[1][0] != SQLITE
        self._source, self._target = (_side(settings, *address, self._vault) for address in addresses)
        self.places = self._source.place, self._target.place
        self._move = Move(self._source, self._target, clock=time.time, on_progress=on_progress)

    def check(self) -> None:
        """Raise MoveRefused or another StoreFailure if the stores cannot be moved as they are. Changes nothing."""
        self._source.check_source()
        self._target.check_target()
        self._move.check()
        configuration = self._source.configuration()
        self._check_key(sealed_contents(configuration, SEALED))
        text = node_local_text(stored_maildirs(stored_organizations(configuration)))
        if text and self._is_to_nodes and not self._settings.store.shared_mailboxes:
            raise MoveRefused(text)

    def plan(self) -> list[tuple[str, int]]:
        """The parts that would be moved, and about how many records each has. Raises StoreFailure; changes nothing."""
        return self._move.counts()

    def run(self) -> list[Comparison]:
        """Move, or go on with a move that was cut off; [] if it was complete before. Call `check` before.

        Raises MoveRefused (nothing was changed), MoveDiffers, or another StoreFailure: run it again.
        """
        self._source.prepare()
        self._target.prepare()
        return self._move.run()

    @property
    def completed_before(self) -> float | None:
        """When the move was completed, if `run` found it so: then it compared nothing."""
        return self._move.completed_before

    def close(self) -> None:
        """Let go of both stores."""
        self._source.close()
        self._target.close()

    def _check_key(self, sealed: dict[str, bytes]) -> None:
        """Raise MoveRefused unless the master key opens what is sealed."""
        if not sealed:
            return
        keys = f"{quantity(len(sealed), 'key')} in {self._source.place} {'is' if len(sealed) == 1 else 'are'} sealed"
        if self._vault is None:
            raise MoveRefused(f"{keys}, and store.master_key is not set: set it to the key that sealed them")
        if not any(self._opened(sealed)):
            raise MoveRefused(f"{keys} with another master key than store.master_key: set it to that one")

    def _opened(self, sealed: dict[str, bytes]) -> Iterator[bool]:
        """Whether each is opened; of the site's own mark of its key, only that."""
        for place in [CANARY_PLACE] if CANARY_PLACE in sealed else sealed:
            try:
                assert self._vault is not None  # noqa: S101 - as `_check_key` found
                self._vault.open(sealed[place], place)
            except VaultError:
                yield False
            else:
                yield True


def reopen_store(settings: Settings, *, really: bool) -> tuple[str, MoveMark | None]:
    """Take away the mark of the gateway's own store, if `really`; returns its place and the mark, None if it has none.

    Raises MoveRefused for an incomplete copy, VaultError, or StoreFailure.
    """
    side = _side(settings, settings.store.url, Path(settings.server.data_dir), Vault.of(settings.store.master_key))
    with closing(side):
        side.check_target()
        return side.place, reopened(side, really=really)


def _address(settings: Settings, what: str, text: str) -> tuple[str, Path]:
    """The URL and the data directory. Raises ValueError."""
    data_dir = Path(settings.server.data_dir)
    if text.startswith(SQLITE):
        path = text.removeprefix(SQLITE)
        if path and not path.startswith("/"):
            raise ValueError(f'{what}, {text}: write "sqlite:" for data_dir, or "sqlite:/PATH", from the root on')
        return SQLITE, Path(path) if path else data_dir
    try:
        return store_url(text), data_dir
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _check_engines(source: str, target: str) -> None:
    if source == target == SQLITE:
        raise MoveRefused(
            "both stores are SQLite: to copy a data directory, use gatepost store backup and store restore"
        )
    if SQLITE not in {source, target}:
        raise MoveRefused(
            "both stores are PostgreSQL: use its own tools, pg_basebackup or pg_dump (docs/several-nodes.md)"
        )


def _side(settings: Settings, url: str, data_dir: Path, vault: Vault | None) -> MoveSide:
    workers = settings.server.workers or len(os.sched_getaffinity(0))
    return Storage(url, data_dir).move_side((*SAME_IN_BOTH, ACCESS), SCHEMAS, workers=workers, vault=vault)
