from __future__ import annotations

import pytest

from gatepost.access.principal import Principal, Scope
from gatepost.administration.queue import (
    QueueAction,
    act,
    entries,
    entry_record,
    message_body,
    message_entries,
    place_of,
)
from gatepost.administration.refusal import Kind, Refusal
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
]


@pytest.mark.parametrize(("who", "wanted", "places", "expected"), HELD)
def test_only_what_is_seen_is_changed(gateway, who, wanted, places, expected):
    messages = [gateway.ids[place] for place in places]
    tried = act(gateway, who, QueueAction.HOLD, QueueFilter(**wanted), messages=messages, dry_run=True)
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
    assert [error.path for error in caught.value.errors] == ["messages[1]", "messages[2]"]
    assert len(entries(gateway, OWNER, QueueFilter())) == 4


def test_what_cannot_be_asked(gateway):
    for ask in (
        lambda: entries(gateway, OWNER, QueueFilter(message="x")),
        lambda: list(message_body(gateway, "x")),
    ):
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.kind is Kind.INPUT
    with pytest.raises(Refusal) as gone:
        list(message_body(gateway, NO_ID))
    assert gone.value.kind is Kind.MISSING


def test_a_queue_that_cannot_be_read(gateway):
    (gateway.data / "queue" / "0" / QUEUE_FILE).write_bytes(b"no database" * 500)
    for ask in (
        lambda: entries(gateway, OWNER, QueueFilter()),
        lambda: act(gateway, OWNER, QueueAction.RETRY, QueueFilter()),
        lambda: list(message_body(gateway, gateway.ids[0])),
    ):
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.kind is Kind.UNREADABLE
