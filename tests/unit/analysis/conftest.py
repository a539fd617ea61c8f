"""Rows of the trace in one line: what differs from a message that came, or left, without anything special."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.trace import TraceRow

NOON = 1_795_521_600.0  # 2026-11-24T12:00:00Z
TLS = {"version": "TLSv1.3", "suite": "TLS_AES_256_GCM_SHA384", "group": "X25519", "signature": "", "resumed": False}


def certified(*names: str, status: str = "trusted", **more: Any) -> dict[str, Any]:
    """The `tls` of a row whose peer presented a certificate for some names."""
    certificate = {"subject": f"CN={names[0] if names else 'nobody'}", "issuer": "CN=CA", "names": list(names)}
    return TLS | {"chain": status, "chain_detail": "", "certificate": certificate} | more


def session_row(**fields: Any) -> TraceEvent:
    """A message of the bank's that was received, in clear."""
    usual = {
        "at": NOON, "event": "RECEIVE", "message": "1a", "organization": "contoso", "direction": "incoming",
        "session": "5e55", "sender": "till@bank.example", "recipient": "ann@contoso.example",
        "peer_host": "mail.bank.example", "peer_address": "192.0.2.1",
    }  # fmt: skip
    return TraceEvent(**{**usual, **fields})


def received(**fields: Any) -> TraceEvent:
    """A message of a stranger that the bank's connector took for the bank's."""
    usual = {
        "event": "RECEIVE", "message": "1a", "organization": "contoso", "direction": "incoming", "session": "5e55",
        "sender": "eve@bank.example", "recipient": "ann@contoso.example", "peer_address": "198.51.100.9",
        "connector": "bank",
    }  # fmt: skip
    return TraceEvent(**usual | fields)


def hop_row(**fields: Any) -> TraceEvent:
    """A message that was sent to the lab, over TLS to a host that is trusted, with nothing required."""
    usual = {
        "at": NOON, "event": "SEND", "message": "2b", "organization": "contoso", "direction": "originating",
        "session": "5e56", "sender": "ann@contoso.example", "recipient": "joe@lab.example",
        "peer_host": "mx.lab.example", "peer_address": "198.51.100.1:25", "requirement": "opportunistic",
        "achieved": "none/authenticated", "tls": certified("mx.lab.example"), "reply": "250 2.0.0 ok",
        "detail": {"attempt": 1},
    }  # fmt: skip
    return TraceEvent(**{**usual, **fields})


def stored(columns: Sequence[str], event: TraceEvent) -> TraceRow:
    """A row as `scan_trace` gives it."""
    values = msgspec.structs.asdict(event)
    return tuple(
        msgspec.json.encode(values[name]).decode() if name in {"tls", "detail"} else values[name] for name in columns
    )
