from __future__ import annotations

import asyncio
import threading
import tracemalloc

import pytest

from gatepost.manage.web.request_limits import BodyLimit, BodyTooLarge, KnownHosts, LoopbackUntilOwned, read_body
from gatepost.store.interface import StoreBusy

MEBI = 1024 * 1024


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8443", 200),
        ("127.0.0.1:8443", 200),
        ("[::1]:8443", 200),
        ("192.0.2.7", 200),
        ("MX1.contoso.example:8443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
        ("::1]", 421),
        ("[127.0.0.1]:8443", 421),
    ],
)
def test_only_names_of_ours_are_answered(ask, echo, host, status):
    app = KnownHosts(echo, names=["mx1.contoso.example"])
    assert ask(app, headers={"host": host}).status == status


def test_what_is_wrong_with_a_name_is_said(ask, echo):
    answer = ask(KnownHosts(echo, names=[]), "/api/v1/status", headers={"host": "evil.example"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "[admin] names" in answer.text


@pytest.mark.parametrize(
    ("client", "owned", "status"),
    [
        ("127.0.0.1", False, 200),
        ("127.3.2.1", False, 200),
        ("::1", False, 200),
        ("192.0.2.7", False, 403),
        ("2001:db8::1", False, 403),
        ("", False, 403),
        ("192.0.2.7", True, 200),
    ],
)
def test_without_an_owner_only_this_machine_is_answered(ask, echo, client, owned, status):
    assert ask(LoopbackUntilOwned(echo, owned=lambda: owned), client=client).status == status


def test_it_stays_open_once_there_was_an_owner(ask, echo):
    asked = []
    app = LoopbackUntilOwned(echo, owned=lambda: not asked.append(1))
    assert [ask(app, client="192.0.2.7").status for _ in range(3)] == [200] * 3
    assert len(asked) == 1


def test_the_owner_is_looked_up_on_a_thread_and_nobody_is_let_in_unknown(ask, echo):
    threads = []

    def owned():
        threads.append(threading.current_thread())
        raise StoreBusy("PostgreSQL is away")

    app = LoopbackUntilOwned(echo, owned=owned)
    answer = ask(app, "/api/v1/status", client="192.0.2.7")
    assert (answer.status, "PostgreSQL" in answer.text) == (503, False)
    assert ask(app, client="127.0.0.1").status == 200
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/", MEBI, 200),
        ("/", MEBI + 1, 413),
        ("/api/v1", MEBI + 1, 413),
        ("/api/v1/organizations/contoso/hook_trials", 48 * MEBI, 200),
        ("/api/v1/organizations/contoso/hook_trials", 48 * MEBI + 1, 413),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
def test_bodies_are_bounded(ask, echo, path, size, status, announced):
    part = MEBI // 2
    parts = [b"x" * part] * (size // part) + [b"x" * (size % part)]
    headers = {"content-length": str(size)} if announced else {}
    answer = ask(BodyLimit(echo), path, "POST", parts=parts, headers=headers)
    assert answer.status == status
    assert status == 413 or len(answer.body) == size


@pytest.mark.parametrize("length", ["-1", "abc", "1_0", "1e3"])
def test_a_length_that_is_none_is_refused(ask, echo, length):
    assert ask(BodyLimit(echo), method="POST", headers={"content-length": length}).status == 413


def test_a_request_that_says_its_length_twice_is_refused(ask, echo):
    headers = {"content-length": "3", "transfer-encoding": "chunked"}
    answer = ask(BodyLimit(echo), method="POST", body=b"abc", headers=headers)
    assert (answer.status, answer.headers["connection"]) == (400, "close")


def test_an_answer_that_has_begun_is_only_cut(ask):
    async def eager(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["more_body"]:
            pass

    answer = ask(BodyLimit(eager), method="POST", parts=[b"x" * MEBI, b"x", b"x"])
    assert (answer.status, answer.body) == (200, b"")


def arriving(parts, end=None):
    """What a server hands over. end: the last message, if the body ends early."""
    messages = ({"type": "http.request", "body": part, "more_body": True} for part in parts)
    last = end or {"type": "http.request", "body": b"", "more_body": False}

    async def receive():
        return next(messages, last)

    return receive


@pytest.mark.parametrize("parts", [[], [b""], [b"abc"], [b"a", b"", b"bc"], [b"x" * 70_000, b"y", b"z" * 70_000]])
def test_a_body_is_read_whole(parts):
    body = b"".join(parts)
    assert asyncio.run(read_body(arriving(parts), len(body))) == body


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"], [b"x" * 70_000] * 2])
def test_more_than_is_taken_is_too_large(parts):
    with pytest.raises(BodyTooLarge):
        asyncio.run(read_body(arriving(parts), len(b"".join(parts)) - 1))


def test_a_body_that_ends_early_is_none():
    assert asyncio.run(read_body(arriving([b"ab"], {"type": "http.disconnect"}), 9)) is None


def test_a_body_in_small_parts_takes_no_more_memory():
    size, tracing = 1 << 18, tracemalloc.is_tracing()
    receive = arriving(bytes([2 * i % 251, 7]) for i in range(size // 2))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        assert len(asyncio.run(read_body(receive, size)) or b"") == size
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()
    assert taken < 3 * size, taken
