"""The ACME duty, done by one process of the site: request certificates when due, in a thread, never in the event loop.

Made by `node.certificate_manager`. The thread has a store of its own; what it stores is noticed by all workers as any
change is. It is a daemon thread: nobody waits for it at the end, and what it left half done is tidied up at the next
start.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.issuer import Busy, IssuedCertificate, Issuer, alone
from gatepost.pki.acme.schedule import Step
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.grants import STORED_KINDS
from gatepost.policy.connectors.publication import publications
from gatepost.store.directory import stored_directory
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage
from gatepost.times import second_text

if TYPE_CHECKING:
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


ACME_SECONDS: Final = 60.0
"""Between two looks at what is due."""

_log = logging.getLogger(__name__)


def policy_hosts(settings: Settings, store: ConfigStore) -> list[str]:
    """The hosts at which this gateway serves MTA-STS policies, [] if it serves none. Raises ResourceErrors."""
    if not settings.mta_sts.address:
        return []
    directory = stored_directory(store, *store.load(*STORED_KINDS), settings.limits.prefixes())
    return sorted(publications(directory.organizations, settings.server.hostname))


def outcome(issued: IssuedCertificate) -> str:
    """Describe an issued certificate and what happens with it, in a sentence."""
    entry = issued.entry
    until = second_text(entry.leaf.not_after)
    what = f"certificate {entry.id} for {', '.join(entry.leaf.dns_names)}, valid until {until}"
    key = "with the previous certificate's key" if issued.key_kept else "with a new key"
    if issued.held:
        todo = f"it is the next one, and waits for `gatepost certificate changeover`: {issued.held}"
        return f"{what}, {key}: {todo}"
    return f"{what}, {key}: it is current"


class AcmeDuty:
    """store: of the event loop's thread."""

    def __init__(self, settings: Settings, store: ConfigStore) -> None:
        self._settings = settings
        self._store = store
        self._hosts: tuple[int, list[str]] = (-1, [])
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._closed = False

    def look(self) -> None:
        """Begin what is due, unless something is under way. Does not block."""
        if not self._settings.acme.is_on or (self._thread is not None and self._thread.is_alive()):
            return
        if self._closed:
            return
        self._stop.clear()
        try:
            issuer = Issuer(self._settings, self._store)
        except AcmeFailed as failure:
            _log.error("no certificates are requested: %s", failure)
            return
        now = time.time()
        if issuer.due(self._policy_hosts(), now) or issuer.proofs.are_pending() or issuer.waiting_alone(now):
            self._thread = threading.Thread(target=self._work, name="acme", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Begin nothing more until the next look, as another process does it meanwhile."""
        self._stop.set()

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself, or with the process."""
        self._closed = True
        self._stop.set()

    def _policy_hosts(self) -> list[str]:
        version = self._store.version()
        if self._hosts[0] != version:
            try:
                self._hosts = (version, policy_hosts(self._settings, self._store))
            except ResourceErrors:  # the log has it already
                self._hosts = (version, self._hosts[1])
        return self._hosts[1]

    def _work(self) -> None:
        """The thread."""
        settings = self._settings
        storage, data = Storage.of(settings), Path(settings.server.data_dir)
        try:
            leases = storage.leases(settings.server.node_name, 0)
            with alone(data, leases), closing(storage.configuration()) as store:
                self._all_due(Issuer(self._settings, store))
        except Busy:
            _log.debug("a command is requesting certificates")
        except (AcmeFailed, StoreFailure, OSError) as failure:
            _log.error("certificates cannot be requested: %s", failure)
        except Exception:  # noqa: BLE001 - the next look must find a thread that has ended, whatever it was
            _log.exception("requesting certificates failed; the gateway tries again")

    def _all_due(self, issuer: Issuer) -> None:
        for line in issuer.proofs.tidy():
            _log.warning("%s", line)
        for entry in issuer.present_waiting(time.time()):
            _log.info("certificate %s, which waited, is now current: no other was presented for its names", entry.id)
        for due in issuer.due(self._hosts[1], time.time()):
            if due.step is Step.ASK and not self._stop.is_set():
                issuer.ask(due.names)
        for due in issuer.due(self._hosts[1], time.time()):  # the authority may have said: now
            if due.step is Step.ASK or self._stop.is_set():
                continue
            names = ", ".join(due.names)
            _log.info("requesting a certificate for %s from %s: %s", names, issuer.url, due.why)
            try:
                _log.info("%s", outcome(issuer.issue(due.names)))
            except AcmeFailed as failure:
                again = second_text(issuer.not_before(due.names))
                _log.error("no certificate for %s: %s; next try at %s", names, failure, again)
