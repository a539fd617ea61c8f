from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading

import pytest

from gatepost.manage.cli import demo_partner
from gatepost.manage.cli.demo_partner import wait_for_greeting, wait_for_start
from gatepost.testing.process import free_port


@pytest.fixture
def process():
    """Something that runs."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


@contextlib.contextmanager
def server(*greetings):
    """Listens, and greets each client with the next; then with nothing any more. Yields (port, what was said to it)."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            for greeting in greetings:
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(greeting)
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        heard.append(connection.recv(100))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(5)


def test_a_greeting_is_taken_and_the_client_leaves_politely(process, tmp_path):
    with server(b"220 mx.example ESMTP\r\n") as (port, heard):
        wait_for_greeting(port, process, tmp_path / "log")
    assert heard == [b"QUIT\r\n"]


def test_it_waits_until_the_server_is_ready(process, tmp_path):
    with server(b"421 later\r\n", b"220 mx.example ESMTP\r\n") as (port, heard):
        wait_for_greeting(port, process, tmp_path / "log")
    assert heard[-1] == b"QUIT\r\n"


def test_a_server_that_died_is_told_with_the_end_of_its_logs(process, tmp_path):
    process.kill()
    process.wait()
    log, other = tmp_path / "log", tmp_path / "other"
    said = r"^no SMTP greeting on 127\.0\.0\.1:1 before its process ended with status -9\nnothing is in .*/log$"
    with pytest.raises(RuntimeError, match=said):
        wait_for_greeting(1, process, log)
    log.write_bytes(b"early\n" * 1000 + b"the port is taken \xff\n")
    other.write_text("starting\n")
    with pytest.raises(RuntimeError) as failed:
        wait_for_greeting(1, process, log, other)
    assert f"the end of {log}:\n" in str(failed.value)
    assert str(failed.value).endswith(f"the port is taken \ufffd\n\nthe end of {other}:\nstarting\n")
    assert len(str(failed.value)) < 2500


def test_patience_ends(process, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_partner, "PATIENCE", 0.2)
    with pytest.raises(RuntimeError, match=r"^no SMTP greeting on .* within 0 s\n"):
        wait_for_greeting(free_port(), process, tmp_path / "log")


def test_other_servers_are_waited_for_in_the_same_way(process):
    answers = iter([False, True])
    wait_for_start("answer", lambda: next(answers), process)
    assert list(answers) == []
