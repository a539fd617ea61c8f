"""The room of a disk that is kept for the queue: what else is written there leaves it.

Used where mail, strangers or tenants make other files grow: mailboxes, content that is made for an attempt, TLS reports
that wait to be read, exports. Mail on its way expires; where these took its room as well, none would come in for
anybody. What lies in quarantine, in the queue, leaves as much (`mail.inbound.quarantine`).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

QUEUE_MARKS: Final = 2
"""Times `store.free_space`: with less than that on its disk the queue alone may grow."""


class QueueRoom:
    """data: the directory that the queue is in. mark: `store.free_space`, octets; 0 if there is none."""

    def __init__(self, data: Path, mark: int) -> None:
        self._data = data
        self._least = QUEUE_MARKS * mark

    def check(self, folder: Path, size: int) -> None:
        """Raise OSError (ENOSPC) if so many octets in a folder, which is there, would take room of the queue. Blocks.

        A folder on another disk takes none.
        """
        if self._least and folder.stat().st_dev == self._data.stat().st_dev:
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < self._least + size:
                raise OSError(errno.ENOSPC, "the rest of the disk (2 x store.free_space) is kept for the queue")
