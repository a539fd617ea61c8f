from __future__ import annotations

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.queue_admin import (
    CHANGE_PAGE,
    DestinationCount,
    QueueChange,
    QueueEntry,
    QueuePlace,
    QueueTotals,
    refuse_order,
    summed,
    trace_rows,
)


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


def entry(number, destination="contoso/partner.example", **fields):
    message = Message(number, "contoso", 5.0, "bob@contoso.example", size=100 - number)
    return QueueEntry(Delivery(1, message, destination, [Recipient("ann@partner.example")], **fields), "0", "deferred")


@pytest.mark.parametrize(
    ("order", "key"),
    [("received", 17), ("-next_attempt", 4.5), ("size", 83), ("-destination", "partner.example"), ("attempts", 3)],
)
def test_the_place_of_a_delivery_has_what_it_is_sorted_by(order, key):
    delivery = entry(17, next_at=4.5, attempts=3)
    assert delivery.order_key(order) == key
    assert delivery.place(order) == QueuePlace("0", 17, 1, key)
    assert delivery.place() == QueuePlace("0", 17, 1, 0)


def test_sums_of_shards():
    assert summed([], 9) == QueueTotals(0, 0, 0, 0, 0, 0, 0, exact=True)
    parts = [(2, 1, 3, 10, 1, 0), (4, 4, 4, 40, 0, 2)]
    assert summed(parts, 7) == QueueTotals(6, 5, 7, 50, 1, 3, 2, exact=True)
    assert not summed(parts, 6).exact


def test_too_many_are_not_sorted():
    with pytest.raises(ValueError, match="more than 50,000 deliveries match, too many to sort them by next attempt"):
        refuse_order("-next_attempt")
