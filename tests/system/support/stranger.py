"""Somebody who takes every connection that a PostgreSQL server has, and those that get free."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'gatepost%'"


class Stranger:
    """While entered: has all there are, and has those of gatepost cut again and again."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._over = threading.Event()
        self._full = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stranger")
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._full.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)
        for one in self._sockets:
            one.close()

    def _run(self) -> None:
        rounds = 0
        while not self._over.wait(0.01):
            if (one := self._connected()) is not None:
                self._sockets.append(one)
                continue
            self._full.set()
            rounds += 1
            if rounds % 25 == 1:
                query = _CUT.encode() + b"\0"
                self._sockets[0].sendall(b"Q" + struct.pack("!I", len(query) + 4) + query)

    def _connected(self) -> socket.socket | None:
        """A connection of the role postgres, which this server trusts; None if there is none left."""
        words = b"user\0postgres\0database\0postgres\0application_name\0stranger\0\0"
        with suppress(OSError):
            one = socket.create_connection(self._address, timeout=5)
            one.sendall(struct.pack("!II", len(words) + 8, 3 << 16) + words)
            if one.recv(1) == b"R":
                return one
            one.close()
        return None
