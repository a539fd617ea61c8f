from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gatepost.net.lookups.return_watch import RevocationWatch
from gatepost.protocols.tls.facts import Revocation
from gatepost.values import replace


class Scene:
    """status: what is learnt of a chain, by the first of its path; unknown for others. asked: of which, and when."""

    def __init__(self, chain):
        self._chain = chain
        self.now, self.status, self.asked, self.told = 1000.0, {}, [], 0
        self.watch = RevocationWatch(self.check, clock=lambda: self.now)

    async def check(self, chain):
        self.asked.append((chain.path[0], self.now))
        return Revocation(self.status.get(chain.path[0], "unknown"), "so it is")

    def note(self, leaf=b"a"):
        self.watch.note(replace(self._chain("mx.b.example"), path=(leaf, b"root")))

    def look(self, seconds=10.0):
        """How often a return was told so far."""
        self.now += seconds
        asyncio.run(self.watch.look(self.tell))
        return self.told

    def tell(self):
        self.told += 1


@pytest.fixture
def it(chain):
    return Scene(chain)


def test_nothing_is_asked_where_nothing_waits(it):
    assert it.look(900) == 0
    assert it.asked == []


def test_what_is_learnt_is_told_once_with_its_length(it, caplog):
    caplog.set_level("INFO")
    it.note()
    assert it.look(59) == 0
    assert it.asked == [], "its address gets no request within a minute"
    assert it.look(1) == 0
    it.status[b"a"] = "good"
    assert it.look(59) == 0
    assert it.look(1) == 1
    assert it.look(900) == 1
    assert [at for _, at in it.asked] == [1060, 1120]
    assert "revocation is known again, after 120 s; what waits for it is tried now: so it is" in caplog.text


@pytest.mark.parametrize("status", ["good", "revoked", "not-published"])
def test_whatever_is_learnt_ends_the_wait(it, status):
    it.status[b"a"] = status
    it.note()
    assert it.look(60) == 1


def test_a_long_outage_is_asked_about_seldom(it):
    it.note()
    for _ in range(2160):  # six hours
        it.look()
    times = [at - 1000 for _, at in it.asked]
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses[0] == 60
    assert pauses == sorted(pauses)
    assert max(pauses) == 900
    assert len(times) < 45


def test_who_repaired_something_need_not_wait(it):
    it.note()
    it.status[b"a"] = "good"
    it.watch.hurry()
    assert it.look(1) == 1


def test_a_host_that_comes_and_goes_brings_mail_forward_once_a_minute(it):
    told = []
    it.status[b"a"] = "good"
    for _ in range(30):
        it.note()
        it.watch.hurry()
        told.append(it.look())
    assert told[0] == 1
    assert told[5] == 1
    assert told[6] == 2, "what came back meanwhile is not forgotten"
    assert told[-1] == 5


def test_mail_that_waits_again_does_not_hurry_what_is_away(it):
    it.note()
    for _ in range(100):
        it.note()
        it.look()
    assert len(it.asked) < 12


def test_what_no_mail_waits_for_any_more_is_forgotten(it):
    it.note()
    it.look(86400)
    assert len(it.asked) == 1
    it.look(1000)
    asked = len(it.asked)
    assert asked == 2
    it.look(5000)
    assert len(it.asked) == asked


def test_it_remembers_no_more_than_its_limit(it):
    for number in range(200):
        it.note(b"%d" % number)
    it.look(60)
    assert len(it.asked) == 64
