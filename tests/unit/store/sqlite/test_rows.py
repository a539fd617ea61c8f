"""What one commit writes, on a real database."""

from __future__ import annotations

import apsw
import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient, Return
from gatepost.mail.model.queue_id import format_id
from gatepost.store.interface import AdminNotice, DestinationWork, Settlement
from gatepost.store.sqlite.rows import (
    CommitPlan,
    LeaseRequest,
    big_size,
    body,
    deferred_row,
    delivery_row,
    destinations,
    earliest,
    listed_delivery,
    message_row,
    take_notices,
)
from gatepost.store.sqlite.schema import StoreSettings, make_queue_tables, open_database
from gatepost.store.suspension import Suspension, jitter_of

PARTNER = "contoso/partner.example"


@pytest.fixture
def queue(tmp_path):
    connection = open_database(tmp_path / "q.db", StoreSettings())
    make_queue_tables(connection, tmp_path / "q.db")
    yield connection
    connection.close()


def delivery(number=8, *, message=7, sender="bob@contoso.example", **fields):
    fields = {"destination": PARTNER, "recipients": [Recipient("ann@partner.example", notify="NEVER")], **fields}
    return Delivery(number, Message(message, "contoso", 1.0, sender, size=5), **fields)


def execute(queue, **fields):
    """Carry out a plan of these rows; what is to be unlinked."""
    plan = CommitPlan()
    for name, value in fields.items():
        setattr(plan, name, value)
    with queue:
        plan.execute(queue)
    return plan.unlink


def put(queue, *deliveries, big=None, data=b"hello"):
    message = deliveries[0].message
    bodies = [] if data is None else [(message.id, data)]
    rows = [delivery_row(one) for one in deliveries]
    execute(queue, messages=[message_row(message, big)], bodies=bodies, deliveries=rows)


def lease(queue, *, limit=9, now=10.0, destination=PARTNER):
    request = LeaseRequest(destination, limit, now)
    execute(queue, leases=[request])
    return request.granted


def count(queue, table):
    return queue.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 - a table's name


def test_an_empty_plan_writes_nothing(queue):
    assert execute(queue) == []
    assert destinations(queue) == []


@pytest.mark.parametrize(
    "damage",
    [
        "recipients = 'x'",
        """recipients = '[{"address":7}]'""",
        "recipients = CAST(x'5b22ff225d' AS TEXT)",
        "returned = '[]'",
    ],
)
def test_a_delivery_that_cannot_be_read_waits_alone(queue, caplog, damage):
    put(queue, delivery(8, message=7, next_at=5.0))
    put(queue, delivery(9, message=8, next_at=5.0))
    queue.execute(f"UPDATE delivery SET {damage} WHERE id = 8")  # noqa: S608 - ours
    assert [one.id for one in lease(queue)] == [9]
    assert f"message {format_id(7)} waits: this release cannot read what is stored of it" in caplog.text
    assert lease(queue) == []
    assert earliest(queue, PARTNER) == 10.0 + 900.0
    assert lease(queue, now=10_000.0) == []  # again put off, and never lost
    assert count(queue, "delivery") == 2


def test_a_delivery_is_listed_whether_it_can_be_read_or_not():
    facts = message_row(delivery().message, None)[-1]
    row = [8, PARTNER, '[{"address":"ann@partner.example"}]', 1, 5.0, 9.0, "451 later", None, facts]
    assert listed_delivery(row, 7, "bob@contoso.example", 5).recipients == [Recipient("ann@partner.example")]
    row[2] = "x"
    shown = listed_delivery(row, 7, "bob@contoso.example", 5)
    assert (shown.id, shown.message.id, shown.destination, shown.attempts) == (8, 7, PARTNER, 1)
    assert shown.last_error.startswith("this release cannot read what is stored of it")


@pytest.mark.parametrize("facts", ["{}", "x"])
def test_a_message_that_cannot_be_read_waits_alone(queue, facts):
    put(queue, delivery(8, message=7, next_at=5.0, attempts=1, expires_at=1e6))
    put(queue, delivery(9, message=8, next_at=5.0))
    queue.execute("UPDATE message SET facts = ? WHERE id = 7", (facts,))
    assert [one.id for one in lease(queue)] == [9]


@pytest.mark.parametrize("table", ["message SET facts", "delivery SET recipients"])
def test_damage_ends_no_commit_that_defers_where_mail_lies(queue, table):
    put(queue, delivery(8, next_at=5.0, attempts=1, expires_at=1e6, recipients=[Recipient("ann@partner.example")]))
    queue.execute(f"UPDATE {table} = 'x'")
    suspension = Suspension(PARTNER, 9, 10.0, waits=(60.0,), received_after=5.0, reply="421 away")
    execute(queue, suspensions=[suspension])
    assert suspension.deferred == 0


