"""Proves that connections leave a process files to open, however many there are: stores go on, and mail with them."""

from __future__ import annotations

import ipaddress
import resource
import smtplib
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from support.flooder import client_hello
from support.gateway import Gateway
from support.scenes import ALICE, contoso, message

from gatepost.testing.pki import Pki
from gatepost.testing.process import greets, wait_until

ANN = "ann@contoso.example"
FILES = 240
BIG = "x" * 70 + "\r\n"
# Without the marks: a busy machine would allow fewer connections of one client.
UNLIMITED = {"connections": 0, "handshakes": 0, "errors": 0}
SOURCE = ipaddress.ip_address("127.81.0.1")


def test_slow_handshakes_leave_files_for_mail_and_what_is_written_of_it(
    gateway: Callable[..., Gateway], pki: Pki
) -> None:
    running = gateway(
        contoso(),
        certificates=[pki.leaf("mx1.contoso.example")],
        settings={"server": {"workers": 1}, "rates": UNLIMITED},
        listeners=("mx", "submissions"),
    )
    workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text(encoding="ascii").split()
    for worker in map(int, workers):
        most, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        assert most == min(hard, 65536), "it may open as many as it can"
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (FILES, hard))
    with ExitStack() as stack:
        known = stack.enter_context(smtplib.SMTP("127.0.0.1", running.port, timeout=30))
        known.sendmail(ALICE, [ANN], message())
        for number in range(FILES * 2):
            slow_handshake(stack, running.ports["submissions"], str(SOURCE + number // 50))
        wait_until(lambda: "nearly half of the 240 that the process may open" in running.log(), "that it is enough")
        for _ in range(3):
            known.sendmail(ALICE, [ANN], message(body=BIG * 10_000))
            time.sleep(1.1)  # evidence and trace are written once a second
        assert "no connection can be accepted" not in running.log()
        with smtplib.SMTP("127.0.0.1", running.port, timeout=30) as new:
            new.sendmail(ALICE, [ANN], message())
        for _ in range(FILES // 8):  # this host is known
            slow_handshake(stack, running.ports["submissions"], "127.0.0.1")
        wait_until(lambda: "no connection can be accepted" in running.log(), "that known clients wait, too")
        known.sendmail(ALICE, [ANN], message(body=BIG * 10_000))
    wait_until(lambda: greets(running.port), "a new client", timeout=30)
    running.wait_maildir(ANN, 6)
    assert " half of the 240 that the process may open" in running.log()
    assert "Too many open files" not in running.log()
    wait_until(lambda: len(running.trace(event="RECEIVE")) == 6, "a row of the trace for each message")
    running.cli("evidence", "verify")


def slow_handshake(stack: ExitStack, port: int, source: str) -> None:
    """Half a ClientHello over a connection, unless that is one too many; nobody waits for it to be accepted."""
    with suppress(ConnectionResetError, BrokenPipeError):  # it is one too many, and a quick gateway says so at once
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30, source_address=(source, 0)))
        client.setblocking(False)
        hello = client_hello()
        client.send(hello[: len(hello) // 2])
