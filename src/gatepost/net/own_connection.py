"""Tell a node's checks of its own listeners from the connections of others.

The check binds a port and writes it down before it connects; the workers that accept, other processes, compare. One
check is under way at a time. Used by `node.certificate_observer` and, for each connection from this very address, by
`net.listener`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.net.stream import Stream


_FILE: Final = "own-connection"
_PORT: Final = 2  # octets


class OwnConnections:
    """data_dir: where the port is written down, in a file of its own. Without the file no connection is our own."""

    def __init__(self, data_dir: Path) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._file = os.open(data_dir / _FILE, flags, 0o600)
        except OSError:
            self._file = -1

    def connect(self, address: tuple[str, int], seconds: float) -> socket.socket:
        """A connection to a listener of this node. seconds: for this and each later wait. Raises OSError."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(seconds)
            plain.bind(("::" if family is socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104 - nothing listens on it
            self._write(plain.getsockname()[1])
            plain.connect(address)
        except OSError:
            plain.close()
            raise
        return plain

    def is_own(self, stream: Stream) -> bool:
        """Whether this is the connection of the check under way."""
        if stream.peer.host != stream.local.host or self._file < 0:
            return False
        try:
            return os.pread(self._file, _PORT, 0) == stream.peer.port.to_bytes(_PORT)
        except OSError:
            return False

    def end(self) -> None:
        """The check is over: the port may be anybody's."""
        self._write(0)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, port: int) -> None:
        """A full disk costs no check: the connection then counts as any other."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, port.to_bytes(_PORT), 0)