def test_a_delivery_comes_back_as_it_was(queue):
    one = delivery(next_at=5.0, attempts=3, expires_at=99.0, last_error="451 later")
    put(queue, one)
    (found,) = lease(queue)
    assert found == one
    assert lease(queue) == []  # it is leased


def test_leases_take_what_is_due_the_oldest_first_and_no_more_than_was_asked(queue):
    for number, due in ((1, 9.0), (2, 3.0), (3, 10.0), (4, 10.5), (5, 0.0)):
        put(queue, delivery(number, message=number, next_at=due))
    put(queue, delivery(6, message=6, next_at=1.0, destination="contoso/other.example"))
    put(queue, delivery(7, message=7, next_at=1.0))
    queue.execute("UPDATE delivery SET held = 1 WHERE id = 7")
    assert [one.id for one in lease(queue, limit=1)] == [2]
    assert [one.id for one in lease(queue)] == [1, 3]
    assert [one.id for one in lease(queue, now=11.0)] == [4]


def test_a_lease_does_not_expire(queue):
    """However long its process stands still: only one that starts anew tries again what was leased."""
    put(queue, delivery(next_at=5.0, last_error="451 later"))
    assert len(lease(queue)) == 1
    execute(queue, brought=[(10.0, ""), (10.0, "451")])
    assert lease(queue, now=1e12) == []
    assert (destinations(queue), earliest(queue, PARTNER)) == ([], 0.0)


def test_what_is_returned_says_what_its_sender_is_told(queue):
    put(queue, delivery(next_at=5.0))
    queue.execute("""UPDATE delivery SET returned = '{"author":"olga","text":"Closed"}'""")
    assert lease(queue)[0].returned == Return("olga", "Closed")


def test_a_message_goes_with_its_last_delivery(queue):
    put(queue, delivery(8), delivery(9), big=77)
    assert execute(queue, finished=[(7, 8)]) == []
    assert (count(queue, "message"), count(queue, "body")) == (1, 1)
    assert execute(queue, finished=[(7, 9)]) == [77]
    assert (count(queue, "delivery"), count(queue, "message"), count(queue, "body")) == (0, 0, 0)
    put(queue, delivery())
    assert execute(queue, finished=[(7, 8)]) == []  # it had no file


def test_a_delivery_that_is_deferred(queue):
    put(queue, delivery(8), delivery(9))
    one = delivery(8, attempts=2, expires_at=50.0)
    execute(queue, deferred=[deferred_row(Settlement(one, one.recipients, 6.0, "451 later"))])
    (found,) = lease(queue)
    assert (found.attempts, found.expires_at, found.last_error, found.next_at) == (2, 50.0, "451 later", 6.0)


def test_a_time_that_was_not_given_means_now(queue):
    assert deferred_row(Settlement(delivery(), []))[0] == 1.0


def test_what_was_dropped_in_flight_goes_when_it_is_deferred_and_what_was_returned_is_due(queue):
    put(queue, delivery(8), delivery(9))
    queue.execute("UPDATE delivery SET dropped = 1 WHERE id = 8")
    queue.execute("""UPDATE delivery SET returned = '{"author":"olga","text":""}' WHERE id = 9""")
    rows = [deferred_row(Settlement(delivery(number), [Recipient("x@y.example")], 900.0)) for number in (8, 9)]
    assert execute(queue, deferred=rows) == []
    assert [one.id for one in lease(queue)] == [9]
    assert count(queue, "delivery") == 1


def test_what_is_due_too_late_is_brought_forward(queue):
    for number, due in ((1, 500.0), (2, 20.0), (3, 0.0)):
        put(queue, delivery(number, message=number, next_at=due))
    execute(queue, brought=[(50.0, "")])
    assert queue.execute("SELECT next_at FROM delivery ORDER BY id").fetchall() == [(50.0,), (20.0,), (0.0,)]


def test_what_waits_is_due_when_it_is_retried(queue):
    for number, due in ((1, 500.0), (2, 500.0), (3, 0.0)):
        put(queue, delivery(number, message=number, next_at=due))
    queue.execute("UPDATE delivery SET held = 1 WHERE id = 2")
    execute(queue, retried=[(50.0, number, number) for number in (1, 2, 3, 4)])
    assert queue.execute("SELECT next_at FROM delivery ORDER BY id").fetchall() == [(50.0,), (500.0,), (0.0,)]


