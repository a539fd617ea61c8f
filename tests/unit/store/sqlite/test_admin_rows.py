from __future__ import annotations

import contextlib
import random

import apsw
import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient, Return
from gatepost.store.interface import QueueFilter
from gatepost.store.queue_admin import is_readable
from gatepost.store.sqlite.admin_rows import (
    DestinationCount,
    after_delivery,
    after_place,
    apply,
    applying,
    conditions,
    count,
    count_to,
    select,
    select_destinations,
    select_sorted,
    totals,
)
from gatepost.store.sqlite.rows import delivery_row, message_row
from gatepost.store.sqlite.schema import make_queue_tables

_INSERT = (
    "INSERT INTO delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients, held,"
    " quarantine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@pytest.fixture
def queue(tmp_path):
    with contextlib.closing(apsw.Connection(str(tmp_path / "q.db"))) as connection:
        make_queue_tables(connection, tmp_path / "q.db")
        yield connection


def fill(connection, seed):
    """Deliveries of every state: fresh, deferred, held by somebody, held for their destination's sake."""
    rnd = random.Random(seed)  # noqa: S311 - the same rows each time
    with connection:  # one commit
        for number in range(1, 200):
            message = Message(number, "contoso", 1.0, "ann@contoso.example")
            connection.execute(
                "INSERT INTO message (id, size, big, facts) VALUES (?, ?, ?, ?)", message_row(message, None)
            )
            domain = f"d{rnd.randrange(12)}.example"
            name = '"held":true' if rnd.random() < 0.1 else "bob"  # a name that looks like it holds nothing
            recipients = [Recipient(f"{name}@{domain}", held=rnd.random() < 0.2)]
            due = 0.0 if rnd.random() < 0.2 else 1000.0
            delivery = Delivery(
                number, message, f"contoso/{domain}", recipients, next_at=due, last_error=f"451 {number}"
            )
            connection.execute(_INSERT, delivery_row(delivery))
            if rnd.random() < 0.2:
                connection.execute("UPDATE delivery SET held = 1 WHERE message = ?", (number,))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dropped", [0, 7])
def test_counts_without_a_filter_are_those_that_a_filter_of_all_finds(queue, seed, dropped):
    fill(queue, seed)
    queue.execute("UPDATE delivery SET dropped = 1 WHERE message <= ?", (dropped,))
    every, values = conditions(QueueFilter())
    assert (every, values) == ("d.quarantine = ''", [])
    quick = select_destinations(queue, (every, values), -1)
    slow = select_destinations(queue, (f"{every} AND TRUE", []), -1)
    assert sorted(quick, key=lambda one: one.destination) == sorted(slow, key=lambda one: one.destination)
    assert sum(one.count for one in quick) == 199 - dropped
    assert [one.count for one in quick] == sorted((one.count for one in quick), reverse=True)
    assert len(select_destinations(queue, (every, values), 3)) == 3


def test_an_empty_queue_has_no_destinations(queue):
    assert select_destinations(queue, conditions(QueueFilter()), -1) == []


# Parts of addresses that mean something to LIKE or to JSON, and letters beyond ASCII.
ODD = ["ann", "AnN", "a_n", "a%n", "a!n", "a!%n", '"a b"', '"a\\\\b"', '"a\\"b"', "zoë", "ZOË", "a" * 2000]


@pytest.fixture
def odd(queue):
    """A message of each to each."""
    for number, name in enumerate(ODD, 1):
        message = Message(number, name.lower()[:3], 1.0, f"{name}@own.example")
        queue.execute("INSERT INTO message (id, size, big, facts) VALUES (?, ?, ?, ?)", message_row(message, None))
        recipients = [Recipient(f"{name}@{name[:2].strip('"!%_ ')}x.example")]
        queue.execute(_INSERT, delivery_row(Delivery(number, message, "contoso/d.example", recipients, next_at=9.0)))
    return queue


@pytest.mark.parametrize("name", ODD)
def test_texts_are_found_whatever_is_in_them_and_no_others(odd, name):
    same = [number for number, one in enumerate(ODD, 1) if nocase(one) == nocase(name)]
    for field in ("sender", "recipient"):
        of = select(odd, "0", conditions(QueueFilter(**{field: f"{name}@own.example"})), -1)
        assert [entry.delivery.id for entry in of] == (same if field == "sender" else [])
        address = select(odd, "0", conditions(QueueFilter()), -1)[same[0] - 1].delivery.recipients[0].address
        of = select(odd, "0", conditions(QueueFilter(recipient=address)), -1)
        assert same[0] in [entry.delivery.id for entry in of]
        assert {nocase(entry.delivery.recipients[0].address) for entry in of} == {nocase(address)}
    every = conditions(QueueFilter(sender="@OWN.example"))
    assert count(odd, every) == (len(ODD), len(ODD))
    after = after_delivery(every, same[0], same[0])
    assert [entry.delivery.id for entry in select(odd, "0", after, 3)] == list(range(1, len(ODD) + 1))[same[0] :][:3]


def nocase(text):
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def put(queue, number, destination="contoso/d.example", *, next_at=9.0, big=None, organization="contoso", held=False):
    """One message of one delivery, both of the same id, with a body."""
    message = Message(number, organization, 1.0, "ann@own.example")
    queue.execute("INSERT INTO message (id, size, big, facts) VALUES (?, ?, ?, ?)", message_row(message, big))
    queue.execute("INSERT INTO body (id, data) VALUES (?, ?)", (number, b"body"))
    recipients = [Recipient(f"x@{destination.partition('/')[2]}", held=held)]
    queue.execute(_INSERT, delivery_row(Delivery(number, message, destination, recipients, next_at=next_at)))


@pytest.fixture
def three(queue):
    """A deferred one with a big body, an active one, and one of another organization that waits for a release."""
    put(queue, 1, "contoso/a.example", big=77)
    put(queue, 2, "contoso/b.example", next_at=0.0)
    put(queue, 3, "fabrikam/a.example", organization="fabrikam", held=True)
    return queue


def found(queue, **wanted):
    return [entry.delivery.id for entry in select(queue, "0", conditions(QueueFilter(**wanted)), -1)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"message": "0000000000000002"}, [2]),
        ({"organization": "Fabrikam"}, [3]),
        ({"organizations": frozenset({"contoso"})}, [1, 2]),
        ({"organizations": frozenset()}, []),
        ({"domain": "A.example"}, [1, 3]),
        ({"state": "active"}, [2]),
        ({"state": "deferred"}, [1]),
        ({"state": "held"}, [3]),
        ({"held": True}, [3]),
        ({"held": False}, [1, 2]),
    ],
)
def test_each_condition(three, wanted, expected):
    assert found(three, **wanted) == expected


