"""Requests to an admin centre over connections that stay open, as those of a browser do.

A handshake takes more CPU than most answers: 13 ms a request with one, 7 without (both sides, the page of an account).
"""

from __future__ import annotations

import select
import ssl
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPResponse, HTTPSConnection

_LONGEST = 30.0  # seconds that a connection is kept without use: well below the 75 s of the admin centre


class Links:
    """To a port of 127.0.0.1, whatever its certificate is. source: the address that they come from.

    Several threads may ask at once: each has a connection of its own meanwhile.
    """

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._port = port
        self._source = source
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._idle: list[tuple[float, HTTPSConnection]] = []
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def asked(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[HTTPResponse, HTTPSConnection]]:
        """The answer to one request, to be read, and its connection, which stays if the answer was read to its end."""
        link = self._link()
        try:
            link.request(method, path, body, dict(headers or {}))
            answer = link.getresponse()
            yield answer, link
            if answer.isclosed() and link.sock is not None:
                self._idle.append((time.monotonic(), link))
                return
        except BaseException:
            link.close()
            raise
        link.close()

    def _link(self) -> HTTPSConnection:
        """One that is still open, else a new one."""
        while self._idle:
            since, link = self._idle.pop()
            # What can be read before a request was sent is the end.
            if time.monotonic() - since < _LONGEST and not select.select([link.sock], [], [], 0)[0]:
                return link
            link.close()
        return HTTPSConnection("127.0.0.1", self._port, timeout=60, source_address=(self._source, 0), context=self._tls)


def _close(idle: list[tuple[float, HTTPSConnection]]) -> None:
    for _, link in idle:
        link.close()
