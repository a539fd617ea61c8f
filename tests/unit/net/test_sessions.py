from __future__ import annotations

from gatepost.net.sessions import ChainMemory, SessionCache


def entry(number):
    return f"session {number}"


def test_the_least_recently_used_session_goes_first():
    cache = SessionCache(limit=2)
    one, two, three = (("a", ""), ("b", ""), ("b", "mail.b.example"))
    cache.keep(one, entry(1))
    cache.keep(two, entry(2))
    assert cache.find(one) == entry(1)
    cache.keep(three, entry(3))
    assert (cache.find(one), cache.find(two), cache.find(three), len(cache)) == (entry(1), None, entry(3), 2)


def test_a_newer_session_replaces_the_older():
    cache = SessionCache(limit=2)
    cache.keep(("a", ""), entry(1))
    cache.keep(("a", ""), entry(2))
    assert (cache.find(("a", "")), len(cache)) == (entry(2), 1)


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
