"""A row of the message trace: one recipient, one event."""

from __future__ import annotations

from typing import Any

import msgspec


class TraceEvent(msgspec.Struct):
    """One row of the message trace: one recipient, one event (exchange.md §12).

    event: RECEIVE, REFUSE, SEND, DELIVER, DEFER, FAIL, EXPIRE, DROP, HOLD, RELEASE or RETURN; or DRILL, which is about
    a connector and no message (`analysis.checks.drill`); or TLSFAIL, a client's TLS handshake that failed. at:
    seconds since 1970. message: the queue id as `queue list` has it, "" for a refusal and a handshake. requirement,
    achieved: as `policy` prints them ("opportunistic", "authenticated(*.b.example)"; "none/authenticated" for
    MX ladder/TLS ladder). reply: the reply given or received, or how the
    handshake failed. result_type: RFC 8460, "" unless TLS failed. tls: facts of the handshake as JSON. detail: the
    decision's reasons and whatever else the event knows.
    """

    at: float
    event: str
    message: str
    organization: str
    direction: str
    session: str
    sender: str
    recipient: str
    message_id: str = ""
    subject: str = ""
    size: int = 0
    peer_host: str = ""
    peer_address: str = ""
    connector: str = ""
    requirement: str = ""
    achieved: str = ""
    tls_version: str = ""
    tls_group: str = ""
    tls: dict[str, Any] = {}
    reply: str = ""
    result_type: str = ""
    detail: dict[str, Any] = {}
