"""A mail host that staples an OCSP response to its handshake: pyOpenSSL in threads, since Python's own TLS cannot.

It knows EHLO, STARTTLS and QUIT, and takes no mail.
"""

from __future__ import annotations

import socketserver
from contextlib import suppress
from typing import Any

from OpenSSL import SSL
from support.served import Served

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port


class Stapler(Served):
    """Presents `certificate` and staples `response`, DER, to whoever asks; it may be changed at any time.

    asked: how many handshakes asked for it.
    """

    def __init__(self, certificate: Leaf, response: bytes, *, host: str = "127.0.0.1", port: int | None = None) -> None:
        self.response = response
        self.asked = 0
        self.host, self.port = host, port or free_port()
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate_chain_file(str(certificate.chain))
        self.context.use_privatekey_file(str(certificate.key))
        self.context.set_ocsp_server_callback(self._staple)

    @property
    def address(self) -> str:
        """ "HOST:PORT", as a smart host is written."""
        return f"{self.host}:{self.port}"

    def _made(self) -> socketserver.BaseServer:
        return _Server(self)

    def _staple(self, _connection: SSL.Connection, _data: Any) -> bytes:
        self.asked += 1
        return self.response


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, owner: Stapler) -> None:
        self.owner = owner
        super().__init__((owner.host, owner.port), _Handler)


class _Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(SSL.Error, OSError):
            self.request.settimeout(10)
            self.request.sendall(b"220 stapler.example ESMTP\r\n")
            if self._dialogue(self.request, tls=False):
                self.request.settimeout(None)
                secured = SSL.Connection(self.server.owner.context, self.request)
                secured.set_accept_state()
                secured.do_handshake()
                self._dialogue(secured, tls=True)

    @staticmethod
    def _dialogue(peer: Any, *, tls: bool) -> bool:
        """Until STARTTLS, which is True, or the end."""
        while line := peer.recv(1000):
            match line[:4].upper():
                case b"EHLO":
                    peer.sendall(b"250 stapler.example\r\n" if tls else b"250-stapler.example\r\n250 STARTTLS\r\n")
                case b"STAR":
                    peer.sendall(b"220 2.0.0 Go ahead\r\n")
                    return True
                case _:
                    peer.sendall(b"221 2.0.0 Bye\r\n")
                    return False
        return False
