from __future__ import annotations

import signal
import socket
import time

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Kind, Memory, Severity, encoded
from gatepost.store.changes import ConfigStore
from gatepost.store.figures import WORKERS_DIRECTORY, WorkerFigures, write_figures
from gatepost.store.sqlite.schema import QUEUE_FILE

SCRIPT = """
import sys
from gatepost.net.listener import bind
from gatepost.node.metrics_host import run_metrics_host
from gatepost.settings.loader import load

sockets = bind("127.0.0.1:0")
print("port", sockets[0].getsockname()[1], flush=True)
print("status", run_metrics_host(load(sys.argv[1], {}), sockets, 1, 0), flush=True)
"""


@pytest.fixture
def serve(run, home):
    """Starts it; the script and the port."""
    home.settings(metrics={"names": ["prometheus.example"]})
    config = ConfigStore(home.data / "config.db")
    standing = Alarm(Kind.QUEUE_AGE, Severity.ERROR, "", "t", "d", "f")
    config.apply({}, author="test", content={ALARMS_CONTENT: encoded(Memory((AlarmStatus(standing, 1.0),)))})
    config.close()
    script = run(SCRIPT, home.file)
    return script, int(script.expect("port").split()[1])


def ask(port, path="/metrics", method="GET", accept="*/*", host="\r\nHost: localhost", version="1.1"):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        stream.sendall(f"{method} {path} HTTP/{version}{host}\r\nAccept: {accept}\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: stream.recv(65536), b"")).partition(b"\r\n\r\n")
        return head.decode(), body.decode()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("[::1]:9464", 200),
        ("localhost", 200),
        ("MX.gate.example:9464", 200),
        ("prometheus.example:9464", 200),
        ("evil.example", 421),
        ("", 421),
    ],
)
def test_metrics_are_served_under_names_of_ours_alone(serve, host, status):
    """A page of evil.example, which points its name here, would be of one origin with them (DNS rebinding)."""
    _script, port = serve
    head, body = ask(port, host=f"\r\nHost: {host}")
    assert int(head.split()[1]) == status
    assert ("gatepost_build_info" in body) is (status == 200)
    assert ask(port, "/healthz", host=f"\r\nHost: {host}")[0].startswith("HTTP/1.1 200 ")
    assert ask(port, host="", version="1.0")[0].startswith("HTTP/1.1 200 ")


def test_the_life_of_the_process(serve, home):
    script, port = serve
    head, body = ask(port)
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in head
    assert 'gatepost_alarms{kind="queue-age",severity="error"} 1.0\n' in body
    assert 'name="mx.gate.example",state="current"} ' in body
    assert "gatepost_store_free_bytes " in body
    assert 'gatepost_build_info{openssl="OpenSSL ' in body
    assert "application/openmetrics-text" in ask(port, accept="application/openmetrics-text")[0]
    head, body = ask(port, "/healthz")
    assert (head.split()[1], body) == ("200", "ok, but not ready: not every worker runs\n")
    assert ask(port, "/readyz")[0].startswith("HTTP/1.1 503 ")
    write_figures(home.data / WORKERS_DIRECTORY, WorkerFigures(0, at=time.time() + 3600))
    deadline = time.monotonic() + 50
    while ask(port, "/readyz")[1] != "ready\n":  # a second passes
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask(port, "/healthz")[1] == "ok\n"
    troubled = WorkerFigures(0, at=time.time() + 3600, trouble="PostgreSQL cannot be reached", reason="secret")
    write_figures(home.data / WORKERS_DIRECTORY, troubled)
    head, body = ask(port, "/readyz")
    assert (head.split()[1], body) == ("503", "PostgreSQL cannot be reached: no mail is taken\n")
    assert ask(port, "/healthz")[1] == "ok, but not ready: PostgreSQL cannot be reached: no mail is taken\n"
    write_figures(home.data / WORKERS_DIRECTORY, WorkerFigures(0, at=time.time() + 3600))
    config = ConfigStore(home.data / "config.db")
    down = Alarm(Kind.NAMESERVERS_DOWN, Severity.CRITICAL, "", "t", "d", "f")
    config.apply({}, author="test", content={ALARMS_CONTENT: encoded(Memory((AlarmStatus(down, 1.0),)))})
    config.close()
    while ask(port, "/readyz")[1] != "ready, but no nameserver answers\n":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert ask(port, "/readyz")[0].startswith("HTTP/1.1 200 "), "all nodes of a site would be out of use at once"
    assert ask(port, "/healthz")[1] == "ok, but no nameserver answers\n"
    assert ask(port, method="HEAD")[1] == ""
    assert ask(port, "/metrics?name=x")[0].startswith("HTTP/1.1 200 ")
    assert ask(port, method="POST")[0].startswith("HTTP/1.1 405 ")
    for path in ("/", "/metricsx", "/../data"):
        assert ask(port, path)[0].startswith("HTTP/1.1 404 ")
    script.signal(signal.SIGHUP)
    (home.data / "queue" / "0").mkdir(parents=True)
    (home.data / "queue" / "0" / QUEUE_FILE).write_bytes(b"x" * 4096)
    while "gatepost_queue_deliveries{" in ask(port)[1]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    script.signal(signal.SIGTERM)
    script.expect("status 0")
    assert any("the queue cannot be counted" in line for line in script.said)
