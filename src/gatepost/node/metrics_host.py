"""The process that serves metrics over HTTP: /metrics for Prometheus, /healthz and /readyz for orchestration.

Run by the supervisor beside the workers, where [metrics] is written (docs/decisions/0024). It reads what workers left
in their files, the queue, the certificates and the alarms: a scrape never asks a worker, and so never delays mail.
"""

from __future__ import annotations

import logging
import platform
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import OpenSSL.SSL

import gatepost
from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Kind, decoded
from gatepost.events.metrics import catalogue as metrics
from gatepost.net.known_hosts import is_known_host
from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.exposition import MetricSources, exposed
from gatepost.node.http_session import Response, plain_listener
from gatepost.node.lifecycle import Lifecycle, Parts, listening
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.inventory import Inventory, listed
from gatepost.pki.certificates.lifecycle import names_of
from gatepost.store.figures import WORKERS_DIRECTORY, read_all
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    import h11

    from gatepost.events.metrics.counts import Series
    from gatepost.settings.model import Settings
    from gatepost.store.quarantine import QuarantineUsage
    from gatepost.store.queue_admin import Depth


CONNECTIONS: Final = 100
CONNECTIONS_PER_SOURCE: Final = 50
_KEPT: Final = 1.0  # seconds for which what was found is served again, however often somebody asks
_SLOWLY: Final = 30.0  # the same for what changes slowly and costs more
_CERTIFICATES: Final = 100
_AILMENTS: Final = {  # of a gateway that takes mail; no name of a host or an organization
    Kind.NAMESERVERS_DOWN: "no nameserver answers",
    Kind.DNSSEC_FAILS: "DNSSEC validation fails for every name",
    Kind.SCANNER_DOWN: "a content hook gets no answer",
    Kind.RECIPIENTS_UNKNOWN: "recipients of a domain cannot be looked up, as their source does not answer",
    Kind.RECORDS_UNWRITTEN: "what is recorded of mail cannot be written",
}
_OTHER_NAME: Final = b"/metrics is not served under this host name; [metrics] names in the settings file lists more\n"
_PATIENCE: Final = 1.0  # seconds that a scrape waits for the number of deliveries

_log = logging.getLogger(__name__)


def run_metrics_host(settings: Settings, sockets: Sequence[socket.socket], workers: int, lifeline: int) -> int:
    """The life of the process; its exit status. lifeline: reads end-of-file when the supervisor is gone."""
    return run_auxiliary(
        lambda: MetricsHost(settings, sockets, workers).parts, lifeline, drain=settings.server.drain, what="metrics"
    )


class _Counted(NamedTuple):
    """What is in the store, None for what is not known now."""

    depth: Depth | None = None
    quarantines: Mapping[str, QuarantineUsage] | None = None