def test_what_failed_for_a_reason_that_passed_is_brought_forward_alone(queue):
    for number, error in ((1, "450 4.4.312 DNS query failed"), (2, "450 4.4.316 x 450 4.4.312 y"), (3, "")):
        put(queue, delivery(number, message=number, next_at=500.0, last_error=error))
    execute(queue, brought=[(50.0, "450 4.4.312 "), (80.0, "no%")])
    assert queue.execute("SELECT next_at FROM delivery ORDER BY id").fetchall() == [(50.0,), (500.0,), (500.0,)]


def test_what_was_in_memory_is_due_unless_it_was_dropped_meanwhile(queue):
    for number, due in ((1, 0.0), (2, 500.0), (3, 0.0), (4, 0.0), (5, 0.0)):
        put(queue, delivery(number, message=number, next_at=due))
    queue.execute("UPDATE delivery SET dropped = 1 WHERE id = 3")
    execute(queue, leftovers=[(50.0, 1, 4)])
    assert list(queue.execute("SELECT id, next_at FROM delivery")) == [(1, 50.0), (2, 500.0), (4, 50.0), (5, 0.0)]
    assert count(queue, "message") == 4


def test_destinations_and_what_is_due_first(queue):
    for number, due, destination in ((1, 9.0, PARTNER), (2, 3.0, PARTNER), (3, 4.0, "a/b"), (4, 0.0, "a/c")):
        put(queue, delivery(number, message=number, next_at=due, destination=destination))
    assert destinations(queue) == [DestinationWork("a/b", 4.0, 1), DestinationWork(PARTNER, 3.0, 2)]
    assert (earliest(queue, PARTNER), earliest(queue, "a/c"), earliest(queue, "nobody/x")) == (3.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("big", "data", "found", "size"),
    [(None, b"hello", (None, b"hello"), 0), (77, None, (77, None), 5), (77, b"he", (77, b"he"), 3)],
)
def test_where_a_body_is(queue, big, data, found, size):
    put(queue, delivery(), big=big, data=data)
    assert body(queue, 7) == found
    assert big_size(queue, 7) == size


def test_a_body_that_is_gone(queue):
    put(queue, delivery(), data=None)
    for number in (7, 9):
        with pytest.raises(LookupError, match=f"no message {number}"):
            body(queue, number)
    assert big_size(queue, 9) == 0


def test_notices_are_taken_once(queue):
    assert take_notices(queue) == []
    for action in ("hold", "drop"):
        queue.execute(
            "INSERT INTO notice (action, destination, message, delivery, author) VALUES (?, ?, 7, 8, 'me')",
            (action, PARTNER),
        )
    assert take_notices(queue) == [AdminNotice(action, PARTNER, 7, 8, "me") for action in ("hold", "drop")]
    assert take_notices(queue) == []


def test_a_row_that_is_there_already_fails_the_commit(queue):
    put(queue, delivery())
    with pytest.raises(apsw.ConstraintError):
        put(queue, delivery())


def fill(queue, count, places=2):
    messages = [message_row(Message(number, "contoso", 1.0, "bob@contoso.example"), None) for number in range(count)]
    waiting = [
        delivery(number, message=number, destination=f"contoso/d{number % places}.example", next_at=50.0)
        for number in range(count)
    ]
    execute(queue, messages=messages, deliveries=[delivery_row(each) for each in waiting])


def test_what_is_due_too_late_is_due_in_time_at_every_destination(queue):
    fill(queue, 6, 3)
    queue.execute("UPDATE delivery SET next_at = 500.0 + id WHERE id IN (0, 1, 4)")
    queue.execute("UPDATE delivery SET held = 1, next_at = 900.0 WHERE id = 5")
    queue.execute("UPDATE delivery SET next_at = 0 WHERE id = 2")
    execute(queue, brought=[(100.0, "")])
    assert list(queue.execute("SELECT id, next_at FROM delivery ORDER BY id")) == [
        (0, 100.0), (1, 100.0), (2, 0.0), (3, 50.0), (4, 100.0), (5, 900.0),
    ]  # fmt: skip


def test_looking_for_what_is_due_too_late_takes_no_longer_with_more_that_waits(queue):
    def steps():
        counted = []
        queue.set_progress_handler(lambda: bool(counted.append(1)), 20)
        execute(queue, brought=[(100.0, "")])
        queue.set_progress_handler(None)
        return len(counted)

    fill(queue, 100)
    few = steps()
    assert few > 1
    queue.execute("DELETE FROM delivery")
    queue.execute("DELETE FROM message")
    fill(queue, 1000)
    assert steps() <= few + 1


