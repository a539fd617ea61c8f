"""Compare inbound traffic since a switch with as long a time before it, from the message trace.

Used by `gatepost certificate changeover status`. Handshakes that fail leave no row, only a line in the log
(`mail.inbound.service`): a partner that refuses the new certificate shows as mail that comes unencrypted, that is
refused for want of TLS, or that does not come any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from gatepost.store.interface import TraceFilter

if TYPE_CHECKING:
    from gatepost.store.trace import Trace


_NO_TLS: Final = ("5.7.0", "5.7.3", "5.7.10", "5.7.51")
_LEAST: Final = 3600.0
_ROWS: Final = 200_000


@dataclass(slots=True)
class Traffic:
    """Messages received over TLS, unencrypted, and refused though TLS would have let them in.

    domains: those that sent over TLS.
    """

    over_tls: int = 0
    in_clear: int = 0
    wanted_tls: int = 0
    domains: set[str] = field(default_factory=set)


def watch(trace: Trace, switched: float, now: float) -> tuple[Traffic, Traffic]:
    """Since the switch, and in the same time before it, an hour at least. Times in seconds since 1970. Blocks."""
    span = max(now - switched, _LEAST)
    return traffic(trace, switched, now), traffic(trace, switched - span, switched)


def traffic(trace: Trace, since: float, until: float) -> Traffic:
    """The traffic in the trace between two times, of its newest 200,000 rows at most."""
    result = Traffic()
    columns = ("event", "sender", "tls_version", "reply")
    rows = trace.scan(TraceFilter(since=since, until=until), columns, events=("RECEIVE", "REFUSE"))
    for event, sender, version, reply in islice(rows, _ROWS):
        if event == "RECEIVE" and version:
            result.over_tls += 1
            result.domains.add(str(sender).rpartition("@")[2].lower())
        elif event == "RECEIVE":
            result.in_clear += 1
        elif not version and any(code in str(reply) for code in _NO_TLS):
            result.wanted_tls += 1
    return result
