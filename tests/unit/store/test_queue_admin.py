from __future__ import annotations

import pytest

from gatepost.decoding import from_json
from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.interface import QueueFilter
from gatepost.store.queue_admin import (
    CHANGE_PAGE,
    DestinationCount,
    QueueAdmin,
    QueueChange,
    QueueEntry,
    QueuePlace,
    QueueTotals,
    applicable,
    is_readable,
    json_pattern,
    refuse_order,
    released_recipients,
    state_terms,
    summed,
    trace_rows,
    unreadable_delivery,
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


def test_of_a_delivery_that_cannot_be_read_the_columns_are_shown():
    columns = (18, "contoso/partner.example", "damaged", 3, 7.0, 99.0, "451 later", None, "{}")
    shown = unreadable_delivery(columns, 17, "ann@contoso.example", 5)
    assert not is_readable(shown)
    assert is_readable(Delivery(18, shown.message, shown.destination, [Recipient("ann@partner.example")]))
    assert (shown.id, shown.message.id, shown.organization, shown.message.size) == (18, 17, "contoso", 5)
    assert (shown.attempts, shown.next_at, shown.expires_at) == (3, 7.0, 99.0)
    assert shown.last_error.startswith("this release cannot read what is stored of it")


def test_a_change_goes_page_by_page_to_its_limit():
    message = Message(17, "contoso", 5.0, "bob@contoso.example")
    delivery = Delivery(18, message, "contoso/partner.example", [Recipient("ann@partner.example")])
    assert QueueChange("hold", 0, "me", "", "").page == CHANGE_PAGE
    change = QueueChange("hold", CHANGE_PAGE + 2, "me", "", "")
    assert change.page == CHANGE_PAGE
    change.done += [QueueEntry(delivery, "0", "held")] * CHANGE_PAGE
    assert change.page == 2


def entry(number, destination="contoso/partner.example", **fields):
    message = Message(number, "contoso", 5.0, "bob@contoso.example", size=100 - number)
    return QueueEntry(Delivery(1, message, destination, [Recipient("ann@partner.example")], **fields), "0", "deferred")


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("received", 17),
        ("-next_attempt", 4.5),
        ("size", 83),
        ("-destination", "partner.example"),
        ("sender", "bob@contoso.example"),
        ("attempts", 3),
    ],
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


class ListedQueue(QueueAdmin):
    """An engine whose queue is a list, oldest first; `pages` has how many each transaction may change, behind which."""

    def __init__(self, entries):
        self.events = []
        self.pages = []
        self.text = ""
        self._entries = entries
        super().__init__(self.events.extend)

    def _change(self, action, wanted, author, reason, text=""):
        self.text = text
        change = QueueChange(action, wanted.limit, author, text, reason)

        def step(last, page):
            self.pages.append((last, page))
            ids = [(each.delivery.message.id, each.delivery.id) for each in self._entries]
            first = sum(place <= last for place in ids)
            return self._entries[first : first + page]

        self._page_by_page(change, step)
        return change.done

    entries = destinations = applying = applying_to = body = totals = depth = oldest = octets = unreadable = None


@pytest.mark.parametrize(
    ("action", "event"), [("hold", "HOLD"), ("release", "RELEASE"), ("retry", None), ("drop", "DROP")]
)
def test_each_action_is_in_the_trace_with_who_did_it_and_why(action, event):
    queue = ListedQueue([entry(17)])
    assert getattr(queue, action)(QueueFilter(limit=0), author="me", reason="asked") == [entry(17)]
    detail = {"author": "me", "why": "asked", "destination": "contoso/partner.example"}
    assert [(row.event, row.detail) for row in queue.events] == ([(event, detail)] if event else [])


def test_what_is_returned_has_a_text_for_its_sender():
    queue = ListedQueue([entry(17)])
    queue.send_back(QueueFilter(limit=0), author="me", text="Gone.")
    assert queue.text == "Gone."
    assert [row.detail["text"] for row in queue.events] == ["Gone."]


def test_a_change_stops_at_the_end_of_the_queue_and_at_its_limit():
    entries = [entry(number) for number in range(1, CHANGE_PAGE + 3)]
    queue = ListedQueue(entries)
    assert queue.hold(QueueFilter(limit=0), author="me") == entries
    assert queue.pages == [((0, 0), CHANGE_PAGE), ((CHANGE_PAGE, 1), CHANGE_PAGE)]
    queue.pages.clear()
    assert queue.hold(QueueFilter(limit=CHANGE_PAGE), author="me") == entries[:CHANGE_PAGE]
    assert queue.pages == [((0, 0), CHANGE_PAGE)]
    nothing = ListedQueue([])
    assert nothing.drop(QueueFilter(limit=0), author="me") == nothing.events == []


def test_recipients_that_were_held_for_their_destination_go_as_it_is():
    message = Message(17, "contoso", 5.0, "bob@contoso.example")
    recipients = [Recipient("ann@partner.example", held=True), Recipient("joe@partner.example")]
    text, *ids = released_recipients(Delivery(18, message, "contoso/partner.example", recipients))
    assert ids == [17, 18]
    after = from_json(text, list[Recipient])
    assert [(one.held, one.released) for one in after] == [(False, True), (False, False)]


@pytest.mark.parametrize(
    ("action", "terms"),
    [
        ("hold", "a = ? AND NOT d.held AND d.returned = ''"),
        ("release", "a = ? AND HELD"),
        ("retry", "a = ? AND NOT d.held"),
        ("return", "a = ? AND d.returned = ''"),
        ("drop", "a = ? AND TRUE"),
    ],
)
def test_an_action_applies_to_some_of_the_deliveries_that_match(action, terms):
    assert applicable(action, ("a = ?", [1]), "HELD") == (terms, [1])


@pytest.mark.parametrize(
    ("wanted", "terms"),
    [
        (QueueFilter(), []),
        (QueueFilter(state="active"), ["ACTIVE"]),
        (QueueFilter(held=True), ["HELD"]),
        (QueueFilter(state="active", held=False), ["ACTIVE", "NOT HELD"]),
    ],
)
def test_the_terms_of_a_state_are_those_of_the_engine(wanted, terms):
    assert state_terms(wanted, {"active": "ACTIVE", "held": "HELD"}) == terms


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("50%_off!", "%50!%!_off!!%"), ('a"b', '%a\\"b%'), ("x" * 1000, f"%{'x' * 1000}%"), ("x" * 1001, "")],
)
def test_a_text_within_json_is_looked_for_by_a_pattern_unless_it_is_too_long(text, pattern):
    assert json_pattern(text) == pattern
