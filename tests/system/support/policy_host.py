"""The host that serves a domain's MTA-STS policy: a small HTTPS server on loopback that can be wrong or down."""

from __future__ import annotations

import threading
from collections.abc import Container, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.served import HttpsServer, Served

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

PATH = "/.well-known/mta-sts.txt"


class PolicyHost(Served):
    """Serves `body` with `status` and `headers` to a GET of the well-known path, under `certificate`.

    body: the same to everybody, or by the name that is asked for.

    All of them may be changed at any time, a certificate between stop() and start(), which keep the port: between them
    the host is down. port: 0 for a free one. requests: "GET /.well-known/mta-sts.txt" so far. silent: names that are
    asked for and get no answer before `speak`, or stop().
    """

    def __init__(
        self, certificate: Leaf, body: bytes | Mapping[str, bytes], *, address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.certificate = certificate
        self.body = body
        self.status = 200
        self.headers = {"Content-Type": "text/plain"}
        self.address = address
        self.port = port or free_port()
        self.requests: list[str] = []
        self.silent: Container[str] = ()
        self.spoken = threading.Event()

    def _made(self) -> ThreadingHTTPServer:
        return HttpsServer((self.address, self.port), _handler(self), self.certificate)

    def speak(self) -> None:
        self.spoken.set()

    def stop(self) -> None:
        self.speak()
        super().stop()

    def present(self, certificate: Leaf) -> None:
        """Come back with another certificate."""
        self.stop()
        self.certificate = certificate
        self.start()


def _handler(host: PolicyHost) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            host.requests.append(f"GET {self.path}")
            if self.headers["Host"] in host.silent:
                host.spoken.wait()
            body = host.body if isinstance(host.body, bytes) else host.body.get(self.headers["Host"], b"")
            self.send_response(host.status if self.path == PATH else 404)
            for name, value in host.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
