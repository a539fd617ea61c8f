from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager, suppress

import pytest

from gatepost.manage.use_cases import listener_checks
from gatepost.manage.use_cases.listener_checks import ListenerChecks, ServiceStatus
from gatepost.settings.model import Settings


@contextmanager
def server(says, *, hears=False, first=None):
    """Says so to whoever connects, after it heard something if it `hears`. None says nothing and holds the line.

    first: a barrier that it waits for before it says anything.
    """
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
                        if first is not None:
                            with suppress(threading.BrokenBarrierError):
                                first.wait(10)
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
    return Settings(**given | more)


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
        assert ListenerChecks(settings(("mx", address))).run() == [ServiceStatus(f"mx {address}", ok, detail)]


def test_a_listener_everywhere_is_asked_on_loopback():
    with server(b"220 mx\r\n") as address:
        everywhere = address.replace("127.0.0.1", "0.0.0.0")
        assert ListenerChecks(settings(("mx", everywhere))).run() == [ServiceStatus(f"mx {everywhere}", True, "220 mx")]


def test_nobody_listens():
    address = unused()
    (found,) = ListenerChecks(settings(("mx", address))).run()
    assert found == ServiceStatus(f"mx {address}", False, "does not answer: Connection refused")
    assert ListenerChecks(settings()).run() == []


def test_a_silent_listener_is_not_waited_for_longer_than_patience(monkeypatch):
    monkeypatch.setattr(listener_checks, "_PATIENCE", 0.3)
    with server(None) as silent, server(b"220 mx\r\n") as other:
        found = ListenerChecks(settings(("mx", silent), ("mx", other))).run()
    assert (found[0].ok, found[0].detail) == (False, "does not answer: timed out")


def test_listeners_are_asked_side_by_side():
    """Each of them greets once all were called: asked one after the other, the first would be silent for ever."""
    together = threading.Barrier(3)
    with (
        server(b"220 mx\r\n", first=together) as one,
        server(b"220 mx\r\n", first=together) as two,
        server(b"220 mx\r\n", first=together) as three,
    ):
        found = ListenerChecks(settings(("mx", one), ("mx", two), ("mx", three))).run()
    assert [one.detail for one in found] == ["220 mx"] * 3


def test_a_look_is_good_for_a_moment(monkeypatch):
    with server(b"220 mx\r\n") as address:
        looking = ListenerChecks(settings(("mx", address)))
        first = looking.run()
    assert looking.run() == first
    monkeypatch.setattr(listener_checks, "_FRESH", -1.0)
    assert looking.run()[0].ok is False


def test_an_admin_centre_that_was_asked_for_is_missed():
    address = unused()
    (found,) = ListenerChecks(settings(admin={"address": address})).run()
    assert found == ServiceStatus(f"admin {address}", False, "does not answer: Connection refused")


@pytest.mark.parametrize(
    ("says", "ok", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "serves metrics"),
        (b"HTTP/1.1 503 No\r\n\r\n", False, "does not answer as it should"),
    ],
)
def test_metrics(says, ok, detail):
    with server(says, hears=True) as address:
        looking = ListenerChecks(settings(metrics={"address": address}))
        assert looking.run() == [ServiceStatus(f"metrics {address}", ok, detail)]
