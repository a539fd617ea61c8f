from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditFilter
from gatepost.manage.use_cases.client import LocalClient, all_items
from gatepost.manage.use_cases.queue import (
    GetQueued,
    ListQueue,
    ListWaitingDestinations,
    get_queued,
    list_queue,
    list_waiting_destinations,
    read_queued,
)
from gatepost.manage.use_cases.queue_actions import RETURN_TEXT, QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import TraceFilter
from gatepost.store.queue_admin import SORTS
from gatepost.store.sqlite.message_trace import search_trace
from gatepost.store.sqlite.schema import QUEUE_FILE
from gatepost.store.storage import Storage

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
    return " ".join(one.recipients[0].address[0] for one in found)


def entries(gateway, who, **wanted):
    return list(all_items(LocalClient(gateway, who).call, list_queue, ListQueue(**wanted)))


def act(gateway, who, action, *, dry_run=False, **given):
    given = {"all": True, "reason": "x" * (action is QueueAction.DROP)} | given
    return LocalClient(gateway, who).call(act_on_queue, QueueActions(action=action, **given), dry_run=dry_run)


def get(gateway, who, message):
    return LocalClient(gateway, who).call(get_queued, GetQueued(message=message)).items


def read(gateway, who, message):
    return b"".join(LocalClient(gateway, who).call(read_queued, GetQueued(message=message)).chunks)


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
    assert names(entries(gateway, who, **wanted)) == expected


@pytest.mark.parametrize(("who", "expected"), [(OWNER, ["contoso", {"connector": "c"}]), (FABRIKAM, ["fabrikam", {}])])
def test_a_message_for_several_shows_nobody_what_is_anothers(gateway, who, expected):
    found = get(gateway, who, gateway.ids[2])
    message = found[-1].message
    assert [message.organization, message.inbound] == expected
    assert message.id == gateway.ids[2]
    assert ("contoso" in str(found)) is (who is OWNER)


def test_pages_go_on_where_the_one_before_ended(gateway, queued):
    queued(gateway.data, {"contoso": ["e@contoso.example"]}, {"contoso": ["f@contoso.example"]}, shard=1)
    found, after = [], ""
    while after is not None:
        page = LocalClient(gateway, OWNER).call(list_queue, ListQueue(limit=2, after=after))
        found.append(names(page.items))
        after = page.after
    assert found == ["a b", "c d", "e f"]


def test_the_oldest_is_first_whichever_worker_has_it(gateway, queued):
    for shard, address in ((1, "e"), (0, "f"), (1, "g"), (0, "h")):
        queued(gateway.data, {"contoso": [f"{address}@contoso.example"]}, shard=shard)
    assert names(entries(gateway, OWNER)) == "a b c d e f g h"
    assert names(LocalClient(gateway, OWNER).call(list_queue, ListQueue(limit=5)).items) == "a b c d e"


@pytest.mark.parametrize("name", SORTS)
@pytest.mark.parametrize("way", ["", "-"])
def test_pages_go_on_in_every_order(gateway, name, way):
    sort, found, after = way + name, [], ""
    while after is not None:
        page = LocalClient(gateway, OWNER).call(list_queue, ListQueue(limit=1, sort=sort, after=after))
        found += page.items
        after = page.after
    assert found == entries(gateway, OWNER, sort=sort)
    assert len(found) == 4


@pytest.mark.parametrize("who", [CONTOSO, NOBODY])
def test_anothers_message_is_not_there(gateway, who):
    with pytest.raises(Refusal) as caught:
        get(gateway, who, gateway.ids[1])
    with pytest.raises(Refusal) as missing:
        get(gateway, who, NO_ID)
    assert caught.value.kind is missing.value.kind is RefusalKind.MISSING
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
    meant = {"messages": [gateway.ids[place] for place in places], "all": not places and not wanted, **wanted}
    tried = act(gateway, who, QueueAction.HOLD, dry_run=True, **meant)
    assert names(entries(gateway, OWNER, held=True)) == ""
    done = act(gateway, who, QueueAction.HOLD, **meant)
    assert (tried.dry_run, done.dry_run) == (True, False)
    assert (tried.changed, tried.messages, tried.items) == (done.changed, done.messages, done.items)
    assert done.messages == len({one.message.id for one in done.items})
    assert names(done.items) == expected
    assert names(entries(gateway, OWNER, held=True)) == expected
    rows = search_trace(gateway.data / "trace", TraceFilter(event="HOLD"))
    assert sorted(row.recipient[0] for row in rows) == expected.split()
    assert all(row.organization == row.recipient.partition("@")[2].partition(".")[0] for row in rows)
    assert all(row.detail["author"] == who.name for row in rows)


def test_wrong_ids_change_nothing_and_are_all_named(gateway):
    for dry_run in (True, False):
        with pytest.raises(Refusal) as caught:
            act(gateway, OWNER, QueueAction.DROP, messages=[gateway.ids[0], "1", "x"], dry_run=dry_run)
        assert caught.value.kind is RefusalKind.INPUT
        assert [error.path for error in caught.value.errors] == ["messages[1]", "messages[2]"]
    assert len(entries(gateway, OWNER)) == 4


def test_what_cannot_be_asked(gateway):
    for ask in (get, read):
        with pytest.raises(Refusal) as caught:
            ask(gateway, OWNER, "x")
        assert caught.value.kind is RefusalKind.INPUT
        with pytest.raises(Refusal) as gone:
            ask(gateway, OWNER, NO_ID)
        assert gone.value.kind is RefusalKind.MISSING


