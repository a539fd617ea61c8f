"""Wait for the header of the PROXY protocol at the beginning of a connection.

Made by `net.listener` for connections from addresses that must send one, and for no other. It takes seconds at most,
however the octets come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gatepost.net.stream import Loss, LossKind, Stream
from gatepost.protocols.proxy.header import HeaderReader, ProxyHeader, ProxyHeaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.protocols.tls.facts import TlsFacts


HEADER_SECONDS: Final = 5.0
"""From the connection to the end of its header (HAProxy's own advice is at least 3 s, for a lost packet)."""


class HeaderReceiver:
    """The receiver of a stream until its header is whole.

    done: called with the header and what stood behind it; it must attach another receiver. failed: why there is no
    header to believe; the stream is dropped without a word.
    """

    __slots__ = ("_done", "_failed", "_over", "_reader", "_stream", "_timer")

    def __init__(
        self, stream: Stream, done: Callable[[ProxyHeader, bytes], None], failed: Callable[[str], None]
    ) -> None:
        self._stream = stream
        self._done = done
        self._failed = failed
        self._reader = HeaderReader()
        self._over = False
        self._timer = asyncio.get_running_loop().call_later(
            HEADER_SECONDS, self._fail, f"it sent no whole PROXY header within {HEADER_SECONDS:g} s"
        )

    def received(self, data: bytes) -> None:
        """Octets of the proxy: see net.stream.Receiver."""
        try:
            header = self._reader.feed(data)
        except ProxyHeaderError as error:
            self._fail(str(error))
            return
        if header is not None:
            self._over = True
            self._timer.cancel()
            self._done(header, self._reader.rest)

    def secured(self, facts: TlsFacts) -> None:
        """Never: nobody begins TLS before the header."""

    def lost(self, loss: Loss) -> None:  # noqa: ARG002 - Receiver's signature
        """The connection is gone. Who only looks whether the port is open sends nothing, and is no liar."""
        self._timer.cancel()

    def _fail(self, why: str) -> None:
        if not self._over:
            self._over = True
            self._timer.cancel()
            self._failed(why)
            self._stream.abort(Loss(LossKind.CLOSED, why))
