"""What tests with hostile clients share: floods that keep reading, and a good client who must be served meanwhile."""

from __future__ import annotations

import select
import smtplib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import STRANGER, message

from gatepost.testing.process import alive, resident

MEGABYTE = 1 << 20


def flood(
    client: RawClient, pieces: Iterable[bytes], enough: Callable[[bytes], bool] | None = None, *, patience: float = 60
) -> tuple[bytes, bool]:
    """Send as fast as the server takes, reading all the while: what it said, and whether it closed.

    Ends when the server closes, when everything is sent and `enough(said)` holds (None: at once), or, as a failure of
    the server, after `patience` seconds without any progress (TimeoutError).
    """
    connection = client.socket
    connection.setblocking(False)
    waiting, source, said = b"", iter(pieces), bytearray()
    last = time.monotonic()
    try:
        while time.monotonic() - last < patience:
            if not waiting:
                waiting = next(source, b"")
            if not waiting and (enough is None or enough(bytes(said))):
                return bytes(said), False
            readable, writable, _ = select.select([connection], [connection] if waiting else [], [], 1)
            if readable:
                if not (data := connection.recv(1 << 18)):
                    return bytes(said), True
                said += data
            if writable:
                waiting = waiting[connection.send(waiting) :]
            if readable or writable:
                last = time.monotonic()
    except ConnectionError:
        return bytes(said), True
    raise TimeoutError(f"no progress, {len(said)} octets so far: {bytes(said[-200:])!r}")


def codes(said: bytes) -> list[bytes]:
    """The code and status of each one-line reply: b"250 2.1.5"."""
    return [b" ".join(line.split(b" ", 2)[:2]) for line in said.split(b"\r\n")[:-1]]


class Witness:
    """A good client, one short session after another; it also looks at the gateway's resident memory.

    delays: seconds that each message took. failures: what went wrong. peak: most resident bytes seen.
    """

    def __init__(self, gateway: Gateway, to: str) -> None:
        self._gateway = gateway
        self._to = to
        self._over = threading.Event()
        self._family = gateway.family()
        self.delays: list[float] = []
        self.failures: list[str] = []
        self.peak = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name="witness")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(60)

    def once(self) -> None:
        """One message."""
        begun = time.monotonic()
        try:
            with smtplib.SMTP("127.0.0.1", self._gateway.port, timeout=60) as client:
                client.sendmail(STRANGER, [self._to], message("good", sender=STRANGER))
        except (OSError, smtplib.SMTPException) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        self.delays.append(time.monotonic() - begun)

    def _run(self) -> None:
        """At least one message begins during the attack, and one after it."""
        ending = False
        while not ending:
            ending = self._over.wait(0.05)
            self.once()
            self._look()

    def _look(self) -> None:
        """A process of a moment is a fork, and counts as much as its parent: none does, nor one that lived at first."""
        left = alive(self._family)
        if left != self._family:
            self._family, self.peak = left, 0
        self.peak = max(self.peak, resident(left))
