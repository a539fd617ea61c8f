"""Wait for the address of a database host: one question at a time for each name, in a thread of its own.

Used by `store.postgres.server` before it connects. Where DNS does not answer, a question takes many seconds and cannot
be taken back. Event loops share four threads for such questions (libuv): each attempt to reach a server that is gone
would take one, and the name of the server that took over could not be asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import threading
from concurrent.futures import Future
from urllib.parse import parse_qs, urlsplit

_running: dict[str, Future[None]] = {}
_lock = threading.Lock()


def host_name_of(url: str) -> str:
    """The name that has to be looked up for a URL of one host; "" for an address, a socket, or what a file names."""
    parts = urlsplit(url)
    name = parts.hostname or parse_qs(parts.query).get("host", [""])[-1]
    if name.startswith("/"):
        return ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name
    return ""


async def wait_for_name(url: str, seconds: float) -> None:
    """Wait until the system knows the name in a URL of one host. Raises OSError if it does not in so many seconds."""
    if name := host_name_of(url):
        async with asyncio.timeout(seconds):
            await asyncio.shield(asyncio.wrap_future(_question(name)))


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
