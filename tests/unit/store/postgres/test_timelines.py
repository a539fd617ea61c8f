from __future__ import annotations

import asyncio

import pytest

from gatepost.store.postgres import timelines
from gatepost.store.postgres.timelines import OlderPrimaryError, admit, note_used, timeline_of

URL = "postgresql://a,b/gatepost"


class Connection:
    def __init__(self, timeline):
        self.timeline = timeline
        self.terminated = False

    async def fetchval(self, _statement):
        return self.timeline

    def terminate(self):
        self.terminated = True


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    for name in ("_newest", "_used"):
        monkeypatch.setattr(timelines, name, {})


def test_one_that_took_over_ends_the_connections_to_the_one_before():
    old, other, new = Connection(1), Connection(1), Connection(2)

    async def scene():
        await admit(old, URL)
        await admit(other, "postgresql://c/gatepost")
        await admit(new, URL)
        await asyncio.sleep(0)
        assert (old.terminated, other.terminated, new.terminated) == (True, False, False)
        assert (timeline_of(old), timeline_of(new), timeline_of(Connection(3))) == (1, 2, 0)
        with pytest.raises(OlderPrimaryError) as found:
            await admit(Connection(1), URL)
        assert (found.value.timeline, found.value.newest) == (1, 2)
        await admit(Connection(2), URL)
        await admit(Connection(0), URL)  # a standby, where the URL takes one

    asyncio.run(scene())


def test_a_change_of_the_server_that_is_used_is_logged_once(caplog):
    async def scene():
        for timeline in (1, 1, 2, 2):
            connection = Connection(timeline)
            await admit(connection, URL)
            note_used(connection, URL)

    asyncio.run(scene())
    (record,) = caplog.records
    assert "another server took over (timeline 2, before: 1)" in record.message