def test_whose_it_is_to_read(gateway, queued):
    """The third came to both, and is contoso's."""
    first, second, third = gateway.ids
    assert read(gateway, OWNER, second) == b""
    assert read(gateway, CONTOSO, third) == b""
    for who, message in ((FABRIKAM, third), (FABRIKAM, first), (CONTOSO, second), (NOBODY, first)):
        with pytest.raises(Refusal) as refused:
            read(gateway, who, message)
        assert refused.value.kind is RefusalKind.MISSING
    (big,) = queued(gateway.data, {"contoso": ["a@contoso.example"], "body": b"Subject: x\r\n\r\n" + b"x" * 300_000})
    assert len(read(gateway, CONTOSO, big)) == 300_014


def test_a_queue_that_cannot_be_read(gateway):
    (gateway.data / "queue" / "0" / QUEUE_FILE).write_bytes(b"no database" * 500)
    for ask in (
        lambda: entries(gateway, OWNER),
        lambda: act(gateway, OWNER, QueueAction.RETRY),
        lambda: act(gateway, OWNER, QueueAction.RETRY, dry_run=True),
        lambda: counted(gateway, OWNER),
        lambda: read(gateway, OWNER, gateway.ids[0]),
    ):
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.kind is RefusalKind.UNREADABLE


def counted(gateway, who, **wanted):
    return LocalClient(gateway, who).call(list_waiting_destinations, ListWaitingDestinations(**wanted)).items


# who, filter -> destination: all, held, oldest
COUNTED = [
    (OWNER, {}, {"contoso.example": (2, 1), "fabrikam.example": (2, 0)}),
    (CONTOSO, {}, {"contoso.example": (2, 1)}),
    (NOBODY, {}, {}),
    (OWNER, {"state": "held"}, {"contoso.example": (1, 1)}),
    (FABRIKAM, {"recipient": "d@fabrikam.example"}, {"fabrikam.example": (1, 0)}),
]


@pytest.mark.parametrize(("who", "wanted", "expected"), COUNTED)
def test_what_waits_is_counted_by_destination(gateway, queued, who, wanted, expected):
    act(gateway, OWNER, QueueAction.HOLD, recipient="a@contoso.example")
    found = counted(gateway, who, **wanted)
    assert {one.destination: (one.count, one.held) for one in found} == expected
    assert all(one.active + one.deferred + one.held == one.count for one in found)
    oldest = {one.destination: one.oldest_message for one in found if not wanted}
    assert all(oldest[name] == gateway.ids[0 if name.startswith("con") else 1] for name in oldest)
    queued(gateway.data, {"fabrikam": ["e@fabrikam.example"]}, shard=1)
    (first, *_) = counted(gateway, OWNER)
    assert (first.organization, first.destination, first.count) == ("fabrikam", "fabrikam.example", 3)


def test_returned_mail_says_who_what_and_why(gateway):
    wanted = {"recipient": "a@contoso.example"}
    (found,) = act(gateway, CONTOSO, QueueAction.RETURN, **wanted, reason="ticket", text="Closed").items
    assert found.returned_by == "", "as it was"
    (entry,) = entries(gateway, OWNER, **wanted)
    assert entry.returned_by == "con"
    (event,) = search_trace(gateway.data / "trace", TraceFilter(event="RETURN"))
    assert (event.organization, event.detail["author"], event.detail["why"]) == ("contoso", "con", "ticket")
    assert event.detail["text"] == "Closed"
    assert act(gateway, FABRIKAM, QueueAction.RETURN, **wanted).items == []
    act(gateway, OWNER, QueueAction.RETURN, recipient="b@fabrikam.example")
    (event,) = search_trace(gateway.data / "trace", TraceFilter(event="RETURN", organization="fabrikam"))
    assert event.detail["text"] == RETURN_TEXT


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
        act(gateway, OWNER, QueueAction.RETURN, **texts)
    assert (refused.value.kind, [one.path for one in refused.value.errors]) == (RefusalKind.INPUT, [field])
    assert all(one.returned_by == "" for one in entries(gateway, OWNER))
    act(gateway, OWNER, QueueAction.HOLD, reason="Gr\u00fcnde")


def test_nothing_is_dropped_without_a_reason_or_by_who_names_no_mail(gateway):
    for given, field in (({"reason": " "}, "reason"), ({"all": False, "reason": "x"}, "messages")):
        with pytest.raises(Refusal) as refused:
            act(gateway, OWNER, QueueAction.DROP, **given)
        assert [one.path for one in refused.value.errors] == [field]
    assert act(gateway, OWNER, QueueAction.DROP, reason="", dry_run=True).changed == 4
    assert act(gateway, OWNER, QueueAction.DROP, all=False, state="deferred", domain="fabrikam.example").changed == 2


def test_the_audit_says_that_an_action_on_nothing_changed_nothing(gateway):
    for _ in range(2):
        act(gateway, OWNER, QueueAction.DROP, messages=gateway.ids[:1], all=False)
    with closing(Accounts(Storage(SQLITE, gateway.data))) as accounts:
        events = accounts.audit_events(OWNER, AuditFilter())
    assert [event.detail["deliveries"] for event in events] == [0, 1]
