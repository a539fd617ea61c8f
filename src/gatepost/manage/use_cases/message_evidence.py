"""The evidence of one message, as the file that `gatepost evidence export --message` writes and `verify` checks.

Who sees only some organizations gets the entries of theirs; of the rest the file holds digests alone.
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING

from gatepost.analysis.reports.evidence_export import Selection, chosen_segments, write_json
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.manage.use_cases.gateway import Gateway


_IN_MEMORY = 1_000_000
_AROUND = 60.0  # seconds: an entry is made a moment after its event


def message_evidence(gateway: Gateway, message: str, events: Sequence[TraceEvent]) -> IO[bytes]:
    """The file, to be read from its beginning and closed. events: of the message, all that who asks sees of it.

    Raises Refusal: MISSING if the log has nothing of it, UNREADABLE.
    """
    evidence = evidence_directory(gateway.data)
    organizations = {event.organization for event in events}
    selection = Selection(
        message=message,
        organization=organizations.pop() if len(organizations) == 1 else "",
        since=events[0].at - _AROUND,
        until=events[-1].at + _AROUND,
    )
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        found = chosen_segments(evidence, selection)
        summary = write_json(file, evidence, selection, gateway.settings.server.hostname, found)
    except (StoreFailure, OSError, ValueError) as failure:
        file.close()
        raise Refusal(Kind.UNREADABLE, f"the evidence log cannot be read: {failure}") from failure
    if not summary.entries:
        file.close()
        raise Refusal(Kind.MISSING, f"the evidence log has nothing of {message}: is it kept ([evidence] enabled)?")
    file.seek(0)
    return file