class MetricsHost:
    """workers: how many there are to be. Raises StoreFailure if the resources cannot be opened."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket], workers: int) -> None:
        self._data = Path(settings.server.data_dir)
        self._storage = Storage.of(settings)
        self._workers = workers
        self._names = frozenset((settings.server.hostname.lower(), *settings.metrics.names))
        self._store = Storage.of(settings).configuration()
        self._inventory = Inventory(self._store, None)
        self._pairs = [(Path(certificate.chain), Path(certificate.key)) for certificate in settings.certificates]
        self._known: MetricSources | None = None
        self._slow: dict[Series, float] = {}
        self._slow_at = -_SLOWLY
        self._count: Future[_Counted] | None = None
        listener = plain_listener(sockets, self._answer, total=CONNECTIONS, per_source=CONNECTIONS_PER_SOURCE)
        resources = Lifecycle("resources", reload=self._look_again, close=self._store.close)
        self.parts = Parts(resources, listening(listener))

    def _look_again(self) -> None:
        """Certificates may be others by now."""
        self._slow_at = -_SLOWLY

    def _answer(self, request: h11.Request) -> Response:
        match request.target.partition(b"?")[0]:
            case b"/metrics" if not self._is_for_us(request):
                return Response(HTTPStatus.MISDIRECTED_REQUEST, _OTHER_NAME)
            case b"/metrics":
                accept = dict(request.headers).get(b"accept", b"").decode("latin-1")
                return Response(HTTPStatus.OK, *exposed(self.known(), accept))
            case b"/healthz":
                why = self._not_ready()
                return _fine("ok", f"not ready: {why}" if why else self._warning())
            case b"/readyz":
                if why := self._not_ready():
                    return Response(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}\n".encode())
                return _fine("ready", self._warning())
            case _:
                return Response(HTTPStatus.NOT_FOUND)

    def _is_for_us(self, request: h11.Request) -> bool:
        """Whether it is for a name of ours; HTTP/1.0 may name none, and no browser does so."""
        header = dict(request.headers).get(b"host")
        return header is None or is_known_host(header.decode("latin-1"), self._names)

    def _not_ready(self) -> str:
        """Explain why mail should go to another gateway, "" if it need not. It never waits for the store."""
        known = MetricSources(time.time(), read_all(self._data / WORKERS_DIRECTORY))
        if len(known.alive) < self._workers:
            return "not every worker runs"
        if trouble := next((worker.trouble for worker in known.alive if worker.trouble), ""):
            return f"{trouble}: no mail is taken"
        return ""

    def _warning(self) -> str:
        """Say what ails a gateway that takes mail: with the nameservers, all gateways would be out of use at once."""
        active = {gauge[1] for gauge in self._alarms() if gauge[0] == metrics.ALARMS.name}
        return ", ".join(text for kind, text in _AILMENTS.items() if kind in active)

    def known(self) -> MetricSources:
        """The figures to serve, a second old at most."""
        now = time.time()
        if self._known is None or not self._known.now <= now < self._known.now + _KEPT:
            self._known = MetricSources(
                now, read_all(self._data / WORKERS_DIRECTORY), *self._counted(), self._others(), _build()
            )
        return self._known

    def _counted(self) -> _Counted:
        """A store that does not answer must keep nobody waiting who asks whether this process lives."""
        if self._count is None or self._count.done():
            self._count, patience = Future(), _PATIENCE
            threading.Thread(target=self._count_into, args=(self._count,), name="depth", daemon=True).start()
        else:
            patience = 0.0
        try:
            return self._count.result(patience)
        except TimeoutError:
            return _Counted()

    def _count_into(self, count: Future[_Counted]) -> None:
        counted = _Counted()
        try:
            counted = _Counted(self._storage.queue_admin().depth(), self._storage.quarantine_usage())
        except StoreFailure as failure:
            _log.warning("the queue cannot be counted for metrics: %s", failure)
        finally:
            count.set_result(counted)

    def _others(self) -> dict[Series, float]:
        values = {(metrics.FREE.name,): float(shutil.disk_usage(self._data).free)}
        if time.monotonic() >= self._slow_at + _SLOWLY:
            self._slow_at = time.monotonic()
            self._slow = self._certificates()
            cached = sum(1 for _ in (self._data / "cache" / "mta-sts").glob("*.json"))
            self._slow[(metrics.POLICIES.name,)] = float(cached)
        return values | self._slow | self._alarms()

    def _certificates(self) -> dict[Series, float]:
        with suppress(StoreFailure, ValueError, OSError):  # the log of the workers has it
            entries = listed(self._inventory, self._pairs, now=time.time()).entries.values()
            live = [entry for entry in entries if entry.state in {State.CURRENT, State.NEXT}][:_CERTIFICATES]
            return {
                (metrics.CERTIFICATES.name, entry.id, next(iter(names_of(entry)), entry.label), str(entry.state)): (
                    entry.leaf.not_after
                )
                for entry in live
            }
        return {}

    def _alarms(self) -> dict[Series, float]:
        with suppress(StoreFailure):
            alarms = decoded(self._store.content(ALARMS_CONTENT)).alarms
            counts = Counter((metrics.ALARMS.name, str(alarm.kind), str(alarm.severity)) for alarm in alarms)
            return {series: float(count) for series, count in counts.items()}
        return {}


def _fine(word: str, warning: str) -> Response:
    return Response(HTTPStatus.OK, f"{word}, but {warning}\n".encode() if warning else f"{word}\n".encode())


def _build() -> tuple[str, str, str]:
    openssl = OpenSSL.SSL.SSLeay_version(OpenSSL.SSL.SSLEAY_VERSION).decode("ascii", "replace")
    return gatepost.__version__, platform.python_version(), openssl
