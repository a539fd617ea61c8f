from __future__ import annotations

import asyncio

import pytest

from gatepost.net.lookups.return_watch import ReturnWatch


class Resolver:
    """why: of `trouble`. asked: how often. roots: how often about DNSSEC."""

    def __init__(self):
        self.why, self.failing, self.asked = "", False, 0
        self.in_doubt, self.roots = False, 0

    async def dnssec_fault(self):
        self.in_doubt = False
        self.roots += 1

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


@pytest.mark.parametrize("failing", [False, True])
def test_a_return_is_told_again_as_resolvers_ask_some_authorities_later(it, failing):
    it.resolver.failing, it.resolver.why = True, "SERVFAIL"
    it.look()
    it.resolver.why = ""
    began, at = it.now, []
    while it.now < began + 3600:
        it.resolver.failing = failing
        before, now = it.told, it.now - began
        if it.look() > before:
            at.append(now)
    assert at == [0.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0]


def test_nothing_is_told_again_while_none_answers(it):
    it.resolver.failing, it.resolver.why = True, "SERVFAIL"
    it.look()
    it.resolver.why = ""
    it.look()
    it.resolver.failing, it.resolver.why = True, "SERVFAIL"
    for _ in range(60):
        it.look()
    assert it.told == 1
    it.resolver.why = ""
    assert it.look() == it.look() == 2
    it.now += 60.0
    assert it.look() == 3


def test_one_that_comes_and_goes_is_told_of_once_a_minute(it):
    for _ in range(3):
        it.resolver.failing, it.resolver.why = True, "SERVFAIL"
        it.look()
        it.resolver.why = ""
        it.look()
    assert it.told == 1
    it.now += 60.0
    assert it.look() == 2


def test_a_zone_that_is_not_signed_makes_it_ask_for_the_root_alone(it):
    it.resolver.in_doubt = True
    assert it.look() == 0
    assert (it.resolver.asked, it.resolver.roots) == (0, 1)
    it.look()
    assert it.resolver.roots == 1