def test_what_is_deferred_is_the_rest():
    assert DestinationCount("contoso/a.example", 9, 2, 3, 1, "").deferred == 4


def changed(queue, action, *, text=""):
    entries = select(queue, "0", conditions(QueueFilter()), -1)
    return apply(queue, action, [entry.delivery for entry in entries], "olga", 50.0, text)


def notices(queue):
    return queue.execute("SELECT action, destination, message, delivery, author FROM notice ORDER BY id").fetchall()


A, B, C = "contoso/a.example", "contoso/b.example", "fabrikam/a.example"


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("hold", [("hold", B, 2, 2, "olga")]),
        ("release", [("release", B, 2, 2, "olga"), ("release", A, 0, 0, "olga"), ("release", C, 0, 0, "olga")]),
        ("retry", [("retry", B, 2, 2, "olga"), ("retry", A, 0, 0, "olga"), ("retry", C, 0, 0, "olga")]),
        ("return", [("return", B, 2, 2, "olga"), ("return", A, 0, 0, "olga"), ("return", C, 0, 0, "olga")]),
    ],
)
def test_an_action_tells_the_owner_what_is_in_its_memory_and_where_something_is_due(three, action, told):
    assert changed(three, action, text="Closed") == []
    assert notices(three) == told


def test_held_for_its_destinations_sake_is_released(three):
    changed(three, "release")
    (entry,) = select(three, "0", conditions(QueueFilter(organization="fabrikam")), -1)
    assert (entry.delivery.recipients[0].held, entry.delivery.recipients[0].released) == (False, True)


