from __future__ import annotations

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient


def message(**fields):
    return Message(7, "contoso", 1000.0, "ann@contoso.example", **fields)


@pytest.mark.parametrize(
    ("inbound", "direction", "expected"),
    [
        ({}, "incoming", (False, False, False, False, False)),
        ({}, "originating", (False, False, True, False, False)),
        ({"user": "ann"}, "originating", (False, False, False, False, False)),
        ({"notice_about": "1a"}, "originating", (True, False, False, False, False)),
        ({"notice_about": "", "tls_report": "b.example"}, "originating", (True, True, False, False, False)),
        ({"internal": True}, "incoming", (False, False, False, True, False)),
        ({"headers": {"renamed": 2}}, "incoming", (False, False, False, False, True)),
        ({"headers": {"removed": 2}}, "incoming", (False, False, False, False, False)),
    ],
)
def test_what_the_session_says_of_a_message(inbound, direction, expected):
    one = message(inbound=inbound, direction=direction)
    said = (one.is_notice, one.is_tls_report, one.from_on_premises, one.is_internal, one.has_organization_headers)
    assert said == expected


def test_a_delivery_is_of_the_organization_before_the_slash():
    delivery = Delivery(1, message(), "fabrikam/b.example", [Recipient("bob@b.example")])
    assert delivery.organization == "fabrikam"
