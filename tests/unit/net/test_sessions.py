from __future__ import annotations

import pytest

from gatepost.net.sessions import MAX_AGE, ChainMemory, SessionCache


def entry(number):
    return f"session {number}"


KEY = ("a", "")


@pytest.fixture
def cache(clock):
    return SessionCache(limit=2, clock=clock)


def found(cache, key=KEY):
    kept = cache.find(key)
    return kept and kept.session


def test_the_least_recently_used_session_goes_first(cache):
    one, two, three = (KEY, ("b", ""), ("b", "mail.b.example"))
    cache.keep(one, entry(1), 1000.0)
    cache.keep(two, entry(2), 1000.0)
    assert found(cache, one) == entry(1)
    cache.keep(three, entry(3), 1000.0)
    assert (found(cache, one), found(cache, two), found(cache, three), len(cache)) == (entry(1), None, entry(3), 2)


def test_a_newer_session_replaces_the_older(cache):
    cache.keep(KEY, entry(1), 1000.0)
    cache.keep(KEY, entry(2), 1000.0)
    assert (found(cache), len(cache)) == (entry(2), 1)
    cache.keep(KEY, entry(3), 999.0)  # of a connection that ran on while another one had a full handshake
    assert found(cache) == entry(2)


def test_a_session_ends_however_often_it_was_resumed(cache, clock):
    cache.keep(KEY, entry(1), 1000.0)
    clock.now += MAX_AGE - 1
    cache.keep(KEY, entry(2), cache.find(KEY).born)
    assert found(cache) == entry(2)
    clock.now += 1
    assert found(cache) is None
    cache.keep(KEY, entry(3), clock.now)
    assert found(cache) == entry(3)


def test_what_was_forgotten_does_not_come_back_when_its_connection_ends(cache, clock):
    cache.keep(KEY, entry(1), 1000.0)
    cache.forget(KEY)
    assert found(cache) is None
    cache.keep(KEY, entry(2), 1000.0)
    assert found(cache) is None
    clock.now += 1
    cache.keep(KEY, entry(3), clock.now)
    assert found(cache) == entry(3)
    for number in range(3):  # what was forgotten has the same bound as what is kept
        cache.forget(("b", str(number)))
    assert len(cache) == 2


def test_a_chain_is_completed_by_its_leaf():
    memory = ChainMemory()
    memory.keep((b"leaf", b"intermediate"))
    memory.keep((b"alone",))
    assert memory.complete((b"leaf",)) == (b"leaf", b"intermediate")
    assert memory.complete((b"alone",)) == (b"alone",)
    assert memory.complete(()) == ()


def test_chains_are_bounded_in_bytes_and_the_oldest_goes():
    memory = ChainMemory(limit=300)
    for name in (b"a", b"b", b"b", b"b"):
        memory.keep((name, b"x" * 100))
    assert memory.complete((b"a",)) == (b"a", b"x" * 100)
    memory.keep((b"c", b"x" * 100))
    assert [len(memory.complete((name,))) for name in (b"a", b"b", b"c")] == [2, 1, 2]
    memory.keep((b"d", b"x" * 1000))
    assert [len(memory.complete((name,))) for name in (b"a", b"c", b"d")] == [1, 1, 1]
    memory.keep((b"e", b"x"))
    assert len(memory.complete((b"e",))) == 2