@pytest.mark.parametrize(("action", "numbers"), [("release", [3]), ("hold", [1, 2, 3]), ("drop", [1, 2, 3])])
def test_an_action_applies_to_what_it_would_change(three, action, numbers):
    entries = select(three, "0", applying(action, QueueFilter()), -1)
    assert [entry.delivery.id for entry in entries] == numbers


def test_what_is_returned_has_the_words_for_its_sender(three):
    changed(three, "return", text="Closed")
    returned = [entry.delivery.returned for entry in select(three, "0", conditions(QueueFilter()), -1)]
    assert returned == [Return("olga", "Closed")] * 3


def test_a_drop_removes_what_waits_with_its_body_and_tells_of_what_is_in_flight(three):
    assert changed(three, "drop") == [77]
    assert found(three) == []
    assert (
        three.execute("SELECT id FROM message").fetchall() == three.execute("SELECT id FROM body").fetchall() == [(2,)]
    )
    assert notices(three) == [("drop", B, 2, 2, "olga")]


@pytest.mark.parametrize(("parts", "found"), [(("@D3.exam",), "d3"), (("ann@", "d4."), "d4"), (("d3.", "d4."), "")])
def test_parts_of_sender_and_recipients(queue, parts, found):
    fill(queue, 1)
    where, values = conditions(QueueFilter(parts=parts))
    query = f"SELECT DISTINCT d.destination FROM delivery AS d JOIN message AS m ON m.id = d.message WHERE {where}"  # noqa: S608
    rows = queue.execute(query, values).fetchall()
    assert rows == ([(f"contoso/{found}.example",)] if found else [])


@pytest.mark.parametrize(
    "order", ["received", "-received", "next_attempt", "-destination", "sender", "-sender", "attempts", "-size"]
)
@pytest.mark.parametrize("wanted", [QueueFilter(), QueueFilter(organization="contoso", domain="d3.example")])
def test_the_order_of_a_list_and_the_rows_behind_a_place(queue, order, wanted):
    fill(queue, 1)
    where = conditions(wanted)
    entries = select_sorted(queue, "0", where, order, -1)
    assert sorted(entry.delivery.id for entry in entries) == [
        entry.delivery.id for entry in select(queue, "0", where, -1)
    ]
    keys = [entry.place(order)[:0:-1] for entry in entries]
    assert keys == sorted(keys, key=lambda key: (key[0], key[2], key[1]), reverse=order.startswith("-"))
    middle = len(entries) // 2
    rest = select_sorted(queue, "0", after_place(where, entries[middle].place(order), order), order, -1)
    assert rest == entries[middle + 1 :]


@pytest.mark.parametrize("wanted", [QueueFilter(), QueueFilter(organization="contoso")])
def test_counts_and_sums_end_where_they_are_told(queue, wanted):
    fill(queue, 1)
    where = conditions(wanted)
    assert count_to(queue, where, 20) == 20
    assert count_to(queue, where, 1000) == 199
    deliveries, messages, recipients, size, active, held = totals(queue, where, 1000)
    assert (deliveries, messages, recipients, size) == (199, 199, 199, 0)
    assert active == sum(entry.state == "active" for entry in select(queue, "0", where, -1))
    assert held == sum(entry.state == "held" for entry in select(queue, "0", where, -1))
    assert totals(queue, where, 20)[0] == 20


def test_a_row_that_cannot_be_read_is_listed_among_the_others(queue):
    fill(queue, 5)
    queue.execute("UPDATE delivery SET recipients = 'x' WHERE message = 7")
    entries = {entry.delivery.message.id: entry.delivery for entry in select(queue, "0", conditions(QueueFilter()), -1)}
    assert len(entries) == 199
    assert [number for number, one in entries.items() if not is_readable(one)] == [7]
