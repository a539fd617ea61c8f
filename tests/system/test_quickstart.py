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
from support.debian import need

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


def test_any_account_in_volumes_of_roots_that_its_group_may_write(place: Folder) -> None:
    """As a container runs under OpenShift: a number without a name, and volumes that belong to root."""
    need("root")
    settings, data, port = place / "etc", place / "lib", free_port()
    place.path.chmod(0o755)
    for volume in (settings, data):
        volume.mkdir()
        volume.chmod(0o2770)
    account = ["setpriv", "--reuid=123456", "--regid=0", "--clear-groups"]
    words = [*account, *gatepost("quickstart", "--directory", settings, "--upstream", "mailboxes"), "--data-dir"]
    more = ["--hostname", "mx1.contoso.example", "--domain", "contoso.example", "--nameserver", "127.0.0.1:1"]
    more += ["--address", f"127.0.0.1:{port}", "--admin-address", f"127.0.0.1:{free_port()}"]

    said = subprocess.run([*words, data, *more], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 2
    assert f"which the gateway makes: {data}/data\nnothing was changed" in said.stderr
    assert not list(settings.iterdir())

    said = subprocess.run([*words, data / "data", *more], capture_output=True, text=True, timeout=60, check=False)
    assert f"made {settings}/gatepost.toml" in said.stderr
    gateway = Child([*account, *gatepost("--config", settings / "gatepost.toml", "serve")], place / "log", os.environ)
    try:
        gateway.wait_ready(lambda: greets(port))
        over_tls(port, "postmaster@contoso.example")
        wait_until(partial(has, data, 1), "the mailbox has it")
    finally:
        status = gateway.stop()
    assert status == 0


def test_doctor_says_whose_an_empty_data_dir_must_be(place: Folder) -> None:
    need("root")
    data = place / "data"
    data.mkdir()
    place.path.chmod(0o755)
    config = place / "gatepost.toml"
    config.write_text(f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{data}"\n')
    config.chmod(0o644)
    chown = f"chown -R 123456: {data}\n"
    made = f"next: name a directory in it, which the gateway makes: {data}/data; or {chown}"
    for mode, fix in ((0o700, f"next: {chown}"), (0o777, made)):
        data.chmod(mode)
        words = ["setpriv", "--reuid=123456", "--regid=123456", "--clear-groups", *gatepost("--config", config)]
        said = subprocess.run([*words, "doctor"], capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 1, said.stderr
        assert f"{data} does not belong to 123456\n" in said.stdout
        assert fix in said.stdout
