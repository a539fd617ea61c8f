"""The process that serves the MTA-STS policies of our accepted domains over HTTPS (RFC 8461 section 3.3).

Run by the supervisor beside the workers, so that whoever floods the port for policies takes nothing from mail but a
share of the processor (docs/decisions/0009). It touches no queue. It reacts to SIGTERM (end), SIGHUP (certificates
again), to new resources, and to the supervisor's death.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from gatepost.certificates.bearing import bearing
from gatepost.certificates.files import CertificateFileError, load_identities
from gatepost.connectors.publication import publications
from gatepost.mtasts.policy import Mode
from gatepost.net.engine import IdentityError, server_context
from gatepost.net.listener import Listener
from gatepost.net.stream import Loss, LossKind
from gatepost.net.tasks import spawn
from gatepost.node.policy_session import SECONDS, PolicySession
from gatepost.node.snapshot import POLL_SECONDS, SnapshotSource
from gatepost.node.worker import every
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure
from gatepost.tls.profile import PROFILES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from gatepost.mtasts.publish import Publication
    from gatepost.net.engine import ServerContext
    from gatepost.net.identity import ServerIdentity
    from gatepost.net.stream import Stream
    from gatepost.settings.model import Settings

__all__ = ["PolicyHost", "run_policy_host"]

CONNECTIONS: Final = 500
CONNECTIONS_PER_SOURCE: Final = 100
_NAMED: Final = 10  # domains in a line of the log

_log = logging.getLogger(__name__)


def run_policy_host(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of the process; its exit status. lifeline: reads end-of-file when the supervisor is gone.

    Whatever it cannot start for, it is started again: mail is never stopped for it.
    """
    os.environ.setdefault("UV_USE_IO_URING", "0")  # as in `node.worker`
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, sockets, lifeline))


async def _run(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(lifeline, stop.set)
    try:
        host = PolicyHost(settings, sockets)
    except (StoreFailure, CertificateFileError, OSError) as error:
        _log.critical("MTA-STS policies cannot be served: %s", error)
        return 1
    loop.add_signal_handler(signal.SIGHUP, host.reload)
    await host.start()
    await stop.wait()
    loop.remove_reader(lifeline)
    await host.close(min(settings.server.drain, SECONDS))
    return 0


class PolicyHost:
    """Serves what the stored resources say now. Raises StoreFailure, CertificateFileError or OSError if it cannot."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._resources = ConfigStore(Path(settings.server.data_dir) / "config.db")
        self._snapshots = SnapshotSource(self._resources, settings.limits.prefixes())
        self._identities, self._tls = _certificates(settings)
        self._policies: dict[str, Publication] = {}
        self._listener = Listener(
            sockets,
            self._accept,
            refuse=lambda stream, reason: stream.abort(Loss(LossKind.CLOSED, reason)),
            total=CONNECTIONS,
            per_source=CONNECTIONS_PER_SOURCE,
        )
        self._poll: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve, and to follow the resources."""
        self._publish()
        self._poll = spawn(every(POLL_SECONDS, self.refresh), "resources poll")
        await self._listener.start()

    def refresh(self) -> None:
        """Take up new resources, if there are any."""
        if self._snapshots.refresh():
            self._publish()

    def reload(self) -> None:
        """Read certificates and keys again; those in use stay if a new one cannot be used."""
        try:
            self._identities, self._tls = _certificates(self._settings)
        except CertificateFileError as error:
            _log.error("certificates are kept as they were: %s", error)
            return
        self._warn()

    async def close(self, seconds: float) -> None:
        """Accept no more, and let open connections end for at most `seconds`."""
        if self._poll is not None:
            self._poll.cancel()
        self._listener.stop()
        deadline = time.monotonic() + seconds
        while self._listener.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.05)
        self._resources.close()

    def _publish(self) -> None:
        """Serve what the snapshot says, and log what that is if it is something else than before."""
        found = publications(self._snapshots.current.directory.resources.organizations, self._settings.server.hostname)
        if found == self._policies and found:
            return
        self._policies = found
        served = [f"{one.domain} ({one.policy.mode}, id {one.record.id})" for one in found.values()]
        more = f" and {len(served) - _NAMED} more" if len(served) > _NAMED else ""
        what = ", ".join(served[:_NAMED]) + more if served else "none: no accepted domain has mta_sts"
        _log.info("MTA-STS policies served at %s: %s", self._settings.mta_sts.address, what)
        self._warn()

    def _warn(self) -> None:
        hostname = self._settings.server.hostname
        for text in _trouble(self._policies, self._identities, hostname):
            _log.warning("%s", text)

    def _accept(self, stream: Stream) -> None:
        PolicySession(stream, lambda: self._policies, time.time).begin(self._tls)


def _trouble(policies: dict[str, Publication], identities: Sequence[ServerIdentity], hostname: str) -> Iterator[str]:
    """Why senders could not fetch a policy, or not obey it: names that no certificate bears."""
    bare = [host for host in policies if not bearing(identities, host)]
    if bare:
        more = f" and {len(bare) - _NAMED} more" if len(bare) > _NAMED else ""
        yield (
            f"no certificate bears {', '.join(bare[:_NAMED])}{more}: senders cannot fetch the policy there, and go on "
            "without it; add a [[certificate]] with that name"
        )
    named = [
        one.domain for one in policies.values() if one.policy.mode is Mode.ENFORCE and one.policy.matches(hostname)
    ]
    if named and not bearing(identities, hostname):
        yield (
            f"no certificate bears {hostname}, and the policy of {named[0]} is enforced: senders that obey it do not "
            "deliver here; add a [[certificate]] with that name"
        )


def _certificates(settings: Settings) -> tuple[list[ServerIdentity], ServerContext]:
    """All of them, and what chooses among them by SNI. Always under the profile "default": senders are strangers."""
    identities = load_identities([(Path(one.chain), Path(one.key)) for one in settings.certificates])
    try:
        return identities, server_context(identities, PROFILES["default"], ask_client_certificate=False)
    except IdentityError as error:
        raise CertificateFileError(str(error)) from error
