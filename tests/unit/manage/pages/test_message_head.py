from __future__ import annotations

import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.store.sqlite.trace import write_events

from .conftest import BASE, OWNER

BANK, OFF = "/connectors/contoso/outbound/bank-out", "/connectors/contoso/outbound/off"


def event(message, recipient, what="DEFER", **more):
    given = {"direction": "originating", "session": "5e55", "sender": "ann@contoso.example", "recipient": recipient}
    return TraceEvent(time.time(), what, message, "contoso", **(given | more))


@pytest.fixture
def head(centre, queued):
    """The head of the page of a message that waits for x@bank.example, after these events of recipients."""

    def page(*events, who="owner"):
        (message,) = queued(centre.gateway.data, {"contoso": ["x@bank.example"]})
        rows = [event(message, recipient, what, **more) for recipient, what, more in events]
        write_events(centre.gateway.data / "trace", "0", rows)
        texts = [centre.get(f"/{place}/{message}", who).text for place in ("queue", "trace")]
        starts = [text.index('id="next-step"') for text in texts]
        return [text[start : text.index("</section>", start)] for text, start in zip(texts, starts, strict=True)]

    return page


def test_mail_that_was_not_tried_is_mended_by_the_connector_of_its_way(head):
    """Other mail had failed there: the row of the trace names no connector, as the next hop was not known."""
    for text in head(("x@bank.example", "DEFER", {"detail": {"suspended": True}})):
        assert f'href="{BANK}"' in text
        assert "Edit and retry" in text
        assert "/check/host?target=127.0.0.1%3A1" in text


def test_the_connector_is_that_of_the_recipient_who_waits(head):
    waits = ("x@bank.example", "DEFER", {"connector": "bank-out"})
    for text in head(waits, ("y@off.example", "SEND", {"connector": "off"})):
        assert f'href="{BANK}"' in text
        assert OFF not in text
        assert "off.example" not in text


def test_no_connector_is_guessed_where_a_rule_decides(head, centre):
    rule = {"name": "marked", "header_name": "X-Mark", "route_via_connector": "off"}
    changed = BASE | {"contoso": BASE["contoso"] | {"mail_flow_rule": [rule]}}
    apply_document(centre.gateway, OWNER, {"organization": changed}, ChangeOptions("root"))
    for text in head(("x@bank.example", "DEFER", {"detail": {"suspended": True}})):
        assert "/connectors/" not in text
        assert "/check?target=bank.example" in text


def test_mail_without_a_connector_has_none(head, centre):
    changed = BASE | {"contoso": BASE["contoso"] | {"outbound_connector": [], "mail_flow_rule": []}}
    apply_document(centre.gateway, OWNER, {"organization": changed}, ChangeOptions("root"))
    for text in head(("x@bank.example", "DEFER", {"detail": {"suspended": True}})):
        assert "/connectors/" not in text
