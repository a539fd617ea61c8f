from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.protocols.message.dsn_report import DsnAction, DsnRecipient, DsnReport

ORIGINAL = (
    b"Received: from x by y; date\r\nFrom: a@a.example\r\nTo: b@b.example\r\nSubject: Figures\r\n"
    b"Message-ID: <1@a.example>\r\n\r\nHello\r\n..\r\n"
)

type MakeRecipient = Callable[..., DsnRecipient]
type MakeReport = Callable[..., DsnReport]


@pytest.fixture
def recipient() -> MakeRecipient:
    """One that failed; a test names what differs."""

    def make(**changes: Any) -> DsnRecipient:
        fields: dict[str, Any] = {
            "address": "b@b.example",
            "action": DsnAction.FAILED,
            "status": "5.1.1",
            "remote_mta": "mx.b.example",
            "diagnostic": "550 5.1.1 User unknown",
            "last_attempt": 1795535000.0,
        }
        return DsnRecipient(**{**fields, **changes})

    return make


@pytest.fixture
def report(recipient: MakeRecipient) -> MakeReport:
    """About one failed recipient; a test names what differs."""

    def make(*recipients: DsnRecipient, **changes: Any) -> DsnReport:
        fields: dict[str, Any] = {
            "to": "a@a.example",
            "reporting_mta": "mx1.a.example",
            "postmaster": "postmaster@a.example",
            "now": 1795536000.0,
            "message_id": "n1@mx1.a.example",
            "boundary": "b0undary",
            "recipients": recipients or (recipient(),),
            "arrival": 1795449600.0,
            "queue_id": "7f3a9c01",
            "original": ORIGINAL,
            "original_complete": True,
        }
        return DsnReport(**{**fields, **changes})

    return make
