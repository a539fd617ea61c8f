"""Add to the evidence log what an administrator did to mail, and the drills.

Used by `queue` and `drills`. The chain is that of the writer "admin"; the gateway signs it within a minute.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

from gatepost import __version__
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.settings.model import Settings
    from gatepost.store.evidence_log import ChainWriter


def evidence_log(settings: Settings) -> Callable[[Sequence[TraceEvent]], None]:
    """Adds events to the log, durably; does nothing where none is kept. What it returns raises StoreFailure."""

    @cache
    def chain() -> ChainWriter:
        log = Storage.of(settings).evidence()
        return log.admin_chain(software=f"gatepost {__version__}", privacy=settings.evidence.privacy())

    def add(events: Sequence[TraceEvent]) -> None:
        if settings.evidence.enabled and events:
            chain().append(events, time.time())

    return add
