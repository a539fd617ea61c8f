"""The evidence log in one worker, and what one process does for all: daily heads, and pruning.

Made by `node.assembly`. The key is prepared by `manage.cli.serve` before workers are confined, and opened once by each;
where it cannot be, the gateway does not start, as evidence that nobody signs is none.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.net.tasks import SingleTask
from gatepost.node.retention import forget_before
from gatepost.pki.certificates.evidence_key import evidence_signer, prepare_evidence_key
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.vault import Vault, VaultError
from gatepost.quantity import quantity
from gatepost.store.evidence import EvidenceWriter
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.evidence_keys import has_signing_key, move_keys
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.store.whole_file import locked_directory
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.events.evidence.chain import Signer
    from gatepost.settings.model import Settings
    from gatepost.store.evidence_log import HeadWriter


HEADS_SECONDS: Final = 60.0
"""Between two looks whether a day is over, or a command wrote something that is to be signed."""

REST_SECONDS: Final = 10.0
"""The longest that the end of a node waits for its last signatures."""

PRUNING_SECONDS: Final = 3600.0
"""Between two removals of old days."""

_DAY: Final = 86400.0
_DAY_NAME: Final = re.compile(r"20\d\d-(0\d|1[0-2])-([012]\d|3[01])")  # workers write them
_AHEAD: Final = (
    "evidence: the clock was ahead, and what is written since is in the day %s: no day gets a head before that one is "
    "over. Copy the log to another machine every day until then (gatepost evidence copy)"
)

_log = logging.getLogger(__name__)


class EvidenceLog:
    """The log as the settings want it. Raises CertificateFileError or OSError if its key cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = Storage.of(settings).evidence()
        self._signer: Signer | None = None
        self._heads: HeadWriter | None = None
        self._pruned = -PRUNING_SECONDS
        self._working = SingleTask("evidence heads")
        if settings.evidence.enabled:
            prepare_missing_key(settings)  # where it is not confined, it may have been started by itself
            self._signer = evidence_signer(self._log.directory, _vault(settings))
            self._heads = self._log.heads(signer=self._signer)

    def writer(self, worker: int) -> EvidenceWriter | None:
        """The writer of one shard; None if there is to be no log."""
        if self._signer is None:
            if not worker:
                self._note_off()
            return None
        privacy = self._settings.evidence.privacy()
        chain = self._log.worker_chain(worker, privacy=privacy, signer=self._signer)
        return EvidenceWriter(chain)

    def _note_off(self) -> None:
        """Where a log is kept, say in it that it has nothing from now on: an auditor would take that for no mail."""
        try:
            if not any(True for _ in self._log.days()):
                return
            chain = self._log.admin_chain(privacy=self._settings.evidence.privacy())
            chain.append((), time.time(), is_off=True)
        except StoreFailure as failure:
            _log.error("%s", failure)
        _log.warning("evidence: no entry is written while evidence.enabled is false; the log says so")

    def tick(self) -> None:
        """For one worker, every HEADS_SECONDS."""
        self._begin(self._work)

    def tick_pruning(self) -> None:
        """For the process that removes old days where the role of workers may not, every PRUNING_SECONDS."""
        self._begin(self._prune)

    def _begin(self, work: Callable[[HeadWriter], None]) -> None:
        if self._heads is not None:
            self._working.begin(asyncio.to_thread, work, self._heads)

    async def close(self) -> None:
        """For the same worker, at an orderly stop: sign what commands wrote since the last look."""
        if self._heads is None:
            return
        await self._working.ended()
        await asyncio.to_thread(self._sign, self._heads)

    def sign_rest(self) -> None:
        """Sign all that this node wrote. Only when its workers have ended. Raises StoreFailure."""
        if self._signer is not None:
            self._log.sign_rest(time.time(), signer=self._signer)

    def _sign(self, heads: HeadWriter) -> None:
        try:
            heads.sign_commands(time.time())
        except StoreFailure as failure:
            _log.error("%s", failure)

    def _work(self, heads: HeadWriter) -> None:
        try:
            heads.sign_commands(time.time())
            for head in heads.make(time.time()):
                ends = ", ".join(f"{name}: {end.number}" for name, end in head.writers.items())
                _log.info("evidence: head of %s is %s (writer: last entry %s)", head.day, head.hash, ends)
        except StoreFailure as failure:
            _log.error("%s", failure)
            return
        if not self._settings.store.worker_url and time.monotonic() >= self._pruned + PRUNING_SECONDS:
            self._pruned = time.monotonic()
            self._prune(heads)

    def _prune(self, heads: HeadWriter) -> None:
        try:
            now = time.time()
            days = [file.day for file in self._log.days() if _DAY_NAME.fullmatch(file.day)]
            if max(days, default="") > day_text(now + _DAY):
                _log.error(_AHEAD, max(days))
            gone = heads.prune(forget_before(now, self._settings.evidence.keep, days), now)
        except StoreFailure as failure:
            _log.error("%s", failure)
            return
        if gone:
            _log.info("evidence: removed %s older than evidence.keep", quantity(len(gone), "file"))


def prepare_key(settings: Settings) -> list[Path]:
    """Have the key in its place before processes are confined, which may not write there.

    Returns keys where workers write, which are not used. Raises CertificateFileError or OSError.
    """
    evidence = evidence_directory(Path(settings.server.data_dir))
    if settings.evidence.enabled:
        return prepare_evidence_key(evidence, _vault(settings))
    with locked_directory(evidence.parent):
        return move_keys(evidence)


def prepare_missing_key(settings: Settings) -> None:
    """For a worker that starts later: the operator may have moved the key away, to have another one made.

    What fails, the worker finds again, and says.
    """
    if settings.evidence.enabled and not has_signing_key(evidence_directory(Path(settings.server.data_dir))):
        with suppress(CertificateFileError, OSError):
            prepare_key(settings)


def _vault(settings: Settings) -> Vault | None:
    try:
        return Vault.of(settings.store.master_key)
    except VaultError as error:
        raise CertificateFileError(str(error)) from error


def sign_rest(settings: Settings) -> None:
    """Sign what no signature covers yet, when all processes of the node have ended, of one that was killed, too.

    It returns within REST_SECONDS; what could not be signed by then is logged.
    """
    if not settings.evidence.enabled:
        return
    failures = ["the store did not answer in time"]

    def work() -> None:
        try:
            prepare_key(settings)
            EvidenceLog(settings).sign_rest()
        except (StoreFailure, CertificateFileError, OSError) as failure:
            failures[:] = [str(failure)]
        else:
            failures.clear()

    thread = threading.Thread(target=work, name="evidence", daemon=True)
    thread.start()
    thread.join(REST_SECONDS)
    for failure in failures:
        _log.error("evidence: what was written last is not signed; the next stop signs it: %s", failure)
