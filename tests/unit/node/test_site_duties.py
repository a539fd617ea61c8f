from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.node.assembly import Assembly
from gatepost.node.site_duties import SiteDuties
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import Settlement
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.storage import Storage

SENDING = {
    "tls_reports": {
        "send": True,
        "organization_name": "Contoso",
        "contact": "tls@contoso.example",
        "mail_from": "reports@contoso.example",
    }
}


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"trace": {"days": 0}}, ["the clock", "alarms", "TLS reports of others", "the quarantine"]),
        ({}, ["the clock", "alarms", "TLS reports of others", "the quarantine", "retention of the trace"]),
        (
            SENDING,
            [
                "the clock",
                "alarms",
                "TLS reports of others",
                "the quarantine",
                "retention of the trace",
                "TLS reports of ours",
            ],
        ),
    ],
    ids=["for ever", "usual", "sending"],
)
def test_what_one_worker_does_for_others(home, sections, names):
    async def run():
        assembly = await Assembly.build(home.settings(**sections), 0, 1, [])
        try:
            parts = list(assembly._duties(assembly._stores[0], assembly._managers[0]).parts())
            assert [part.name for part in parts] == names
            assert all(part.lease is not None and part.lease.held for part in parts)
            assert [len(part.duties) for part in parts] == [1] * len(parts)
            assert set(names) <= {part.name for part in assembly.parts._parts}
        finally:
            await assembly.parts.close(0.5)

    asyncio.run(asyncio.wait_for(run(), 20))


async def _wait_in(queue, worker, reason):
    """Accept a message by this worker, that waits for this reason; "" if it was not tried yet."""
    store: Any = await SqliteStore.open(
        queue / str(worker), trace=SqliteTrace(queue.parent / "trace").sink, worker=worker
    )
    nobody = dict.fromkeys(("offer", "administered", "failed"), id)
    store.attach(SimpleNamespace(**nobody))
    try:
        message = Message(store.new_id(), "contoso", time.time(), "bob@contoso.example")
        delivery = Delivery(store.new_id(), message, "contoso/partner.example", [Recipient("ann@partner.example")])
        body, stored = store.body(), asyncio.get_running_loop().create_future()
        body.write(b"hello\r\n")
        store.accept(message, [delivery], body, stored.set_result)
        assert await stored is None
        if reason:
            store.settle([Settlement(delivery, delivery.recipients, time.time() + 900, reason)])
            await store.flushed()
    finally:
        await store.close()


def test_the_reason_is_that_of_the_oldest_message_whichever_worker_has_it(tmp_path):
    asyncio.run(_wait_in(tmp_path / "queue", 1, "450 4.7.324 DnssecInvalid"))
    asyncio.run(_wait_in(tmp_path / "queue", 0, ""))
    duties: Any = SimpleNamespace(site=SimpleNamespace(storage=Storage(SQLITE, tmp_path)))
    assert SiteDuties._reason(duties, "contoso/partner.example") == "450 4.7.324 DnssecInvalid"
