"""Proves the way from nothing to a message: `gatepost quickstart` or `up`, the gateway that it set up, and mail."""

from __future__ import annotations

import os
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from gatepost.testing.process import Child, Folder, free_port, wait_until
from gatepost.testing.sink import Sink

ROOT = {"GATEPOST_SERVER__USER": "root"} if os.geteuid() == 0 else {}


@pytest.fixture
def place() -> Iterator[Folder]:
    folder = Folder("quickstart")
    yield folder
    folder.remove()


def gatepost(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "gatepost", *map(str, words)]


def greets(port: int) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
            return client.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False


def has(folder: Path, count: int) -> bool:
    return len([path for path in folder.rglob("*") if path.parent.name == "new"]) == count


def over_tls(port: int, recipient: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=20) as client:
        client.starttls(context=context)
        client.sendmail("bob@partner.example", [recipient], "Subject: hello\r\n\r\nhello\r\n")
        return str(client.sock.version())  # type: ignore[union-attr]


def test_from_nothing_to_a_message_that_the_server_behind_got(place: Folder, sink: Callable[..., Sink]) -> None:
    behind, port = sink(), free_port()
    words = ["quickstart", "--directory", str(place / "etc"), "--hostname", "mx1.contoso.example"]
    words += ["--domain", "contoso.example", "--upstream", behind.address, "--nameserver", "127.0.0.1:1"]
    words += ["--address", f"127.0.0.1:{port}", "--admin-address", f"127.0.0.1:{free_port()}"]
    environment = os.environ | ROOT
    said = subprocess.run(gatepost(*words), capture_output=True, text=True, env=environment, timeout=60, check=False)
    # A machine may have its temporary files in memory; that is said, and ends the command with 1.
    faults = [line for line in said.stderr.splitlines() if line.startswith("fail") and "nameservers" not in line]
    assert said.returncode == (1 if faults else 0), said.stderr
    assert all("is in memory (tmpfs)" in fault for fault in faults), faults
    assert "contoso.example. IN MX 10 mx1.contoso.example." in said.stdout
    config = place / "etc" / "gatepost.toml"
    gateway = Child(gatepost("--config", config, "serve"), place / "log", environment)
    try:
        gateway.wait_ready(lambda: greets(port))
        assert over_tls(port, "ann@contoso.example").startswith("TLSv1.")
        behind.wait_messages(1)
    finally:
        status = gateway.stop()
    assert status == 0


def test_up_needs_no_answer_and_goes_on_with_what_is_there(place: Folder) -> None:
    port, admin = free_port(), free_port()
    command = gatepost("up", "--directory", place / "here", "--address", f"127.0.0.1:{port}")
    command += ["--admin-address", f"127.0.0.1:{admin}"]
    for count in (1, 2):
        gateway = Child(command, place / "log", os.environ | ROOT)
        try:
            gateway.wait_ready(lambda: greets(port))
            over_tls(port, "postmaster@gatepost.localdomain")
            wait_until(partial(has, place / "here" / "data", count), "the mailbox has it")
        finally:
            status = gateway.stop()
        assert status == 0
