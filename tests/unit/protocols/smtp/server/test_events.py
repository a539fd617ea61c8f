from __future__ import annotations

from typing import get_args

import pytest

from gatepost.protocols.smtp.server import events
from gatepost.protocols.smtp.server.data import ContentFault

KINDS = get_args(events.Event.__value__)


def test_each_event_class_is_an_event():
    classes = {value for name, value in vars(events).items() if name.endswith("Event") and isinstance(value, type)}
    assert classes == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_says_whether_it_wants_a_decision(kind):
    decided = {
        "AuthEvent",
        "AuthResponseEvent",
        "HelloEvent",
        "StartTlsEvent",
        "XclientEvent",
        "MailEvent",
        "RecipientEvent",
        "DataEvent",
        "MessageEvent",
    }
    assert kind.decision is (kind.__name__ in decided)
    assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)


def test_each_fault_of_content_is_a_reason_to_abort():
    assert {fault.value for fault in ContentFault} <= {reason.value for reason in events.AbortReason}
