from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gatepost.language import _ as _text
from gatepost.language import in_language
from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.pages import event_stream
from gatepost.manage.pages.event_stream import followed
from gatepost.manage.use_cases.jobs import Job
from gatepost.manage.use_cases.partner import CheckTarget

ANN, BOB = (Principal(name, ROLES[Role.ADMINISTRATOR]) for name in ("ann", "bob"))


class Asker:
    def __init__(self, stays=10_000, principal=ANN):
        self.stays = stays
        self.state = SimpleNamespace(principal=principal)

    async def is_disconnected(self):
        self.stays -= 1
        return self.stays < 0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(event_stream, "_LOOKS", 0.001)


def run():
    stopped = []
    return Job(CheckTarget("b.example"), ANN, lambda: stopped.append(True)), stopped


def read(asker, one, meanwhile=lambda place: None, shown=None):
    """The events of a stream. meanwhile: called after each with its place. shown: what it makes of the run."""

    async def parts():
        found = []
        async for part in followed(asker, one, shown or (lambda: f"<p>{one.result}</p>")).body_iterator:
            found.append(part.decode())
            meanwhile(len(found))
        return found

    return asyncio.run(parts())


def test_each_change_is_an_event_and_the_end_another():
    one, stopped = run()
    steps = {1: lambda: one.progress("more"), 2: lambda: one.end("all")}
    found = read(Asker(), one, lambda place: steps.get(place, lambda: None)())
    assert found == [
        "data: <p>None</p>\n\n",
        "data: <p>more</p>\n\n",
        "data: <p>all</p>\n\n",
        "event: done\ndata: \n\n",
    ]
    assert stopped == [True]


def test_each_event_is_in_the_language_of_who_follows():
    one, _ = run()
    with in_language("sv"):
        found = read(Asker(), one, lambda place: one.end("all") if place == 1 else None, lambda: _text("Queue"))
    assert found[:2] == ["data: Kö\n\n", "data: Kö\n\n"]


def test_it_is_stopped_when_who_started_it_leaves_it():
    one, stopped = run()
    assert read(Asker(stays=3), one) == ["data: <p>None</p>\n\n"]
    assert stopped == [True]


def test_whoever_looks_on_and_leaves_stops_nothing():
    one, stopped = run()
    assert read(Asker(stays=3, principal=BOB), one) == ["data: <p>None</p>\n\n"]
    assert stopped == []


def test_it_goes_on_while_others_follow_it():
    one, stopped = run()
    with one.followed(ANN):
        with one.followed(BOB):
            read(Asker(stays=3), one)
            assert stopped == []
        assert stopped == []
    assert stopped == [True], "the last to leave started it"


def test_it_goes_on_to_its_end_where_the_starter_left_before_others():
    one, stopped = run()
    with one.followed(BOB):
        read(Asker(stays=3), one)
    assert stopped == []


def test_a_stream_that_is_closed_is_left():
    one, stopped = run()

    async def closed():
        parts = followed(Asker(), one, str).body_iterator
        await anext(parts)
        await parts.aclose()

    asyncio.run(closed())
    assert stopped == [True]


def test_a_silent_stream_says_that_it_is_there(monkeypatch):
    monkeypatch.setattr(event_stream, "_PULSE", 2)
    one, _ = run()
    found = read(Asker(), one, lambda place: one.end("all") if place == 2 else None)
    assert found[1] == ": still running\n\n"
    headers = followed(SimpleNamespace(), one, str).headers
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
