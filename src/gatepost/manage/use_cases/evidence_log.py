"""Add to the evidence log what an administrator did to mail, and the drills.

Used by `queue` and `drills`. The chain is that of the writer "admin"; the gateway signs it within a minute.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.settings.model import Settings
    from gatepost.store.evidence_chain import EvidenceChain


def evidence_log(settings: Settings) -> Callable[[Sequence[TraceEvent]], None]:
    """Adds events to the log, durably; does nothing where none is kept. What it returns raises StoreFailure."""

    @cache
    def chain() -> EvidenceChain:
        from gatepost.store.evidence_chain import EvidenceChain  # noqa: PLC0415 - most calls only look
        from gatepost.store.evidence_files import ADMIN_WRITER, evidence_directory  # noqa: PLC0415 - as above

        return EvidenceChain(
            evidence_directory(Path(settings.server.data_dir)),
            ADMIN_WRITER,
            node=settings.server.hostname,
            software=f"gatepost {__version__}",
            privacy=settings.evidence.privacy(),
        )

    def add(events: Sequence[TraceEvent]) -> None:
        if settings.evidence.enabled and events:
            chain().append(events, time.time())

    return add
