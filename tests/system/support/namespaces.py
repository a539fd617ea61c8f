"""Two machines in miniature: network namespaces with one link between them, and a capture of all that passes on it.

Needs root and a kernel that lets it; `TwoMachines` skips the test loudly where it may not.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

import pytest
from support.debian import MARK, need

_EVERY_PROTOCOL = 3  # ETH_P_ALL
_IPV4, _TCP = 0x0800, 6
_SYN = 0x02
_numbers = itertools.count(1)


class TwoMachines:
    """Namespaces `left` and `right` at 10.77.0.1 and 10.77.0.2, each with a loopback of its own."""

    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self) -> None:
        own = f"gp{os.getpid()}x{next(_numbers)}"
        self.left, self.right = f"{own}l", f"{own}r"
        self.link = "link0"

    def __enter__(self) -> Self:
        need("root", "ip")
        try:
            self._make()
        except subprocess.CalledProcessError as refused:
            self.__exit__()
            pytest.skip(f"{MARK}: permission for network namespaces ({refused.stderr.strip()})")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.left, self.right):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, timeout=30)

    def _make(self) -> None:
        for name in (self.left, self.right):
            _ip("netns", "add", name)
        ends = ("type", "veth", "peer", "name", self.link, "netns", self.right)
        _ip("-n", self.left, "link", "add", self.link, *ends)
        for name, address in zip((self.left, self.right), self.addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", self.link)
            for device in ("lo", self.link):
                _ip("-n", name, "link", "set", device, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30)


def inside[T](namespace: str, work: Callable[[], T]) -> T:
    """Call something in a namespace: sockets that it opens belong there. A thread of its own goes in, and ends."""

    def entered() -> T:
        with open(f"/run/netns/{namespace}", "rb") as door:  # noqa: PTH123 - what setns takes
            os.setns(door.fileno(), os.CLONE_NEWNET)
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(entered).result()


@dataclass(slots=True)
class Flow:
    """What one end of a TCP connection sent. start: its initial sequence number, None if its SYN was not seen."""

    start: int | None = None
    parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """In order, up to the first gap; what was sent again is taken once."""
        content = b""
        for offset in sorted(self.parts):
            part = self.parts[offset]
            if offset <= len(content):
                content += part[len(content) - offset :]
        return content


class Capture:
    """All frames of a link while entered: `raw`, one after the other, and `flows` by (source port, target port)."""

    def __init__(self, namespace: str, link: str) -> None:
        self.raw: list[bytes] = []
        self._socket = inside(namespace, lambda: _opened(link))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(timeout=30)
        self._socket.close()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self.raw.append(self._socket.recv(1 << 17))
            except TimeoutError:
                continue

    @property
    def flows(self) -> dict[tuple[int, int], Flow]:
        """Of TCP over IPv4."""
        found: dict[tuple[int, int], Flow] = {}
        for frame in list(self.raw):
            if (segment := _tcp(frame)) is None:
                continue
            source, target, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", segment)
            flow = found.setdefault((source, target), Flow())
            if flags & _SYN:
                flow.start = sequence
            payload = segment[(offset >> 4) * 4 :]
            if payload and flow.start is not None:
                place = (sequence - flow.start - 1) % (1 << 32)
                if len(payload) > len(flow.parts.get(place, b"")):
                    flow.parts[place] = payload
        return found


def _opened(link: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    made.bind((link, _EVERY_PROTOCOL))
    made.settimeout(0.2)
    return made


def _tcp(frame: bytes) -> bytes | None:
    """The TCP segment of an Ethernet frame with IPv4, None if it is something else."""
    if len(frame) < 34 or struct.unpack_from("!H", frame, 12)[0] != _IPV4 or frame[23] != _TCP:
        return None
    length = struct.unpack_from("!H", frame, 16)[0]
    return frame[14 + (frame[14] & 15) * 4 : 14 + length]
