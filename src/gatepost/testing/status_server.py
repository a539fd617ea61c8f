"""A small HTTP server on loopback, on which an authority publishes what it has revoked."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from gatepost.testing.process import free_port

if TYPE_CHECKING:
    from gatepost.testing.pki import Pki


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left before its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class StatusServer:
    """An HTTP server on loopback that says which certificates of a `Pki` are revoked. Use it with `with`.

    crl: the address of the intermediate's CRL (RFC 5280), made anew for each request. ocsp: that of its responder (RFC
    6960). They go into `Pki.leaf`. pki: whose certificates. stop() and start() keep the port: between them the host is
    down. delay: seconds before each answer. body: is sent as the CRL instead of the true one. requests: "GET /crl",
    "POST /ocsp" so far.
    """

    def __init__(self, pki: Pki) -> None:
        self.pki = pki
        self.port = free_port()
        self.crl = f"http://127.0.0.1:{self.port}/crl"
        self.ocsp = f"http://127.0.0.1:{self.port}/ocsp"
        self.delay = 0.0
        self.body: bytes | None = None
        self.requests: list[str] = []
        self._ending = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Serve, in a thread of its own."""
        self._ending.clear()
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="certificate status")
        self._thread.start()
        return self

    def stop(self) -> None:
        """Serve no more."""
        self._ending.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, command: str, path: str, request: bytes) -> bytes | None:
        """The body for one request, None where there is nothing."""
        self.requests.append(f"{command} {path}")
        self._ending.wait(self.delay)
        match command, path:
            case "GET", "/crl":
                return self.body if self.body is not None else self.pki.crl()
            case "POST", "/ocsp":
                return self.pki.ocsp_answer(request)
            case _:
                return None


def _handler(server: StatusServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers["Content-Length"])))

        def _reply(self, request: bytes) -> None:
            body = server.answer(self.command, self.path, request)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    return Handler
