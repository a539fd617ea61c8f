from __future__ import annotations

import asyncio

import pytest

from gatepost.net.lookups.return_watch import ReturnWatch


class Resolver:
    """why: of `trouble`. asked: how often."""

    def __init__(self):
        self.why, self.failing, self.asked = "", False, 0

    async def trouble(self, name):
        assert name == "mx1.contoso.example"
        self.asked += 1
        return self.why


class Scene:
    def __init__(self):
        self.resolver, self.now, self.told = Resolver(), 1000.0, 0
        self.watch = ReturnWatch(self.resolver, "mx1.contoso.example", clock=lambda: self.now)

    def look(self, seconds=10.0):
        """How often a return was told so far."""
        asyncio.run(self.watch.look(self.tell))
        self.now += seconds
        return self.told

    def tell(self):
        self.told += 1


@pytest.fixture
def it():
    return Scene()


def test_a_resolver_that_works_is_left_alone(it):
    assert it.look() == 0
    assert it.resolver.asked == 0


def test_one_name_that_cannot_be_looked_up_is_no_outage(it):
    it.resolver.failing = True
    assert it.look() == 0
    assert (it.resolver.asked, it.resolver.failing) == (1, False)
    assert it.look() == 0
    assert it.resolver.asked == 1


def test_a_return_is_told_once_with_its_length(it, caplog):
    caplog.set_level("INFO")
    it.resolver.failing, it.resolver.why = True, "SERVFAIL"
    assert it.look() == it.look() == 0
    it.resolver.why = ""
    assert it.look() == it.look() == 1
    assert it.resolver.asked == 3
    assert "nameservers answer again, after 20 s; what waits for them is tried now" in caplog.text


def test_one_that_comes_and_goes_is_told_of_once_a_minute(it):
    for _ in range(3):
        it.resolver.failing, it.resolver.why = True, "SERVFAIL"
        it.look()
        it.resolver.why = ""
        it.look()
    assert it.told == 1
    it.now += 60.0
    assert it.look() == 2
