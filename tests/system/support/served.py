"""Servers of the standard library on loopback, each in a thread of its own."""

from __future__ import annotations

import socketserver
import threading
from http.server import ThreadingHTTPServer
from typing import Self

from support.web import serving

from gatepost.testing.pki import Leaf


class Served:
    """What a subclass makes in `_made` serves from `start` to `stop`, and again after that."""

    _server: socketserver.BaseServer | None = None

    def _made(self) -> socketserver.BaseServer:
        raise NotImplementedError

    def start(self) -> Self:
        self._server = self._made()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name=type(self).__name__)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)
        self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class HttpsServer(ThreadingHTTPServer):
    """With a certificate; each handshake is made in the thread of its connection."""

    request_queue_size = 1000

    def __init__(self, address: tuple[str, int], handler: type, certificate: Leaf) -> None:
        super().__init__(address, handler)
        self.socket = serving(certificate).wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        """A client that does not like the certificate leaves in the middle of the handshake."""
