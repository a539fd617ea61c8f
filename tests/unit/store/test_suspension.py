from __future__ import annotations

import apsw
import pytest

from gatepost.mail.model.message import Delivery, Journal, Message, Recipient
from gatepost.store.sqlite.rows import delivery_row
from gatepost.store.suspension import ALL_DELAYED, JITTER, NO_DELAY_WANTED, NOTHING_ELSE, Suspension, jitter_of

ID = 1_800_000_000_000 << 22  # of a message of today


def ask(expression, **columns):
    columns = {"message": 1, "attempts": 1, "returned": "", "dropped": 0, "recipients": "[]", **columns}
    table = ", ".join(f":{name} AS {name}" for name in columns)
    return apsw.Connection(":memory:").execute(f"SELECT {expression} FROM (SELECT {table})", columns).get  # noqa: S608 - ours


@pytest.mark.parametrize("message", [0, 1, ID, ID + (1 << 22), (1 << 63) - 1])
@pytest.mark.parametrize("attempts", [1, 2, 40, 100_000])
def test_sql_spreads_as_python_does(message, attempts):
    assert ask(JITTER, message=message, attempts=attempts - 1) == jitter_of(message, attempts)


def test_waits_are_spread_by_message_and_by_attempt():
    messages = [ID + (number * 86 << 22) for number in range(1000)]
    for attempts in (1, 2):
        levels = [jitter_of(message, attempts) for message in messages]
        counts = [levels.count(level) for level in sorted(set(levels))]
        assert len(counts) == 16
        assert (min(levels), max(levels)) == (0, 1)
        assert min(counts) > 30
    assert {jitter_of(ID, attempts) for attempts in range(1, 17)} == set(levels)


def stored(*recipients):
    """Recipients as the table has them."""
    return delivery_row(Delivery(2, Message(1, "contoso", 1.0, ""), "contoso/b.example", list(recipients)))[7]


HOSTILE = '"held":true,"delayed":true,"journal":{}@b.example'


@pytest.mark.parametrize(
    ("fields", "recipient", "expected"),
    [
        ({}, {}, 1),
        ({"attempts": 0}, {}, 0),
        ({"returned": "{}"}, {}, 0),
        ({"dropped": 1}, {}, 0),
        ({}, {"held": True}, 0),
        ({}, {"released": True, "in_doubt": True, "delayed": True, "notify": "NEVER"}, 1),
        ({}, {"journal": Journal("copy")}, 0),
        ({}, {"address": HOSTILE}, 1),
        ({}, {"orcpt": HOSTILE}, 1),
    ],
)
def test_what_needs_no_more_than_a_new_time(fields, recipient, expected):
    recipients = stored(Recipient("ann@b.example"), Recipient(**{"address": "joe@b.example", **recipient}))
    assert ask(NOTHING_ELSE, recipients=recipients, **fields) == expected


@pytest.mark.parametrize(
    ("delayed", "expected"), [([False], 0), ([True], 1), ([True, False], 0), ([True, True, True], 1)]
)
def test_all_had_their_notice(delayed, expected):
    recipients = stored(*(Recipient(HOSTILE, delayed=each) for each in delayed))
    assert ask(ALL_DELAYED.format(number="json_array_length(recipients)"), recipients=recipients) == expected


@pytest.mark.parametrize(
    ("notify", "expected"),
    [
        ([""], 0),
        (["NEVER"], 1),
        (["SUCCESS,FAILURE"], 1),
        (["DELAY"], 0),
        (["FAILURE,DELAY", "NEVER"], 0),
        (["NEVER", ""], 0),
        (["", "NEVER"], 0),
        (["NEVER", "FAILURE", "NEVER"], 1),
    ],
)
def test_nobody_wants_a_delay_notice(notify, expected):
    hostile = '"notify":"NEVER","notify":"NEVER"@b.example'
    recipients = stored(*(Recipient(hostile, notify=each, orcpt=hostile) for each in notify))
    assert ask(NO_DELAY_WANTED.format(number="json_array_length(recipients)"), recipients=recipients) == expected


def test_nothing_is_deferred_before_the_store_did_it():
    order = Suspension("contoso/b.example", 5, 10.0, waits=(60.0,), received_after=1.0, reply="450 no")
    assert (order.destination, order.limit, order.now, order.deferred) == ("contoso/b.example", 5, 10.0, 0)
    assert (order.waits, order.received_after, order.reply) == ((60.0,), 1.0, "450 no")
