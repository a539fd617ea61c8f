"""The hosts of store.url, each asked by itself: a server that is gone must not keep us from the one that took over.

Used by `store.postgres.server`. A machine that died answers nothing at all, so the next host is asked while the first
one is still silent; libraries ask one after the other, and all the time that there is goes to the dead one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

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
    loop = asyncio.get_running_loop()
    running: dict[asyncio.Task[Any], str] = {}
    errors: list[Exception] = []
    waiting = list(hosts)
    try:
        while waiting or running:
            if waiting:
                host = waiting.pop(0)
                running[loop.create_task(connect(host))] = host
            pause = HEAD_START if waiting else None
            done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                host = running.pop(task)
                try:
                    connection = task.result()
                except Exception as error:  # noqa: BLE001 - the caller says what it means
                    errors.append(error)
                else:
                    _lately[url] = host
                    return connection, errors
        return None, errors
    finally:
        for task in running:
            task.add_done_callback(_give_up)
            task.cancel()


def _give_up(task: asyncio.Task[Any]) -> None:
    """Who comes too late is not needed."""
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()
