"""Tell a shortage of this machine from the faults of others: no file descriptor, buffer or memory was left.

Used by look-ups: a peer that could not be asked for want of a socket has said nothing, so mail must wait instead of
going without what would have been learnt.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def shortage(error: BaseException | None) -> BaseException | None:
    """The error that says what of this machine is used up: `error`, or what caused it; None if none does."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES):
            return error
        error = error.__cause__
    return None


def exhaustion() -> OSError | None:
    """The error of opening a socket now, if none can be had: for libraries that do not say why they failed."""
    try:
        socket.socket(socket.AF_UNIX).close()
    except OSError as error:
        return error if shortage(error) else None
    return None
