"""A box on the way to a mail server that cannot take a large ClientHello: real bytes, passed on both ways.

It reads SMTP until STARTTLS has its 220. Then it waits for the client's first flight: one of up to `limit` bytes
passes, as all does after it; a larger one ends the connection as `how` says.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from typing import Self

ALERT = bytes.fromhex("15030300020232")  # fatal, decode_error


class NarrowPath:
    """host, port: of the server behind it. how: "close", "reset", "silent" or "alert". sizes: of the first flights."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", limit: int = 1200, how: str = "close") -> None:
        self.behind = (host, port)
        self.limit = limit
        self.how = how
        self.sizes: list[int] = []
        self.counts: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name="narrow", daemon=True)

    @property
    def address(self) -> str:
        """ "HOST:PORT", as a smart host is written."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(10)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                self.counts["CONNECT"] += 1
                server = socket.create_connection(self.behind)
                self._sockets += [client, server]
                starts = threading.Event()
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass, args=(*pair, starts), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, from_client: bool, starts: threading.Event) -> None:
        """Copy one way. starts: STARTTLS was said, so that what the client sends next begins a handshake."""
        with suppress(OSError):
            while data := source.recv(65536):
                if from_client and starts.is_set():
                    starts.clear()
                    self.sizes.append(len(data))
                    if len(data) > self.limit:
                        self._drop(source, target)
                        return
                if from_client and data.upper().startswith(b"STARTTLS"):
                    starts.set()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _drop(self, client: socket.socket, server: socket.socket) -> None:
        self.counts["dropped"] += 1
        if self.how == "silent":
            return
        if self.how == "alert":
            client.sendall(ALERT)
        if self.how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            client.shutdown(socket.SHUT_RDWR)
        client.close()
        server.shutdown(socket.SHUT_RDWR)
