"""Somebody in the place of a node: TLS from the first byte, with another's certificate; it writes all down."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self

from gatepost.testing.pki import Leaf


class Imposter:
    """Listens on 127.0.0.1:port while entered. heard: what was said inside TLS. handshakes: that were completed.

    tls: False to speak SMTP in clear instead.
    """

    def __init__(self, port: int, leaf: Leaf, *, tls: bool = True) -> None:
        self.heard = b""
        self.handshakes = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(leaf.chain, leaf.key)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.2)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=30)
        self._listener.close()

    def _run(self) -> None:
        while not self._end.is_set():
            with suppress(OSError):
                plain, _ = self._listener.accept()
                plain.settimeout(5)
                with self._context.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        self.handshakes += 1
        connection.sendall(b"220 mx2.contoso.example ESMTP gatepost\r\n")
        while data := connection.recv(65536):
            self.heard += data
            if data.startswith(b"EHLO"):
                connection.sendall(b"250-mx2.contoso.example\r\n250-REQUIRETLS\r\n250-PIPELINING\r\n250 XGATEPOST\r\n")
            else:
                connection.sendall(b"250 2.0.0 OK\r\n")
