from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.queue import (
    RETURN_TEXT,
    QueueAction,
    act,
    chosen,
    destinations,
    entries,
    entry_record,
    message_body,
    message_entries,
    place_of,
)
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.interface import QueueFilter, TraceFilter
from gatepost.store.schema import QUEUE_FILE
from gatepost.store.trace_search import search_trace

OWNER = Principal("ann", frozenset(Scope))
CONTOSO = Principal("con", frozenset(Scope), frozenset({"contoso"}))
FABRIKAM = Principal("fab", frozenset(Scope), frozenset({"fabrikam"}))
NOBODY = Principal("no", frozenset(Scope), frozenset())
MESSAGES = (
    {"contoso": ["a@contoso.example"], "sender": "x@out.example"},
    {"fabrikam": ["b@fabrikam.example"]},
    {"contoso": ["c@contoso.example"], "fabrikam": ["d@fabrikam.example"], "facts": {"inbound": {"connector": "c"}}},
)
NO_ID = "0000000000000001"


@pytest.fixture
def gateway(gateway, queued):
    gateway.ids = queued(gateway.data, *MESSAGES)
    return gateway


def names(found):
    return " ".join(one.delivery.recipients[0].address[0] for one in found)


# who, filter -> recipients
SEEN = [
    (OWNER, {}, "a b c d"),
    (CONTOSO, {}, "a c"),
    (FABRIKAM, {}, "b d"),
    (NOBODY, {}, ""),
    (OWNER, {"organization": "CONTOSO"}, "a c d"),  # of the message
    (CONTOSO, {"organization": "CONTOSO"}, "a c"),
    (CONTOSO, {"organization": "fabrikam"}, ""),
    (FABRIKAM, {"organization": "contoso"}, ""),
    (FABRIKAM, {"organization": "fabrikam"}, "b d"),
    (FABRIKAM, {"domain": "contoso.example"}, ""),
    (CONTOSO, {"sender": "@out.example"}, "a"),
    (CONTOSO, {"held": True}, ""),
]


@pytest.mark.parametrize(("who", "wanted", "expected"), SEEN)
def test_everybody_finds_what_is_theirs(gateway, who, wanted, expected):
    assert names(entries(gateway, who, QueueFilter(**wanted))) == expected


@pytest.mark.parametrize(("who", "expected"), [(OWNER, ["contoso", {"connector": "c"}]), (FABRIKAM, ["fabrikam", {}])])
def test_a_message_for_several_shows_nobody_what_is_anothers(gateway, who, expected):
    found = message_entries(gateway, who, QueueFilter(message=gateway.ids[2]))
    message = entry_record(found[-1], who)["message"]
    assert [message["organization"], message["inbound"]] == expected
    assert message["id"] == gateway.ids[2]
    assert ("contoso" in str([entry_record(one, who) for one in found])) is (who is OWNER)


def test_pages_go_on_where_the_one_before_ended(gateway, queued):
    queued(gateway.data, {"contoso": ["e@contoso.example"]}, {"contoso": ["f@contoso.example"]}, shard=1)
    found, after = [], None
    while page := entries(gateway, OWNER, QueueFilter(limit=2), after):
        found.append(names(page))
        after = place_of(page[-1])
    assert found == ["a b", "c d", "e f"]


@pytest.mark.parametrize("who", [CONTOSO, NOBODY])
def test_anothers_message_is_not_there(gateway, who):
    with pytest.raises(Refusal) as caught:
        message_entries(gateway, who, QueueFilter(message=gateway.ids[1]))
    with pytest.raises(Refusal) as missing:
        message_entries(gateway, who, QueueFilter(message=NO_ID))
    assert caught.value.kind is missing.value.kind is Kind.MISSING
    assert caught.value.text.replace(gateway.ids[1], NO_ID) == missing.value.text


# who, filter, messages -> recipients held
HELD = [
    (OWNER, {}, (), "a b c d"),
    (CONTOSO, {}, (), "a c"),
    (CONTOSO, {}, (1, 2), "c"),
    (CONTOSO, {}, (2, 2), "c"),
    (NOBODY, {}, (0,), ""),
    (OWNER, {"domain": "fabrikam.example"}, (0, 2), "d"),
    (OWNER, {}, (0, 2), "a c d"),  # where one is enough, the second message adds none
]


@pytest.mark.parametrize(("who", "wanted", "places", "expected"), HELD)
def test_only_what_is_seen_is_changed(gateway, who, wanted, places, expected):
    messages = [gateway.ids[place] for place in places]
    tried = act(gateway, who, QueueAction.HOLD, QueueFilter(**wanted), messages=messages, dry_run=True)
    asked = chosen(gateway, who, QueueAction.HOLD, QueueFilter(**wanted), messages=messages)
    assert (asked.deliveries, asked.first) == (len(tried), tried)
    assert asked.messages == len({one.delivery.message.id for one in tried})
    few = chosen(gateway, who, QueueAction.HOLD, QueueFilter(**wanted), messages=messages, first=1)
    assert few == asked._replace(first=tried[:1])
    assert names(entries(gateway, OWNER, QueueFilter(held=True))) == ""
    done = act(gateway, who, QueueAction.HOLD, QueueFilter(**wanted), messages=messages)
    assert names(tried) == names(done) == expected
    assert names(entries(gateway, OWNER, QueueFilter(held=True))) == expected
    rows = search_trace(gateway.data / "trace", TraceFilter(event="HOLD"))
    assert sorted(row.recipient[0] for row in rows) == expected.split()
    assert all(row.organization == row.recipient.partition("@")[2].partition(".")[0] for row in rows)
    assert all(row.detail["author"] == who.name for row in rows)


