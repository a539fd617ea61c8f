from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future

import pytest

from gatepost.store.postgres import hosts
from gatepost.store.postgres.hosts import host_name_of, wait_for_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://g@db1:5433/gatepost?sslmode=verify-full", "db1"),
        ("postgresql:///gatepost?host=db2", "db2"),
        ("postgresql:///gatepost?host=/run/postgresql", ""),
        ("postgresql://g@127.0.0.1/gatepost", ""),
        ("postgresql://g@[::1]/gatepost", ""),
        ("postgresql:///?service=gatepost", ""),
    ],
)
def test_a_name_is_looked_up_and_nothing_else(url, name):
    assert host_name_of(url) == name


class Names:
    """Stands for the system's resolver: names that are known, and those it never answers for until told."""

    def __init__(self, monkeypatch):
        self.asked: list[str] = []
        self.answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self._ask)

    def _ask(self, name, *_, **__):
        self.asked.append(name)
        if name.startswith("gone"):
            self.answer.wait(20)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return []


def test_a_name_that_nobody_answers_for_is_asked_once_and_keeps_nobody_waiting(monkeypatch):
    names = Names(monkeypatch)

    async def many() -> list[BaseException | None]:
        waiting = [wait_for_name(f"postgresql://gone{number % 2}/x", 0.2) for number in range(20)]
        return await asyncio.gather(*waiting, wait_for_name("postgresql://db2/x", 5), return_exceptions=True)

    begun = time.monotonic()
    results = asyncio.run(many())
    assert time.monotonic() - begun < 5
    assert [type(result) for result in results] == [TimeoutError] * 20 + [type(None)]
    assert sorted(names.asked) == ["db2", "gone0", "gone1"]
    names.answer.set()


def test_an_answer_goes_to_all_who_wait_and_the_next_question_is_new(monkeypatch):
    names = Names(monkeypatch)

    async def two() -> list[BaseException | None]:
        names.answer.clear()
        waiting = asyncio.gather(*(wait_for_name("postgresql://gone/x", 5) for _ in range(2)), return_exceptions=True)
        await asyncio.sleep(0.05)
        names.answer.set()
        return await waiting

    for _ in range(2):
        assert [type(result) for result in asyncio.run(two())] == [socket.gaierror] * 2
    assert names.asked == ["gone", "gone"]


def test_a_child_that_is_forked_during_a_question_asks_its_own(monkeypatch):
    """As a worker is, while the thread of a question has the lock."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    running: Future[None] = Future()
    monkeypatch.setitem(hosts._running, "db2", running)
    with hosts._lock:
        child = os.fork()
        if not child:
            signal.alarm(5)  # a lock that nobody releases
            try:
                asyncio.run(wait_for_name("postgresql://db2/x", 3))
            except BaseException:  # noqa: BLE001 - the child must not go on with the tests
                os._exit(1)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hosts._running == {"db2": running}, "the parent still waits for its own"


def test_an_answer_that_comes_too_late_is_no_error_of_the_loop(monkeypatch):
    names = Names(monkeypatch)
    said: list[dict[str, object]] = []

    async def given_up() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        with pytest.raises(TimeoutError):
            await wait_for_name("postgresql://gone/x", 0.05)
        running = hosts._running["gone"]
        names.answer.set()
        await asyncio.to_thread(running.exception)
        await asyncio.sleep(0.05)
        del running  # it keeps the loop's own future
        gc.collect()

    asyncio.run(given_up())
    assert said == []
