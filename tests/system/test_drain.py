"""A gateway that stops: a message under way ends, and nobody waits for a greeting that never comes."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
from collections.abc import Callable
from contextlib import closing, suppress

from support.gateway import Gateway
from support.scenes import ALICE, contoso, message

from gatepost.testing.process import wait_until


def is_refused(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            return False
    except ConnectionRefusedError:
        return True


def test_new_connections_are_refused_while_a_message_ends(gateway: Callable[..., Gateway]) -> None:
    # For as long as the message may take to end nothing else ends the gateway.
    server = gateway(contoso(), settings={"server": {"workers": 2, "drain": "10m"}})
    with closing(smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example", timeout=60)) as client:
        client.ehlo()
        assert (client.mail(ALICE)[0], client.rcpt("ann@contoso.example")[0]) == (250, 250)
        assert client.docmd("DATA")[0] == 354
        os.kill(server.pid, signal.SIGTERM)
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", server.port), timeout=60) as late:
            late.recv(100)  # a greeting, 421 or the end: no worker may be left that it waits for
        wait_until(lambda: is_refused(server.port), "connections are refused")
        client.send(message("taken while it drains") + b".\r\n")
        assert client.getreply()[0] == 250
        assert client.getreply()[0] == 421
    assert server.stop() == 0
    server.wait_maildir("ann@contoso.example")
    assert "has not answered" not in server.log()
    assert "Traceback" not in server.log()
