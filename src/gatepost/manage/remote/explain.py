"""What would happen to a message at another gateway, and why: it decides, by its own configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.explain import Question


_NEEDED: Final = (
    "from", "to", "ip", "tls", "certificate", "assumed", "configuration", "stage", "inbound", "outbound", "failures",
    "held_below_memory", "dkim", "expires_after", "succeeds", "empty", "withheld",
)  # fmt: skip


def explained(connection: Connection, question: Question) -> dict[str, Any]:
    """As `manage.use_cases.explain.explained`. The session of real mail is in no question that goes over REST."""
    body = {
        "from": question.sender,
        "to": question.recipient,
        "ip": question.ip,
        "certificate": question.certificate.decode("ascii", "replace"),
        "tls": question.tls,
        "header": list(question.headers),
        "requiretls": question.require_tls,
        "live": question.live,
    }
    found = msgspec.convert(connection.call("POST", "/explain", body=body).value, dict[str, Any])
    if missing := [name for name in _NEEDED if name not in found]:
        raise ValueError(", ".join(missing))
    return found
