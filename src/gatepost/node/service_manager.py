"""Tell the service manager how the gateway is: sd_notify(3), the protocol of systemd and of those that copy it.

Used by the supervisor alone, in a process without an event loop. Where nobody asked to be told (no NOTIFY_SOCKET), all
of it does nothing. A message that cannot be sent is lost: the gateway never waits for its service manager.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress


class ServiceManager:
    """The notification socket of a service manager.

    address: a path, or "@name" for an abstract one; "" tells nobody. watchdog: seconds within which the manager wants
    to hear that the service is alive; 0: it does not ask. Raises OSError if nobody listens at the address.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._socket: socket.socket | None = None
        self._status = ""
        self._ping_seconds = watchdog / 3
        self._ping_at = 0.0
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            try:
                self._socket.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            except OSError:
                self._socket.close()
                raise

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """The one that started this process. Its variables are taken out: programs that we start are not the service.

        Raises OSError as the constructor, and ValueError for a watchdog that is not a number.
        """
        address = environment.pop("NOTIFY_SOCKET", "")
        watchdog, whose = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_ours = not whose or whose == str(os.getpid())
        return cls(address, int(watchdog) / 1e6 if watchdog and is_ours else 0.0)

    def ready(self, status: str) -> None:
        """Every worker takes mail, for the first time or again after a reload."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def reloading(self, status: str) -> None:
        """Files are being read again; `ready` must follow."""
        self._status = status
        # systemd wants its own clock, to tell this reload from one that it asked for later.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", f"STATUS={status}")

    def stopping(self, status: str, seconds: float) -> None:
        """The end begins, and may take so long, whatever the unit's own limit is."""
        self._status = status
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Show another line in `systemctl status`, if it is another one."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def ping(self) -> None:
        """Say that the service is alive: at most three times in the time that the watchdog grants."""
        now = time.monotonic()
        if self._ping_seconds and now >= self._ping_at:
            self._ping_at = now + self._ping_seconds
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Tell nothing more; called in each child, which is not the service."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(line.replace("\n", " ") for line in lines).encode("utf-8", "replace"))
