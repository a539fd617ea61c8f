"""A raw socket client: sends exactly the bytes it is given, so that a test can be as hostile as it likes."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Self

from gatepost.testing.pki import Leaf


@dataclass(frozen=True, slots=True)
class RawReply:
    """One reply: its code, and its lines without code and line end."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.lines)

    @property
    def enhanced(self) -> str:
        """The RFC 3463 code the first line begins with, "" if none."""
        word = self.lines[0].partition(" ")[0]
        return word if word.count(".") == 2 and word.replace(".", "").isdigit() else ""


class ClosedError(Exception):
    """The server ended the connection; the text is what was left unread."""


class RawClient:
    """One connection to 127.0.0.1:port (or `host`), from the address `source` if one is given.

    Every wait ends after `timeout` seconds with TimeoutError.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", source: str = "", timeout: float = 60.0) -> None:
        origin = (source, 0) if source else None
        self.socket = socket.create_connection((host, port), timeout=timeout, source_address=origin)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """These bytes and nothing else."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line, with its LF. ClosedError if the connection ends first."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._more()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def reply(self) -> RawReply:
        """The next reply, all its lines; each must end in CRLF and bear the same code."""
        lines: list[str] = []
        while True:
            line = self.line()
            if not line.endswith(b"\r\n") or not line[:3].isdigit() or line[3:4] not in (b" ", b"-", b"\r"):
                raise AssertionError(f"not a reply line: {line!r}")
            lines.append(line[4:-2].decode("utf-8"))
            if line[3:4] != b"-":
                return RawReply(int(line[:3]), tuple(lines))

    def command(self, text: str | bytes) -> RawReply:
        """Send a line (CRLF is added) and read the reply."""
        self.send((text.encode() if isinstance(text, str) else text) + b"\r\n")
        return self.reply()

    def greet(self, name: str = "client.example") -> RawReply:
        """Read the greeting, say EHLO; the reply to that."""
        self.reply()
        return self.command(f"EHLO {name}")

    def starttls(self, *, server_name: str = "", certificate: Leaf | None = None) -> str:
        """STARTTLS and the handshake, any certificate accepted; the version agreed. Say EHLO after it."""
        reply = self.command("STARTTLS")
        if reply.code != 220:
            raise AssertionError(f"STARTTLS: {reply}")
        return self.handshake(server_name=server_name, certificate=certificate)

    def handshake(self, *, server_name: str = "", certificate: Leaf | None = None) -> str:
        """The handshake alone, for a test that sent STARTTLS in its own way."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(certificate.chain, certificate.key)
        secured = context.wrap_socket(self.socket, server_hostname=server_name or None)
        self.socket = secured
        return secured.version() or ""

    def half_close(self) -> None:
        """Send no more, but go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            while True:
                self._more()
        except ClosedError:
            rest = bytes(self._buffer)
            self._buffer.clear()
            return rest

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.close()

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> None:
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLEOFError) as end:
            raise ClosedError(bytes(self._buffer)) from end
        if not data:
            raise ClosedError(bytes(self._buffer))
        self._buffer += data
