"""Sockets that the service manager bound for us (socket activation, sd_listen_fds(3)), by their addresses.

With them the gateway needs no privilege for port 25 at all. A passed socket takes the place of the one that a setting
with the same address would bind; its name is for messages. One that no setting names is an error: clients would connect
to it, and nobody would answer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_MOST: Final = 256


class PassedSocketError(Exception):
    """A socket that was passed cannot be used; the text says which, and what to do."""


class PassedSockets:
    """Those that were passed. sockets: with the name of each. taken: those that a setting names."""

    def __init__(self, sockets: list[tuple[str, socket.socket]]) -> None:
        self._waiting = sockets
        self.taken: list[socket.socket] = []

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> PassedSockets:
        """Those of this process; the variables are taken out. Raises PassedSocketError if one cannot be used."""
        whose, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
        names = environment.pop("LISTEN_FDNAMES", "").split(":")
        if not count or whose != str(os.getpid()):
            return cls([])
        if not count.isdecimal() or int(count) > _MOST:
            raise PassedSocketError(f"LISTEN_FDS={count} is not a number of sockets up to {_MOST}")
        named = dict(enumerate(names, _FIRST))
        return cls([(named.get(number) or "unknown", _socket(number)) for number in range(_FIRST, _FIRST + int(count))])

    def take(self, family: int, target: tuple[object, ...]) -> socket.socket | None:
        """The one that is bound to this address; None if there is none."""
        for entry in self._waiting:
            name, passed = entry
            if passed.family == family and passed.getsockname()[:2] == target[:2]:
                _check_family(name, passed)
                self._waiting.remove(entry)
                self.taken.append(passed)
                return passed
        return None

    def check_all_taken(self) -> None:
        """Raise PassedSocketError if any is left."""
        left = [f'"{name}" ({_address(passed)})' for name, passed in self._waiting]
        if left:
            raise PassedSocketError(
                f"the service manager passed sockets that no setting names: {', '.join(left)}; give a [[listener]] "
                "that address, or take them out of the socket unit"
            )


def _socket(number: int) -> socket.socket:
    """The inherited socket of this number, closed on exec."""
    try:
        os.set_inheritable(number, False)
        passed = socket.socket(fileno=number)
        listens = passed.type == socket.SOCK_STREAM and passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise PassedSocketError(
            f"file descriptor {number} that the service manager passed: {error.strerror}"
        ) from error
    if not listens or passed.family not in {socket.AF_INET, socket.AF_INET6}:
        raise PassedSocketError(
            f"file descriptor {number} that the service manager passed does not listen for TCP; the socket unit needs "
            "ListenStream=ADDRESS:PORT"
        )
    passed.setblocking(False)
    return passed


def _check_family(name: str, passed: socket.socket) -> None:
    if passed.family == socket.AF_INET6 and not passed.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        raise PassedSocketError(
            f'the passed socket "{name}" ({_address(passed)}) takes IPv4 too: set BindIPv6Only=ipv6-only in the socket '
            "unit, and add a ListenStream and a [[listener]] for IPv4"
        )


def _address(passed: socket.socket) -> str:
    host, port = passed.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
