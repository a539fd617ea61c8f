from __future__ import annotations

import signal
import socket

import pytest

from gatepost.pki.acme.challenges import PATH
from gatepost.store.changes import ConfigStore
from gatepost.store.figures import WORKERS_DIRECTORY, note_unserved, read_unserved
from gatepost.testing.process import free_port

# The process without a supervisor; its lifeline ends with the script's standard input.
SCRIPT = """
import sys
from gatepost.net.listener import bind
from gatepost.node.challenge_host import run_challenge_host
from gatepost.settings.loader import load

sockets = bind("127.0.0.1:0")
print("port", sockets[0].getsockname()[1], flush=True)
print("status", run_challenge_host(load(sys.argv[1], {}), sockets, 0), flush=True)
"""
LATE = """
import sys
from gatepost.net.listener import bind
from gatepost.node import challenge_host
from gatepost.settings.loader import load

tries = 0

def tried(address):
    global tries
    tries += 1
    print("tried", flush=True)
    if tries <= int(sys.argv[2]):
        raise PermissionError(13, f"cannot listen on {address}: Permission denied")
    return bind(address)

challenge_host._AGAIN, challenge_host.bind = 0.5, tried
print("status", challenge_host.run_challenge_host(load(sys.argv[1], {}), [], 0), flush=True)
"""
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


def store_token(home):
    config = ConfigStore(home.data / "config.db")
    config.apply({}, author="test", content={f"acme/http-01/{TOKEN}": b"the proof", "acme/other": b"secret"})
    config.close()


@pytest.fixture
def serve(run, home):
    """Starts it; the script and the port."""
    note_unserved(home.data / WORKERS_DIRECTORY, "of the start before")
    home.settings()
    store_token(home)
    script = run(SCRIPT, home.file)
    return script, int(script.expect("port").split()[1])


def ask(port, method="GET", path=PATH + TOKEN, version="1.1"):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        stream.sendall(f"{method} {path} HTTP/{version}\r\nHost: mx.a.example\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: stream.recv(65536), b"")).partition(b"\r\n\r\n")
        return head.decode(), body


def test_the_life_of_the_process(serve, home):
    script, port = serve
    head, body = ask(port)
    assert read_unserved(home.data / WORKERS_DIRECTORY) == ""
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "Content-Type: application/octet-stream\r\n" in head
    assert body == b"the proof"
    assert ask(port, version="1.0")[1] == b"the proof"
    assert ask(port, "HEAD")[1] == b""
    for path in ("/", PATH, f"{PATH}x", f"{PATH}../../other", f"{PATH}{TOKEN}x", "http://x.example/"):
        assert ask(port, path=path)[0].startswith("HTTP/1.1 404 ")
    assert ask(port, "POST")[0].startswith("HTTP/1.1 405 ")
    script.signal(signal.SIGHUP)
    assert ask(port)[1] == b"the proof"
    script.signal(signal.SIGTERM)
    script.expect("status 0")


def with_acme(home, port):
    key = home.path / "master.key"
    key.touch(0o600)
    key.write_bytes(bytes(32))
    acme = {"directory_url": "https://acme.example/dir", "agree_tos": True, "http_address": f"127.0.0.1:{port}"}
    home.settings(acme=acme, store={"master_key": f"file:{key}"})
    store_token(home)


def test_a_port_that_another_program_had_is_taken_once_it_is_free(run, home):
    folder = home.data / WORKERS_DIRECTORY
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with_acme(home, port)
        script = run(LATE, home.file, "0")
        script.expect("tried")
        script.expect("tried")
        assert read_unserved(folder) == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    script.expect(f"ACME challenges are served at 127.0.0.1:{port}")
    assert ask(port)[1] == b"the proof"
    script.signal(signal.SIGTERM)
    script.expect("status 0")
    assert sum("ACME challenges are served" in line for line in script.said) == 1
    assert read_unserved(folder) == ""


def test_a_port_that_may_not_be_bound_is_told_once_and_taken_once_it_may(run, home):
    """Such as after `sysctl net.ipv4.ip_unprivileged_port_start=80`."""
    port, folder = free_port(), home.data / WORKERS_DIRECTORY
    with_acme(home, port)
    script = run(LATE, home.file, "3")
    script.expect("Permission denied; the gateway goes on trying")
    script.expect("tried")
    assert read_unserved(folder) == f"cannot listen on 127.0.0.1:{port}: Permission denied"
    script.expect(f"ACME challenges are served at 127.0.0.1:{port}")
    assert ask(port)[1] == b"the proof"
    assert read_unserved(folder) == ""
    script.signal(signal.SIGTERM)
    script.expect("status 0")
    assert sum("goes on trying" in line for line in script.said) == 1
