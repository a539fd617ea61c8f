"""Connect to a listener with TLS from many loopback addresses, as fast as it answers; run as a program of its own.

Arguments: port, first address, addresses, connections at a time, seconds (fewer after a SIGTERM). Each connection
sends a ClientHello that was made before, waits for the server's flight, which costs the server a signature and the
client nothing, and breaks off. Prints as JSON: connections, handshakes that were answered, connections that were
refused.

`Resetter` is a server that resets every connection at once: what a flood takes from a machine that does nothing
against it.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no port waits after a connection


def client_hello() -> bytes:
    """One that every server answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a peer")


def flood(port: int, sources: list[str], at_a_time: int, seconds: float) -> Counter[str]:
    """Keep so many connections open, each from the next source, until SIGTERM comes or the time is over.

    Until a handshake was answered, too, but no more than ten times as long: in three seconds a busy machine may not get
    that far, and a gateway that has ended never does.
    """
    seen: Counter[str] = Counter()
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: over.append(number))
    hello, polled, clients = client_hello(), select.epoll(), dict[int, socket.socket]()
    begun, turns = time.monotonic(), itertools.cycle(sources)
    while not over and time.monotonic() < begun + (seconds if seen["handshakes"] else 10 * seconds):
        while len(clients) < at_a_time:
            client = begin(port, next(turns))
            clients[client.fileno()] = client
            polled.register(client, select.EPOLLOUT)
        for number, event in polled.poll(1.0):
            client = clients[number]
            if event == select.EPOLLOUT:
                seen["connections"] += 1
                with suppress(OSError):
                    client.send(hello)
                polled.modify(client, select.EPOLLIN)
                continue
            polled.unregister(client)
            del clients[number]
            seen["handshakes" if answered(client) else "refused"] += 1
    return seen


def begin(port: int, source: str) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.bind((source, 0))
    client.connect_ex(("127.0.0.1", port))
    return client


def answered(client: socket.socket) -> bool:
    """Whether the server sent its flight; closes."""
    with client:
        try:
            return client.recv(4096)[:1] == b"\x16"
        except OSError:
            return False


class Resetter:
    """Listens at `port` in a process of its own, as nice as who floods."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def reset_all() -> None:
    """Print the port, and accept and reset for ever."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # which connections inherit
    print(listening.getsockname()[1], flush=True)
    while True:
        listening.accept()[0].close()


if __name__ == "__main__":
    os.nice(19)  # attackers have processors of their own, and must not take ours
    if len(sys.argv) == 1:
        reset_all()
    port, first, count, at_a_time, seconds = sys.argv[1:]
    begin_at = ipaddress.ip_address(first)
    addresses = [str(begin_at + number) for number in range(int(count))]
    print(json.dumps(flood(int(port), addresses, int(at_a_time), float(seconds))))
