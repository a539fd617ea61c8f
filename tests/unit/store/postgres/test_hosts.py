from __future__ import annotations

import asyncio
import time

import pytest

from gatepost.store.postgres import hosts, server
from gatepost.store.postgres.hosts import each_host, first_to_answer

WRITES = "target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("url", "each"),
    [
        ("postgresql://g@db1/gatepost", ["postgresql://g@db1/gatepost"]),
        ("postgresql:///?service=gatepost", ["postgresql:///?service=gatepost"]),
        (
            "postgresql://g@db1,db2:5433/gatepost?sslmode=verify-full",
            [f"postgresql://g@{host}/gatepost?{WRITES}&sslmode=verify-full" for host in ("db1", "db2:5433")],
        ),
        (
            "postgresql://db1,db2/gatepost?target_session_attrs=primary",
            [f"postgresql://{host}/gatepost?target_session_attrs=primary" for host in ("db1", "db2")],
        ),
        (
            "postgresql:///gatepost?host=db1,db2&port=5432,5433",
            [f"postgresql:///gatepost?{WRITES}&host=db{n}&port=543{n + 1}" for n in (1, 2)],
        ),
        (
            "postgresql:///gatepost?host=db1,db2&port=6000",
            [f"postgresql:///gatepost?{WRITES}&host=db{n}&port=6000" for n in (1, 2)],
        ),
        ("postgresql:///gatepost?host=db1,db2", [f"postgresql:///gatepost?{WRITES}&host=db{n}" for n in (1, 2)]),
    ],
)
def test_each_host_has_an_address_of_its_own(url, each):
    assert each_host(url) == each


class Connection:
    def __init__(self, host):
        self.host = host.partition("//")[2].partition("/")[0]
        self.terminated = False

    def terminate(self):
        self.terminated = True


class Network:
    """answers: by host: seconds until it answers, a host that has to be asked before, or the error that it has."""

    def __init__(self, monkeypatch, **answers):
        monkeypatch.setattr(hosts, "_lately", {})
        monkeypatch.setattr(hosts, "HEAD_START", 0.05)
        self.answers = answers
        self.asked = []
        self.made = []

    async def connect(self, url):
        connection = Connection(url)
        self.asked.append(connection.host)
        answer = self.answers[connection.host]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            while answer not in self.asked:  # noqa: ASYNC110 - a double that knows no event
                await asyncio.sleep(0.01)
            answer = 0.05
        try:
            await asyncio.sleep(answer)
        except asyncio.CancelledError:
            if answer < 100:
                raise  # a library may finish what it began all the same
        self.made.append(connection)
        return connection

    def ask(self, url="postgresql://a,b/gatepost"):
        async def main():
            result = await first_to_answer(url, self.connect)
            await asyncio.sleep(0.01)
            return result

        return asyncio.run(main())


def test_a_silent_host_does_not_keep_us_from_the_next(monkeypatch):
    network = Network(monkeypatch, a=1000, b=0)
    begun = time.monotonic()
    connection, errors = network.ask()
    assert (connection.host, errors) == ("b", [])
    assert time.monotonic() - begun < 5
    assert [one.terminated for one in network.made] == [False, True], "who comes too late is ended"
    connection, _ = network.ask()
    assert (connection.host, network.asked) == ("b", ["a", "b", "b"]), "the right one is asked first from then on"


def test_a_slow_host_is_as_good_if_no_other_answers(monkeypatch):
    refused = OSError("refused")
    connection, errors = Network(monkeypatch, a="b", b=refused).ask()
    assert (connection.host, errors) == ("a", [refused])


def test_the_next_is_asked_at_once_when_one_refuses(monkeypatch):
    network = Network(monkeypatch, a=OSError("refused"), b=0)
    monkeypatch.setattr(hosts, "HEAD_START", 60)
    assert network.ask()[0].host == "b"


def test_if_none_is_right_all_errors_are_told(monkeypatch):
    errors = [OSError("refused"), ValueError("wrong")]
    network = Network(monkeypatch, a=errors[0], b=errors[1])
    assert network.ask() == (None, errors)
    assert network.ask("postgresql://a/gatepost") == (None, errors[:1])
    assert Network(monkeypatch, a=0).ask("postgresql://a/gatepost")[0].host == "a"


def by_name(connections):
    """Doubles have no timeline: the one whose name is last took over last."""
    return max(connections, key=lambda connection: connection.host)


def test_behind_a_silent_host_the_next_is_asked_too_for_the_first_connection(monkeypatch):
    monkeypatch.setattr(hosts, "newest_of", by_name)
    network = Network(monkeypatch, a=0, b=1000, c=0)
    assert network.ask("postgresql://a,b,c/gatepost")[0].host == "c", "a is an old primary"


def test_who_waits_no_longer_leaves_no_connection_behind(monkeypatch):
    network = Network(monkeypatch, a=0, b=1)

    async def scene():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first_to_answer("postgresql://a,b/gatepost", network.connect), 0.05)

    asyncio.run(scene())
    assert [one.terminated for one in network.made] == [True]


def test_of_two_that_take_writes_the_one_that_took_over_last_is_used(monkeypatch):
    monkeypatch.setattr(hosts, "newest_of", by_name)
    network = Network(monkeypatch, a=0, b=0.02)
    assert network.ask()[0].host == "b", "though the old primary is the first, and answers first"
    assert [one.terminated for one in network.made] == [True, False]
    network.ask()
    assert network.asked == ["a", "b", "b"]
    assert hosts.others("postgresql://a,b/gatepost") == [f"postgresql://a/gatepost?{WRITES}"]
    assert hosts.others("postgresql://a/gatepost") == []


def test_the_look_at_other_hosts_goes_on_when_one_hangs_at_its_end(monkeypatch):
    """It answered, and stood still before it was taken leave of."""
    looks = []

    class Hanging:
        async def close(self, **_):
            raise TimeoutError

        def terminate(self):
            looks.append("ended")

    async def connect(host, *_):
        looks.append(host)
        return Hanging()

    monkeypatch.setattr(server, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(server, "_connect_host", connect)
    monkeypatch.setattr(server, "others", lambda url: [url])

    async def scene():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server._watch_others("b"), 0.3)

    asyncio.run(scene())
    assert looks[:4] == ["b", "ended"] * 2
