"""A next hop that says what a test puts in its mouth, octet by octet: for servers that no real one would be."""

from __future__ import annotations

import socketserver
from collections.abc import Iterable, Mapping

from support.served import Served

from gatepost.testing.process import free_port

USUAL = {
    "": b"220 script.example\r\n",
    "EHLO": b"250-script.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    "DATA": b"354 Go ahead\r\n",
    ".": b"250 2.0.0 Stored\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


class Script(Served):
    """A server in clear; `said` holds what it says to each verb ("": as greeting, ".": to the end of a message).

    What is not in `said` gets the usual answer. Octets may come in several pieces; after those of a verb in `cuts` it
    closes. commands: every line it was sent outside of messages.
    """

    def __init__(self, said: Mapping[str, bytes | Iterable[bytes]], *, cuts: Iterable[str] = ()) -> None:
        self.said = {**USUAL, **said}
        self.cuts = frozenset(cuts)
        self.commands: list[bytes] = []
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def verbs(self) -> list[str]:
        return [line.split(b" ")[0].decode("latin-1").upper() for line in self.commands]

    def _made(self) -> socketserver.BaseServer:
        return _Server(self)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, owner: Script) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", owner.port), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    timeout = 30

    def handle(self) -> None:
        try:
            if not self._say(""):
                return
            while line := self.rfile.readline(1 << 16):
                self.server.owner.commands.append(line.rstrip(b"\r\n"))
                verb = line[:8].split()[0].decode("latin-1").upper() if line.strip() else "?"
                if not self._say(verb):
                    return
                if verb == "DATA" and not self._message():
                    return
        except OSError:
            return  # the client went away, as it should

    def _message(self) -> bool:
        while (line := self.rfile.readline(1 << 16)) not in (b".\r\n", b""):
            pass
        return line != b"" and self._say(".")

    def _say(self, verb: str) -> bool:
        """Say it; False if the connection is to be closed."""
        said = self.server.owner.said.get(verb, b"250 2.0.0 Ok\r\n")
        for piece in [said] if isinstance(said, bytes) else said:
            self.wfile.write(piece)
        return verb not in self.server.owner.cuts and verb != "QUIT"