# ------------------------------------------------------------------------------------------- deferred where it lies

NOW = 20_000.0
REFUSED = "450 4.4.316 Connection refused"


def suspend(queue, *, limit=9, waits=(900.0, 900.0, 3600.0), received_after=0.0):
    request = Suspension(PARTNER, limit, NOW, waits=waits, received_after=received_after, reply=REFUSED)
    execute(queue, suspensions=[request])
    return request.deferred


def due(**fields):
    fields = {"attempts": 3, "next_at": 10.0, "expires_at": 90_000.0, "last_error": "451 before", **fields}
    return delivery(**fields)


def row_of(queue, number=8):
    return queue.execute("SELECT next_at, attempts, last_error FROM delivery WHERE id = ?", (number,)).fetchone()


@pytest.mark.parametrize(("attempts", "wait"), [(1, 900), (2, 3600), (9, 3600)])
def test_what_is_suspended_waits_as_after_an_attempt(queue, attempts, wait):
    put(queue, due(attempts=attempts))
    assert suspend(queue) == 1
    jitter = jitter_of(7, attempts + 1)
    assert row_of(queue) == (NOW + wait * (1 + 0.1 * (2 * jitter - 1)), attempts + 1, REFUSED)
    assert suspend(queue) == 0


def test_what_is_suspended_is_tried_once_more_when_it_expires(queue):
    put(queue, due(expires_at=NOW + 5))
    assert suspend(queue) == 1
    assert row_of(queue) == (NOW + 5, 4, REFUSED)


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts": 0},
        {"next_at": NOW + 1},
        {"next_at": 0.0},
        {"expires_at": NOW},
        {"expires_at": 0.0},
        {"destination": "contoso/other.example"},
        {"recipients": [Recipient("ann@partner.example", held=True)]},
        {"quarantine": "contoso"},
    ],
)
def test_what_needs_more_or_is_not_due_is_not_suspended(queue, fields):
    put(queue, due(**fields))
    before = row_of(queue)
    assert suspend(queue) == 0
    assert row_of(queue) == before


@pytest.mark.parametrize("change", ["held = 1", "dropped = 1", "returned = '{}'"])
def test_what_an_administrator_ordered_comes_before_a_suspension(queue, change):
    put(queue, due())
    queue.execute(f"UPDATE delivery SET {change}")  # noqa: S608 - ours
    assert suspend(queue) == 0
    assert row_of(queue) == (10.0, 3, "451 before")


@pytest.mark.parametrize(
    ("received_after", "delayed", "deferred"),
    [(0.0, False, 1), (0.9, False, 1), (1.0, False, 0), (1.0, True, 1)],
)
def test_what_is_due_a_delay_notice_is_not_suspended(queue, received_after, delayed, deferred):
    put(queue, due(recipients=[Recipient("ann@partner.example", delayed=delayed)]))
    assert suspend(queue, received_after=received_after) == deferred


@pytest.mark.parametrize(
    ("sender", "notify", "deferred"),
    [("", "", 1), ("", "DELAY", 1), ("bob@b.example", "NEVER", 1), ("bob@b.example", "FAILURE,DELAY", 0)],
)
def test_what_is_old_is_suspended_where_nobody_wants_a_delay_notice(queue, sender, notify, deferred):
    put(queue, due(sender=sender, recipients=[Recipient("ann@partner.example", notify=notify)]))
    assert suspend(queue, received_after=1.0) == deferred


def test_the_longest_due_are_suspended_first_and_no_more_are_looked_at(queue):
    for number, at in ((10, 30.0), (20, 10.0), (30, 20.0)):
        put(queue, due(number=number + 1, message=number, next_at=at, attempts=0 if number == 30 else 1))
    assert suspend(queue, limit=2) == 1
    assert [row_of(queue, number)[1] for number in (11, 21, 31)] == [1, 2, 0]


@pytest.mark.parametrize("order", [{"retried": [(NOW, 7, 8)]}, {"brought": [(NOW, "450 4.4.316")]}])
def test_what_is_suspended_is_due_again_if_the_same_commit_brings_it_forward(queue, order):
    put(queue, due())
    request = Suspension(PARTNER, 9, NOW, waits=(900.0,), received_after=0.0, reply=REFUSED)
    execute(queue, suspensions=[request], **order)
    assert row_of(queue) == (NOW, 4, REFUSED)
