"""The hosts of store.url, each asked by itself: a server that is gone must not keep us from the one that took over.

Used by `store.postgres.server`. A machine that died answers nothing at all, so the next host is asked while the first
one is still silent; libraries ask one after the other, and all the time that there is goes to the dead one.

Names are looked up in threads of their own, one question at a time for each. Where DNS does not answer, a question
takes many seconds and cannot be taken back; event loops share four threads for them (libuv), and the name of the
server that took over could not be asked for.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from gatepost.protocols.tls.names import is_ip_address
from gatepost.store.postgres.timelines import newest_of

_running: dict[str, Future[None]] = {}
_lock = threading.Lock()


def host_name_of(url: str) -> str:
    """The name that has to be looked up for a URL of one host; "" for an address, a socket, or what a file names."""
    parts = urlsplit(url)
    name = parts.hostname or parse_qs(parts.query).get("host", [""])[-1]
    return "" if name.startswith("/") or is_ip_address(name) else name


async def wait_for_name(url: str, seconds: float) -> None:
    """Wait until the system knows the name in a URL of one host. Raises OSError if it does not in so many seconds."""
    if name := host_name_of(url):
        async with asyncio.timeout(seconds):
            answer = asyncio.wrap_future(_question(name))
            answer.add_done_callback(_retrieved)
            await asyncio.wait([answer])  # giving up ends it for nobody
            answer.result()


def _retrieved(answer: asyncio.Future[None]) -> None:
    """The loop logs an error that nobody retrieves, as of an answer that came when nobody waited any more."""
    if not answer.cancelled():
        answer.exception()


def _question(name: str) -> Future[None]:
    with _lock:
        if (running := _running.get(name)) is None:
            running = _running[name] = Future()
            running.set_running_or_notify_cancel()  # who gives up waiting ends it for nobody
            threading.Thread(target=_ask, args=(name, running), name=f"look up {name}", daemon=True).start()
    return running


def _ask(name: str, running: Future[None]) -> None:
    failure: OSError | UnicodeError | None = None
    try:
        socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name that no DNS name can be is a UnicodeError
        failure = error
    with _lock:
        _running.pop(name, None)
    running.set_exception(failure) if failure else running.set_result(None)


def _forget_questions() -> None:
    """In a child: the threads are the parent's."""
    global _lock  # noqa: PLW0603 - the parent may have held it
    _running.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_questions)


HEAD_START: Final = 0.5
"""Seconds of silence after which the next host is asked, too."""

_lately: dict[str, str] = {}  # by address: the host that was the right one, which is asked first


def each_host(url: str) -> list[str]:
    """A URL for each host that a URL names, in its order; of several, only the one that takes writes will do.

    A service file may name more: those stay together.
    """
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    query = {"target_session_attrs": "read-write"} | dict(parse_qsl(parts.query))
    if "," in hosts:
        rest = f"{parts.path}?{urlencode(query)}"
        return [f"{parts.scheme}://{user}{at}{host}{rest}" for host in hosts.split(",") if host]
    names, ports = query.get("host", "").split(","), query.get("port", "").split(",")
    if len(names) == 1:
        return [url]
    if len(ports) == 1:
        ports *= len(names)
    queries = [
        query | {"host": name} | ({"port": port} if port else {}) for name, port in zip(names, ports, strict=False)
    ]
    return [f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(query)}" for query in queries]


async def first_to_answer(url: str, connect: Callable[[str], Coroutine[Any, Any, Any]]) -> tuple[Any, list[Exception]]:
    """The first connection that one of the hosts gives, or None; and the errors of the others.

    connect: to one host. It is called with the next one when a host fails or is silent.
    """
    hosts = each_host(url)
    hosts.sort(key=lambda host: host != _lately.get(url))
    if len(hosts) == 1:
        return await _one(hosts[0], connect)
    return await _race(url, hosts, connect)


async def _one(host: str, connect: Callable[[str], Coroutine[Any, Any, Any]]) -> tuple[Any, list[Exception]]:
    try:
        return await connect(host), []
    except Exception as error:  # noqa: BLE001 - the caller says what it means
        return None, [error]


async def _race(
    url: str, hosts: Sequence[str], connect: Callable[[str], Coroutine[Any, Any, Any]]
) -> tuple[Any, list[Exception]]:
    """A process that has used none yet hears all: an older primary that came back may be the first to answer."""
    loop = asyncio.get_running_loop()
    running: dict[asyncio.Task[Any], str] = {}
    connected: dict[Any, str] = {}
    errors: list[Exception] = []
    waiting = list(hosts)
    try:
        while (waiting or running) and not (connected and url in _lately):
            next_ones = waiting if connected else waiting[:1]
            waiting = waiting[len(next_ones) :]
            running |= {loop.create_task(connect(host)): host for host in next_ones}
            pause = HEAD_START if waiting or connected else None
            done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if connected and not done:
                break
            for task in done:
                host = running.pop(task)
                try:
                    connected[task.result()] = host
                except Exception as error:  # noqa: BLE001 - the caller says what it means
                    errors.append(error)
        return _chosen(url, connected), errors
    except BaseException:
        for connection in connected:
            connection.terminate()
        raise
    finally:
        for task in running:
            task.add_done_callback(_give_up)
            task.cancel()


def _chosen(url: str, connected: dict[Any, str]) -> Any:
    """The connection to the server that took over last, None if there is none; the others are ended."""
    if not connected:
        return None
    chosen = newest_of(connected)
    for other in connected:
        if other is not chosen:
            other.terminate()
    _lately[url] = connected[chosen]
    return chosen


def others(url: str) -> list[str]:
    """Of several hosts those that were not the right one lately, each as a URL."""
    hosts = each_host(url)
    return [host for host in hosts if host != _lately.get(url)] if len(hosts) > 1 else []


def _give_up(task: asyncio.Task[Any]) -> None:
    """Who comes too late is not needed."""
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()
