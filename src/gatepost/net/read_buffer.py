"""The memory that connections are read into, by `net.connection`: one buffer for all those of a thread.

What is in it is used up before the thread's loop reads for another connection. Several loops run in one process where
connectors are validated, for several organizations at once.
"""

from __future__ import annotations

import threading
from typing import Final

READ_BYTES: Final = 131072
"""The most that is read at once, and that one call of `Receiver.received` gets: it caps the work done per event."""


class _Buffer(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BYTES))


_BUFFER: Final = _Buffer()


def read_buffer() -> memoryview:
    """The buffer of this thread, of `READ_BYTES`."""
    return _BUFFER.view
