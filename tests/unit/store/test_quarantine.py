from __future__ import annotations

import time

import pytest

from gatepost.mail.model.message import Delivery, Message, QuarantineHold, Recipient
from gatepost.mail.model.queue_id import IdSource, format_id
from gatepost.store.quarantine import (
    DAY,
    Quarantine,
    QuarantineFilter,
    QuarantinePlace,
    QuarantineUsage,
    released,
    released_row,
)

NOW = time.time()
A, B = (QuarantineHold(name, "content hook 'av'", "clamav: X", days) for name, days in (("a", 30), ("b", 7)))
_ids = IdSource(0, clock=lambda: NOW)


def held(*holds, sender="eve@else.example", to="ann@a.example", subject="Offer", expires=3600.0):
    message = Message(_ids(), "a", NOW, sender, subject=subject)
    recipient = Recipient(to, quarantines=list(holds or (A,)))
    until = NOW + recipient.quarantines[0].days * DAY
    return Delivery(
        _ids(),
        message,
        "a/a.example",
        [recipient],
        next_at=until,
        expires_at=NOW + expires if expires else 0.0,
        held=True,
        quarantine=recipient.quarantines[0].organization,
    )


class Engine:
    """In memory. lazy: what is to be removed is gone already."""

    def __init__(self, *deliveries, lazy=False):
        self.deliveries = list(deliveries)
        self.lazy = lazy
        self.body = self.usage = self.unlisted = self.note_listed = self.of_recipient = None

    def page(self, wanted, size):
        found = [
            one
            for one in self.deliveries
            if (wanted.organizations is None or one.quarantine in wanted.organizations)
            and one.message.id > wanted.after
            and (one.message.id, one.id) < tuple(wanted.before)
        ]
        return sorted(found, key=lambda one: one.message.id, reverse=True)[: min(size, 2)]

    def expired(self, now, size):
        return [one for one in self.deliveries if one.next_at <= now][:size]

    def release(self, deliveries, now, author):
        return self.remove(deliveries)

    def remove(self, deliveries):
        if self.lazy:
            return []
        self.deliveries = [one for one in self.deliveries if one not in deliveries]
        return list(deliveries)


@pytest.fixture
def rows():
    return []


def quarantine(rows, *deliveries, **options):
    return Quarantine(Engine(*deliveries, **options), rows.extend)


def test_entries_are_found_page_by_page(rows):
    some = [held(subject=f"Offer {number}") for number in range(5)]
    made = quarantine(rows, *some)
    assert made.entries(QuarantineFilter()) == some[::-1]
    assert made.entries(QuarantineFilter(limit=0)) == some[::-1]
    assert made.entries(QuarantineFilter(limit=3)) == some[:1:-1]
    assert made.entries(QuarantineFilter(subject="offer 1")) == [some[1]]
    assert made.entries(QuarantineFilter(message=format_id(some[2].message.id))) == [some[2]]
    assert made.entries(QuarantineFilter(), QuarantinePlace(some[1].message.id, some[1].id)) == some[:1]
    assert made.entries(QuarantineFilter(since=NOW + 60)) == made.entries(QuarantineFilter(until=NOW - 60)) == []
    assert made.entries(QuarantineFilter(organizations=frozenset({"b"}))) == []


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ({}, True),
        ({"sender": "EVE@else.example"}, True),
        ({"sender": "@else.example"}, True),
        ({"sender": "@lse.example"}, False),
        ({"recipient": "ann@a.example"}, True),
        ({"recipient": "joe@a.example"}, False),
        ({"subject": "off"}, True),
        ({"reason": "CLAMAV"}, True),
        ({"reason": "hook 'av'"}, True),
        ({"reason": "rspamd"}, False),
    ],
)
def test_filters(wanted, matches):
    assert QuarantineFilter(**wanted).matches(held()) is matches


def test_what_is_done_is_kept_with_whose_it_was(rows):
    mine, other = held(), held(B)
    made = quarantine(rows, mine, other, held())
    assert made.release(QuarantineFilter(limit=1), author="bob", reason="why") != []
    assert rows[0].detail["why"] == "why"
    assert made.delete(QuarantineFilter(organizations=frozenset({"b"})), author="bob") == [other]
    assert rows[-1].event == "DROP"
    assert (rows[-1].detail["quarantine"], rows[-1].detail["recipient_organization"]) == ("b", "b")
    assert made.delete(QuarantineFilter(subject="no such", limit=5), author="bob") == []
    assert len(rows) == 2


def test_what_is_over_is_removed(rows):
    made = quarantine(rows, held(), held(B))
    assert made.expire(NOW) == 0
    assert made.expire(NOW + 8 * DAY) == 1
    assert made.expire(NOW + 31 * DAY) == 1
    assert {row.detail["expired"] for row in rows} == {True}
    assert quarantine(rows, held(), lazy=True).expire(NOW + 31 * DAY) == 0


def test_a_release_gives_it_to_the_next_or_to_the_queue():
    later = released(held(A, B), NOW + DAY)
    assert (later.quarantine, later.held, later.next_at) == ("b", True, NOW + DAY + 7 * DAY)
    free = released(later, NOW + 2 * DAY)
    assert (free.quarantine, free.held, free.next_at) == ("", False, NOW + 2 * DAY)
    assert free.expires_at == pytest.approx(NOW + 2 * DAY + 3600)
    assert (free.recipients[0].quarantines, free.recipients[0].delayed) == ([], True)
    assert released(held(expires=0), NOW).expires_at == 0
    assert QuarantineUsage() == (0, 0)
    columns = released_row(held(A, B), NOW)
    assert columns[:4] == ("b", True, NOW + 7 * DAY, pytest.approx(NOW + 3600))
    assert columns[5] == 0.0


def test_all_that_is_meant_is_released(rows):
    some = [held() for _ in range(3)]
    assert len(quarantine(rows, *some).release(QuarantineFilter(limit=0), author="bob")) == 3
