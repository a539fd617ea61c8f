"""Accept connections for `manage.web.server`: few at a time may shake hands, and none for long.

uvicorn counts a connection once TLS is up. Before that each costs 58 KB and a descriptor for a minute, and whoever
reaches the port opens as many as they like: a gigabyte was 18,000 of them, from three addresses.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from gatepost.net.listener import network_of
from gatepost.net.tasks import spawn

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Coroutine


_MOST: Final = 400  # at a time
_SECONDS: Final = 20.0  # for one
_AT_ONCE: Final = 16  # that are accepted in one turn of the loop
_PAUSE: Final = 0.5  # seconds, while the process can have no more descriptors

_log = logging.getLogger(__name__)


class Handshakes:
    """Handshakes under way, by source: an IPv4 address or IPv6 /48.

    Of too many the oldest ends, of the source that has most. So a flood ends its own, and one that is answered as it
    should be is over long before its turn comes.
    """

    def __init__(self) -> None:
        self._by_source: dict[str, dict[asyncio.Task[None], None]] = {}
        self._count = 0

    def begin(self, source: str, work: Coroutine[None, None, None]) -> None:
        """Begin one."""
        if self._count >= _MOST:
            crowded, tasks = max(self._by_source.items(), key=lambda item: len(item[1]))
            oldest = next(iter(tasks))
            self._forget(crowded, oldest)
            oldest.cancel()
        task = spawn(work, "a handshake with the admin centre")
        self._by_source.setdefault(source, {})[task] = None
        self._count += 1
        task.add_done_callback(partial(self._forget, source))

    def end(self) -> None:
        """End all."""
        for tasks in self._by_source.values():
            for task in tasks:
                task.cancel()

    def _forget(self, source: str, task: asyncio.Task[None]) -> None:
        tasks = self._by_source.get(source, {})
        if task in tasks:
            del tasks[task]
            self._count -= 1
            if not tasks:
                del self._by_source[source]


class HandshakeServer:
    """Accepts on a listening socket; `close` and `wait_closed` are as uvicorn calls them.

    tls: for each connection. make: the protocol of one, called as its handshake begins.
    """

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext, make: Callable[[], asyncio.Protocol], handshakes: Handshakes
    ) -> None:
        self._socket = sock
        self._tls = tls
        self._make = make
        self._handshakes = handshakes
        self._loop = asyncio.get_running_loop()
        self._closed = False
        sock.setblocking(False)
        self._watch()

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._handshakes.end()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _watch(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failure:  # no descriptor or memory is left: wait for some
                _log.warning("the admin centre can accept no connection: %s", failure.strerror)
                self._loop.remove_reader(self._socket)
                self._loop.call_later(_PAUSE, self._watch)
                return
            client.setblocking(False)
            self._handshakes.begin(network_of(address[0]) or address[0], self._shake(client))

    async def _shake(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client, ssl=self._tls, ssl_handshake_timeout=_SECONDS)
        except OSError:  # it is gone, says no TLS, or takes too long
            client.close()
