"""Mail that the gateway writes itself answers nobody, brings no notices, and is durable before it is offered."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.mail.model.message import Journal
from gatepost.mail.queue.own_mail import commit, own_deliveries, own_message, path_of, queue_own
from gatepost.policy.decisions.forwarding import Target
from gatepost.store.interface import StoreFailure

CONTENT = b"Subject: hello\r\n\r\nhello\r\n"


def message():
    about = {"notice_about": "test"}
    return own_message(7, "contoso", CONTENT, message_id="7@gate", subject="hello", inbound=about, now=1000.0)


def deliveries(path, journal=None):
    targets = [Target(path("amy@near.example")), Target(path("amy@far.example"), "amy@near.example")]
    return own_deliveries(iter(range(8, 99)).__next__, message(), targets, 2000.0, journal)


class Body:
    """slow: each write has to be awaited."""

    def __init__(self, *, slow):
        self.slow, self.written = slow, b""

    def write(self, chunk):
        self.written += chunk
        return asyncio.sleep(0) if self.slow else None


class Store:
    """failure: why nothing is stored."""

    def __init__(self, failure=None, *, slow=False):
        self.failure, self.the_body, self.accepted = failure, Body(slow=slow), []

    def body(self):
        return self.the_body

    def accept(self, accepted, mail, body, done):
        assert body is self.the_body
        self.accepted.append((accepted, mail))
        done(self.failure)
        done(self.failure)  # a store that says so twice does no harm


def test_an_envelope_answers_nobody():
    made = message()
    assert (made.reverse_path, made.message_id, made.size, made.direction) == (
        "",
        "<7@gate>",
        len(CONTENT),
        "originating",
    )
    assert made.is_notice


def test_each_target_has_a_delivery_of_the_same_organization(path):
    first, second = deliveries(path)
    assert (first.id, first.destination, first.expires_at) == (8, "contoso/near.example", 2000.0)
    assert (second.id, second.destination) == (9, "contoso/far.example")
    assert [delivery.recipients[0].notify for delivery in (first, second)] == ["NEVER", "NEVER"]
    assert [delivery.recipients[0].forwarded_by for delivery in (first, second)] == ["", "amy@near.example"]


def test_a_journal_copy_says_so(path):
    journal = Journal("report")
    assert all(delivery.recipients[0].journal is journal for delivery in deliveries(path, journal))


@pytest.mark.parametrize("slow", [False, True])
def test_what_is_stored_is_offered(path, slow):
    store, offered, mail = Store(slow=slow), [], deliveries(path)
    asyncio.run(queue_own(store, offered.append, message(), mail, CONTENT))
    assert store.the_body.written == CONTENT
    assert offered == [mail]


def test_what_is_not_stored_is_not_offered(path):
    store, offered = Store(StoreFailure("the disk is full")), []
    with pytest.raises(StoreFailure, match="the disk is full"):
        asyncio.run(queue_own(store, offered.append, message(), deliveries(path), CONTENT))
    assert not offered


def test_a_body_written_before_is_stored(path):
    store, mail = Store(), deliveries(path)
    asyncio.run(commit(store, message(), mail, store.the_body))
    assert store.accepted[0][1] is mail


def test_an_address_that_is_none_any_more_has_a_path_all_the_same():
    assert path_of("amy@Near.example").domain == "near.example"
    assert path_of("a b@Near.example").domain == "near.example"