def test_wrong_ids_change_nothing_and_are_all_named(gateway):
    with pytest.raises(Refusal) as caught:
        act(gateway, OWNER, QueueAction.DROP, QueueFilter(), messages=[gateway.ids[0], "1", "x"])
    assert caught.value.kind is Kind.INPUT
    with pytest.raises(Refusal):
        chosen(gateway, OWNER, QueueAction.DROP, QueueFilter(), messages=[gateway.ids[0], "1", "x"])
    assert [error.path for error in caught.value.errors] == ["messages[1]", "messages[2]"]
    assert len(entries(gateway, OWNER, QueueFilter())) == 4


def test_what_cannot_be_asked(gateway):
    for ask in (
        lambda: entries(gateway, OWNER, QueueFilter(message="x")),
        lambda: list(message_body(gateway, OWNER, "x")),
    ):
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.kind is Kind.INPUT
    with pytest.raises(Refusal) as gone:
        list(message_body(gateway, OWNER, NO_ID))
    assert gone.value.kind is Kind.MISSING


def test_whose_it_is_to_read(gateway, queued):
    """The third came to both, and is contoso's."""
    first, second, third = gateway.ids
    assert b"".join(message_body(gateway, OWNER, second)) == b""
    assert b"".join(message_body(gateway, CONTOSO, third)) == b""
    for who, message in ((FABRIKAM, third), (FABRIKAM, first), (CONTOSO, second), (NOBODY, first)):
        with pytest.raises(Refusal) as refused:
            message_body(gateway, who, message)
        assert refused.value.kind is Kind.MISSING
    (big,) = queued(gateway.data, {"contoso": ["a@contoso.example"], "body": b"Subject: x\r\n\r\n" + b"x" * 300_000})
    assert len(b"".join(message_body(gateway, CONTOSO, big))) == 300_014


def test_a_queue_that_cannot_be_read(gateway):
    (gateway.data / "queue" / "0" / QUEUE_FILE).write_bytes(b"no database" * 500)
    for ask in (
        lambda: entries(gateway, OWNER, QueueFilter()),
        lambda: act(gateway, OWNER, QueueAction.RETRY, QueueFilter()),
        lambda: chosen(gateway, OWNER, QueueAction.RETRY, QueueFilter()),
        lambda: list(message_body(gateway, OWNER, gateway.ids[0])),
    ):
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.kind is Kind.UNREADABLE


# who, filter -> destination: all, held, oldest
COUNTED = [
    (OWNER, {}, {"contoso/contoso.example": (2, 1), "fabrikam/fabrikam.example": (2, 0)}),
    (CONTOSO, {}, {"contoso/contoso.example": (2, 1)}),
    (NOBODY, {}, {}),
    (OWNER, {"state": "held"}, {"contoso/contoso.example": (1, 1)}),
    (FABRIKAM, {"recipient": "d@fabrikam.example"}, {"fabrikam/fabrikam.example": (1, 0)}),
]


@pytest.mark.parametrize(("who", "wanted", "expected"), COUNTED)
def test_what_waits_is_counted_by_destination(gateway, queued, who, wanted, expected):
    act(gateway, OWNER, QueueAction.HOLD, QueueFilter(recipient="a@contoso.example"))
    found = destinations(gateway, who, QueueFilter(**wanted, limit=0))
    assert {one.destination: (one.count, one.held) for one in found} == expected
    assert all(one.active + one.deferred + one.held == one.count for one in found)
    assert all(
        one.oldest == int(gateway.ids[0 if one.destination.startswith("con") else 1], 16) for one in found if not wanted
    )
    queued(gateway.data, {"fabrikam": ["e@fabrikam.example"]}, shard=1)
    (first, *_) = destinations(gateway, OWNER, QueueFilter(limit=0))
    assert (first.destination, first.count) == ("fabrikam/fabrikam.example", 3)


def test_returned_mail_says_who_what_and_why(gateway):
    wanted = QueueFilter(recipient="a@contoso.example")
    (found,) = act(gateway, CONTOSO, QueueAction.RETURN, wanted, reason="ticket", text="Closed")
    assert found.delivery.returned is None, "as it was"
    (entry,) = entries(gateway, OWNER, wanted)
    assert (entry.delivery.returned.author, entry.delivery.returned.text) == ("con", "Closed")
    (event,) = search_trace(gateway.data / "trace", TraceFilter(event="RETURN"))
    assert (event.organization, event.detail["author"], event.detail["why"]) == ("contoso", "con", "ticket")
    assert act(gateway, FABRIKAM, QueueAction.RETURN, wanted) == []
    act(gateway, OWNER, QueueAction.RETURN, QueueFilter(recipient="b@fabrikam.example"))
    (entry,) = entries(gateway, OWNER, QueueFilter(recipient="b@fabrikam.example"))
    assert entry.delivery.returned.text == RETURN_TEXT


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ({"text": "Zur\u00fcck"}, "text"),
        ({"text": "a\r\nRCPT TO:<x>"}, "text"),
        ({"text": "x" * 301}, "text"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 301}, "reason"),
    ],
)
def test_texts_that_cannot_be_sent_or_kept_change_nothing(gateway, texts, field):
    with pytest.raises(Refusal) as refused:
        act(gateway, OWNER, QueueAction.RETURN, QueueFilter(), **texts)
    assert (refused.value.kind, [one.path for one in refused.value.errors]) == (Kind.INPUT, [field])
    assert all(one.delivery.returned is None for one in entries(gateway, OWNER, QueueFilter()))
    act(gateway, OWNER, QueueAction.HOLD, QueueFilter(), reason="Gr\u00fcnde")
