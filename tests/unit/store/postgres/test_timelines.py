from __future__ import annotations

import asyncio

import asyncpg
import pytest

from gatepost.store.postgres import timelines
from gatepost.store.postgres.timelines import (
    OlderPrimaryError,
    admit,
    newest_of,
    note_older,
    note_used,
    older_primaries,
)

URL = "postgresql://a,b/gatepost"


class Connection:
    def __init__(self, timeline, system=7):
        self.told = system, timeline
        self.terminated = False

    async def fetchrow(self, _statement):
        if isinstance(self.told[1], Exception):
            raise self.told[1]
        return self.told

    def terminate(self):
        self.terminated = True


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    for name in ("_newest", "_used", "_older"):
        monkeypatch.setattr(timelines, name, {})


def test_one_that_took_over_ends_the_connections_to_the_one_before():
    old, other, new = Connection(1), Connection(1), Connection(2)

    async def scene():
        await admit(old, URL)
        await admit(other, "postgresql://c/gatepost")
        await admit(new, URL)
        await asyncio.sleep(0)
        assert (old.terminated, other.terminated, new.terminated) == (True, False, False)
        assert newest_of([old, new, other]) is new
        assert newest_of([other, new]) is other, "not one of the other's servers"
        with pytest.raises(OlderPrimaryError) as found:
            await admit(Connection(1), URL)
        assert (found.value.timeline, found.value.newest) == (1, 2)
        await admit(Connection(2), URL)
        await admit(Connection(0), URL)  # a standby, where the URL takes one

    asyncio.run(scene())


def test_a_cluster_of_its_own_begins_at_1_again(caplog):
    """As pg_upgrade makes one, and a restore of a dump: the processes go on."""

    async def scene():
        before, upgraded = Connection(3), Connection(1, system=8)
        await admit(before, URL)
        note_used(before, URL)
        await admit(upgraded, URL)
        note_used(upgraded, URL)
        await asyncio.sleep(0)
        assert not before.terminated
        with pytest.raises(OlderPrimaryError):
            await admit(Connection(2), URL)

    asyncio.run(scene())
    assert not caplog.records


@pytest.mark.parametrize("kind", [asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError])
def test_a_server_that_tells_no_timeline_is_used(kind):
    async def scene():
        await admit(Connection(2), URL)
        silent = Connection(kind("not here"))
        await admit(silent, URL)
        note_used(silent, URL)
        assert newest_of([silent]) is silent

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


def test_older_primaries_are_known_until_they_are_stopped():
    error = OlderPrimaryError(1, 2)
    assert note_older("a", "PostgreSQL at a", error)
    assert older_primaries(["a", "b"]) is None  # as after a start: whether an alarm is over is not known
    assert not note_older("a", "PostgreSQL at a", OlderPrimaryError(1, 3))
    assert not note_older("b", "PostgreSQL at b", OSError())
    assert older_primaries(["a", "b"]) == [("PostgreSQL at a", 1, 3)]
    assert not note_older("a", "", None)
    assert older_primaries(["a", "b"]) == older_primaries([]) == []
    assert note_older("a", "PostgreSQL at a", error)
