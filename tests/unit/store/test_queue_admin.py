from __future__ import annotations

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.queue_admin import CHANGE_PAGE, DestinationCount, QueueChange, QueueEntry, trace_rows


def test_what_is_neither_active_nor_held_is_deferred():
    assert DestinationCount("contoso/partner.example", 9, 2, 3, 1, "").deferred == 4


def test_the_trace_has_an_event_for_each_recipient():
    message = Message(17, "contoso", 5.0, "bob@contoso.example", size=7, subject="Hello", message_id="<a@b>")
    recipients = [Recipient("ann@partner.example"), Recipient("joe@partner.example")]
    delivery = Delivery(18, message, "contoso/partner.example", recipients)
    first, second = trace_rows("DROP", delivery, {"author": "me"}, 9.0)
    assert (first.at, first.event, first.message, first.recipient) == (9.0, "DROP", f"{17:016x}", "ann@partner.example")
    assert (second.recipient, second.sender, second.size) == ("joe@partner.example", "bob@contoso.example", 7)
    assert first.detail == {"author": "me", "destination": "contoso/partner.example"}


def test_a_change_goes_page_by_page_to_its_limit():
    message = Message(17, "contoso", 5.0, "bob@contoso.example")
    delivery = Delivery(18, message, "contoso/partner.example", [Recipient("ann@partner.example")])
    assert QueueChange("hold", "TRUE", 0, "me", "", "").page == CHANGE_PAGE
    change = QueueChange("hold", "TRUE", CHANGE_PAGE + 2, "me", "", "")
    assert change.page == CHANGE_PAGE
    change.done += [QueueEntry(delivery, "0", "held")] * CHANGE_PAGE
    assert change.page == 2
