"""The server of the admin centre: uvicorn on sockets that were bound before, with a certificate that may change.

Signals belong to whoever runs it (`node.auxiliary`), and so does the log: uvicorn's own lines are errors only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import uvicorn

from gatepost.manage.web.certificate import admin_certificate, tls_context
from gatepost.manage.web.connection import BoundedConnection
from gatepost.net.tasks import spawn

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from starlette.types import ASGIApp

    from gatepost.settings.model import Settings


_KEEP_ALIVE: Final = 75  # seconds
_HEAD: Final = 32 * 1024  # bytes of a request's head

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Sleeps while nobody asks: uvicorn's own looks ten times a second whether it is to end, and what time it is."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Have it stop."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Until it is to end; the date of an answer is the connection's to say."""
        await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them alone."""
        yield


class WebServer:
    """Serves an application over HTTPS. Raises CertificateFileError or OSError for its certificate."""

    def __init__(self, application: ASGIApp, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = list(sockets)
        self.certificate = admin_certificate(settings)
        self._tls = tls_context(self.certificate)
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=BoundedConnection,
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            h11_max_incomplete_event_size=_HEAD,
            ssl_context_factory=lambda *_: self._tls,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._task = spawn(self._server.serve(self._sockets), "admin centre")

    def reload(self) -> None:
        """Take up a new certificate for new connections; one that cannot be used is said, and the old one stays."""
        try:
            self.certificate = admin_certificate(self._settings)
            self._tls.load_cert_chain(self.certificate.chain, self.certificate.key)
        except (OSError, ValueError) as error:
            _log.error("the admin centre keeps its certificate: %s", error)

    async def close(self, seconds: float) -> None:
        """Accept no more, and let open requests end for at most `seconds`."""
        self._server.end()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=max(0.1, seconds))
            for task in late:
                task.cancel()
