from __future__ import annotations

import pytest

from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.queue import GetQueued, ListQueue, get_queued, list_queue, read_queued
from gatepost.manage.use_cases.queue_actions import QueueAction, QueueActions, act_on_queue
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [
        ({}, 0),
        ({}, 2),
        ({"held": True}, 0),
        ({"held": False}, 0),
        ({"sender": "@contoso.example"}, 0),
        ({"state": "held"}, 0),
    ],
)
def test_lists_are_the_same_page_by_page(there, remote, local, monkeypatch, wanted, limit):
    monkeypatch.setattr("gatepost.manage.use_cases.client.MAX_ITEMS", 1)
    found = list(all_items(remote.call, list_queue, ListQueue(**wanted), limit))
    assert found == list(all_items(local.call, list_queue, ListQueue(**wanted), limit))
    assert len(there.calls) == max(1, len(found))


def test_a_message_is_the_same(there, remote, local):
    request = GetQueued(message=there.api.ids[0])
    assert remote.call(get_queued, request) == local.call(get_queued, request)


@pytest.mark.parametrize(
    ("identity", "kind"), [("not/an id", RefusalKind.INPUT), ("0000000000000001", RefusalKind.MISSING)]
)
def test_a_message_that_is_not_there(remote, local, identity, kind):
    for client in (remote, local):
        for case in (get_queued, read_queued):
            with pytest.raises(Refusal) as refused:
                client.call(case, GetQueued(message=identity))
            assert refused.value.kind in {kind, RefusalKind.MISSING}


def test_a_message_is_read_there(there, remote, queued):
    content = b"Subject: x\r\n\r\n" + bytes(range(256)) * 3000
    (private,) = queued(there.api.gateway.data, {"contoso": ["x@bank.example"], "body": content}, shard=1)
    file = remote.call(read_queued, GetQueued(message=private))
    assert (file.name, b"".join(file.chunks)) == (f"{private}.eml", content)


def test_actions_are_done_there(there, remote, local):
    request = QueueActions(action=QueueAction.HOLD, messages=[there.api.ids[0]])
    planned = remote.call(act_on_queue, request, dry_run=True)
    assert planned == local.call(act_on_queue, request, dry_run=True)
    held = remote.call(act_on_queue, request)
    assert (held.changed, len(held.items), planned.items) == (1, 1, held.items)
    (one,) = local.call(list_queue, ListQueue(held=True)).items
    assert one.held
    drop = QueueActions(action=QueueAction.DROP, domain="hidden.example", reason="x")
    assert [remote.call(act_on_queue, drop).changed for _ in range(2)] == [1, 0]


def test_what_is_refused_is_refused_alike(remote, local):
    refusals = []
    for client in (local, remote):
        with pytest.raises(Refusal) as refused:
            client.call(act_on_queue, QueueActions(action=QueueAction.DROP, messages=["x"]))
        refusals.append((refused.value.kind, refused.value.text, refused.value.errors))
    assert refusals[0] == refusals[1]
    assert [one.path for one in refusals[0][2]] == ["messages[0]", "reason"]
