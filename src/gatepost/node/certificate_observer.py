"""Look at the certificates that this node's listeners really present, at their keys, and at the files that are named.

Handshakes with them show what they present. Made by `node.certificate_manager`; done by one worker of the node, a
minute after the last look, soon after a change, and once more soon where something was wrong. `node.heartbeat` tells
the site, and `analysis.checks.presentation` judges. Files are looked at where nodes share a store: else `node.alarms`
does it. Our connections count for no limit (`net.own_connection`), and no mail is sent on them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from gatepost.analysis.checks.presentation import HandshakeFailed, presented_leaf, server_name
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.net.tasks import SingleTask
from gatepost.settings.roles import ListenerRole
from gatepost.store.nodes import CertificateObservation, ListenerObservation, UnusableFile, UnusableKey
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatepost.net.own_connection import OwnConnections
    from gatepost.protocols.tls.facts import CertificateFacts
    from gatepost.settings.model import Settings


OBSERVE_SECONDS: Final = 1.0
"""Between two looks whether a look is due."""

_PERIOD: Final = 60.0
_SOON: Final = 4.0  # after a change, which other workers take up meanwhile, and after something wrong
_LISTENERS: Final = 8
_CERTIFICATES: Final = 4  # for each listener
_WHY: Final = 300
_FILES: Final = 50

_log = logging.getLogger(__name__)


class CertificateObserver:
    """observed: the latest look, None before the first. For one event loop; handshakes are made on a thread.

    presented: what listeners are to present. unusable: the certificates whose keys cannot be used, called on the loop.
    files: the files that cannot be used, called on a thread; None looks at none.
    told: called after a look that shows something else than the one before.
    """

    def __init__(  # noqa: PLR0913 - what it looks at
        self,
        settings: Settings,
        own: OwnConnections,
        presented: Callable[[], Sequence[ServerIdentity]],
        unusable: Callable[[], Sequence[UnusableKey]],
        *,
        files: Callable[[], Iterable[UnusableFile]] | None = None,
        told: Callable[[], object] = lambda: None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._own = own
        self._presented = presented
        self._unusable = unusable
        self._find_files = files
        self._told = told
        self._ticks = ticks
        self._seen: tuple[ServerIdentity, ...] | None = None
        self._due = -math.inf
        self._doubtful: tuple[UnusableKey, ...] = ()
        self._looking, self._checking = SingleTask("certificates presented"), SingleTask("files")
        self._files: tuple[UnusableFile, ...] | None = None
        self.observed: CertificateObservation | None = None

    def tick(self) -> None:
        """Begin a look if one is due."""
        if self._looking.is_running:
            return
        identities = tuple(self._presented())
        if self._seen != identities:
            first, self._seen = self._seen is None, identities
            self._due = self._ticks() if first else self._ticks() + _SOON
        if self._ticks() >= self._due:
            self._looking.begin(self._look, identities)
            if self._find_files is not None:
                self._checking.begin(self._check, self._find_files)

    def close(self) -> None:
        """Stop: another process looks from now on, or none."""
        self._looking.cancel()
        self._checking.cancel()
        self._seen, self.observed, self._files = None, None, None

    async def _look(self, identities: Sequence[ServerIdentity]) -> None:
        unusable = tuple(self._unusable())
        listeners = await asyncio.to_thread(self._handshakes, identities)
        # Others write these files while we run: only what was wrong twice is.
        lasting = tuple(key for key in unusable if key in self._doubtful)
        is_new = lasting != unusable
        self._doubtful = unusable
        before = self.observed
        self.observed = CertificateObservation(round(time.time(), 3), listeners, lasting, self._files)
        is_well = all(not listener.trouble for listener in listeners) and not is_new
        self._due = self._ticks() + (_PERIOD if is_well else _SOON if is_new else 2 * _SOON)
        if before is None or (before.listeners, before.unusable) != (listeners, lasting):
            self._told()

    async def _check(self, find: Callable[[], Iterable[UnusableFile]]) -> None:
        """A task of its own: a file system that hangs delays no handshake."""
        unusable = await asyncio.to_thread(lambda: tuple(islice(find(), _FILES)))
        files = tuple(UnusableFile(file.about, file.why[:_WHY]) for file in unusable)
        if files != self._files:
            self._files = files
            if self.observed is not None:
                self.observed = replace(self.observed, files=files)
                self._told()

    def _handshakes(self, identities: Sequence[ServerIdentity]) -> tuple[ListenerObservation, ...]:
        """One handshake for each certificate with each listener. On a thread; raises nothing."""
        leaves = []
        for identity in identities[:_CERTIFICATES]:
            try:
                leaves.append(read_identity(identity).leaf)
            except IdentityError as error:
                _log.error("a certificate that is presented cannot be read: %s", error)
        own = [listener for listener in self._settings.listeners if listener.role is not ListenerRole.INTERNAL]
        try:
            return tuple(self._observe(listener.role, str(listener.address), leaves) for listener in own[:_LISTENERS])
        finally:
            self._own.end()

    def _observe(self, role: ListenerRole, address: str, leaves: Sequence[CertificateFacts]) -> ListenerObservation:
        name, seen = f"{role} {address}", dict[str, None]()
        if not leaves:
            return ListenerObservation(name, trouble="this node has no certificate")
        hostname, profile = self._settings.server.hostname, str(self._settings.tls.profile)
        trouble = ""
        for leaf in leaves:
            family = leaf.key.partition("-")[0]
            try:
                der = presented_leaf(
                    role,
                    address,
                    server_name(leaf, hostname),
                    key_family=family,
                    profile=profile,
                    connect=self._own.connect,
                )
            except HandshakeFailed as failure:
                trouble = str(failure)[:_WHY]
            else:
                seen[hashlib.sha256(der).hexdigest()] = None
        return ListenerObservation(name, tuple(seen), trouble)
