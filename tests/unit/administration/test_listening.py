from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest

from gatepost.administration import listening
from gatepost.administration.listening import Found, Listening
from gatepost.settings.model import Settings


@contextmanager
def server(says, *, hears=False):
    """Says so to whoever connects, after it heard something if it `hears`. None says nothing and holds the line."""
    ended = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.05)

        def serve():
            while not ended.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(10)
                        if hears:
                            connection.recv(1000)
                        if says is None:
                            ended.wait(10)
                        else:
                            connection.sendall(says)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(10)


def settings(*listeners, **more):
    given = {"server": {"hostname": "mx.gate.example", "data_dir": "/nowhere"}}
    given["listener"] = [{"role": role, "address": address} for role, address in listeners]
    return Settings.model_validate(given | more)


def unused():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("says", "ok", "detail"),
    [
        (b"220 mx ESMTP\r\n", True, "220 mx ESMTP"),
        (b"421 4.3.2 Busy\r\n", False, "421 4.3.2 Busy"),
        (b"", False, "closes the connection without a word"),
    ],
)
def test_what_a_listener_says(says, ok, detail):
    with server(says) as address:
        assert Listening(settings(("mx", address))).look() == [Found(f"mx {address}", ok, detail)]


def test_a_listener_everywhere_is_asked_on_loopback():
    with server(b"220 mx\r\n") as address:
        everywhere = address.replace("127.0.0.1", "0.0.0.0")
        assert Listening(settings(("mx", everywhere))).look() == [Found(f"mx {everywhere}", True, "220 mx")]


def test_nobody_listens():
    address = unused()
    (found,) = Listening(settings(("mx", address))).look()
    assert found == Found(f"mx {address}", False, "does not answer: Connection refused")
    assert Listening(settings()).look() == []


def test_silent_listeners_are_waited_for_side_by_side(monkeypatch):
    monkeypatch.setattr(listening, "_PATIENCE", 0.6)
    with server(None) as one, server(None) as two, server(b"220 mx\r\n") as three:
        begun = time.monotonic()
        found = Listening(settings(("mx", one), ("mx", two), ("mx", three))).look()
        took = time.monotonic() - begun
    assert [(one.ok, one.detail) for one in found] == [(False, "does not answer: timed out")] * 2 + [(True, "220 mx")]
    assert took < 1.15, "one after the other would take twice the patience"


def test_a_look_is_good_for_a_moment(monkeypatch):
    with server(b"220 mx\r\n") as address:
        looking = Listening(settings(("mx", address)))
        first = looking.look()
    assert looking.look() == first
    monkeypatch.setattr(listening, "_FRESH", -1.0)
    assert looking.look()[0].ok is False


@pytest.mark.parametrize(
    ("says", "ok", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "serves metrics"),
        (b"HTTP/1.1 503 No\r\n\r\n", False, "does not answer as it should"),
    ],
)
def test_metrics(says, ok, detail):
    with server(says, hears=True) as address:
        looking = Listening(settings(metrics={"address": address}))
        assert looking.look() == [Found(f"metrics {address}", ok, detail)]
