from __future__ import annotations

import pytest

from gatepost.manage.remote import queue
from gatepost.manage.use_cases import queue as here
from gatepost.manage.use_cases.queue import QueueAction, entry_record
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.store.interface import QueueFilter

from .conftest import OWNER


def records(found):
    return [entry_record(one, OWNER) for one in found]


@pytest.mark.parametrize(
    "wanted", [{}, {"limit": 2}, {"limit": 0}, {"held": True}, {"sender": "@contoso.example"}, {"organization": "x"}]
)
def test_lists_are_the_same(there, wanted):
    found = queue.entries(there, QueueFilter(**wanted))
    assert records(found) == records(here.entries(there.api.gateway, OWNER, QueueFilter(**wanted)))


def test_a_message_is_the_same(there):
    wanted = QueueFilter(message=there.api.ids[0])
    assert records(queue.message_entries(there, wanted)) == records(
        here.message_entries(there.api.gateway, OWNER, wanted)
    )


@pytest.mark.parametrize(("identity", "kind"), [("not/an id", Kind.INPUT), ("00000000000000", Kind.MISSING)])
def test_a_message_that_is_not_there(there, identity, kind):
    wanted = QueueFilter(message=identity)
    for refusing in (
        lambda: queue.message_entries(there, wanted),
        lambda: here.message_entries(there.api.gateway, OWNER, wanted),
    ):
        with pytest.raises(Refusal) as refused:
            refusing()
        assert refused.value.kind is (Kind.INPUT if identity.startswith("not") else refused.value.kind)


def test_a_message_is_read_there(there, queued):
    content = b"Subject: x\r\n\r\n" + bytes(range(256)) * 3000
    (private,) = queued(there.api.gateway.data, {"contoso": ["x@bank.example"], "body": content}, shard=1)
    assert b"".join(queue.message_body(there, private)) == content
    for wrong, kind in (("not/an id", Kind.INPUT), ("0000000000000001", Kind.MISSING)):
        with pytest.raises(Refusal) as refused:
            queue.message_body(there, wrong)
        assert refused.value.kind is kind


def test_actions_are_done_there(there):
    first, _, last = there.api.ids
    held = queue.acted(there, QueueAction.HOLD, QueueFilter(), messages=(first,))
    assert (held.changed, len(held.shown)) == (1, 1)
    (entry,) = here.entries(there.api.gateway, OWNER, QueueFilter(held=True))
    assert entry.delivery.held
    assert records(queue.entries(there, QueueFilter(held=True))) == records([entry])
    assert queue.acted(there, QueueAction.DROP, QueueFilter(domain="hidden.example")).changed == 1
    assert queue.acted(there, QueueAction.DROP, QueueFilter(domain="hidden.example")).changed == 0
    assert queue.acted(there, QueueAction.RETRY, QueueFilter()).changed == 1, "what is held stays"
    with pytest.raises(Refusal):
        queue.message_entries(there, QueueFilter(message=last))
