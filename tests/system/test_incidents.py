"""What an administrator on call is told of an incident, how soon, and that the commands of the letter work as typed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import smtplib
from collections.abc import Callable
from contextlib import ExitStack
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from support.disk import Filler, mount, unmount
from support.gateway import Gateway
from support.postgres import Postgres, sqlite_only
from support.scenes import connector, contoso, send
from support.webhook import WebhookReceiver

from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Behaviour, Sink

ANN = "ann@contoso.example"
BOB = "bob@partner.example"
SECRET = b"a secret of thirty-two octets !!"
ALARMS = {"mail_to": [ANN], "look": "1s", "partner_failing": "2s"}
QUICK = {"alarms": ALARMS, "queue": {"retry": ["1s"]}}


def active(server: Gateway) -> dict[str, dict[str, Any]]:
    """Alarms by kind."""
    return {alarm["kind"]: alarm for alarm in server.cli("alarms", json=True, expect=None).data["alarms"]}


def letters(server: Gateway) -> list[str]:
    """Subject and text of the mails about alarms."""
    paths = sorted(server.data_dir.glob("maildir/**/new/*"), key=lambda path: path.stat().st_mtime)
    mails = [message_from_bytes(path.read_bytes(), policy=policy.SMTP) for path in paths]
    return [f"{mail['Subject']}\n{mail.get_content()}" for mail in mails if "[gatepost " in mail["Subject"]]


def webhook(running: ExitStack, pki: Pki, folder: Path) -> tuple[WebhookReceiver, dict[str, Any]]:
    """A receiver of alarms, and the settings of a gateway that posts to it."""
    receiver = running.enter_context(WebhookReceiver(pki.leaf("localhost", names=["localhost", "127.0.0.1"]), SECRET))
    secret = folder / "webhook-secret"
    secret.touch(0o600)
    secret.write_bytes(SECRET)
    alarms = {
        "webhook": f"https://127.0.0.1:{receiver.port}/x",
        "webhook_secret": f"file:{secret}",
        "webhook_private": True,
    }
    return receiver, {"alarms": ALARMS | alarms, "tls": {"trust_anchors": str(pki.root)}}


def typed(server: Gateway, line: str) -> Any:
    """A command of an alarm, as it stands there."""
    program, *words = shlex.split(line)
    assert program == "gatepost"
    return server.cli(*words, expect=None)


@sqlite_only("mailboxes are looked at in the data directory")
def test_a_smart_host_that_defers_everything_after_a_change_of_its_connector(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    partner, wrong = sink(), sink(behaviour=Behaviour(replies={"MAIL": "451 4.3.0 not here"}))
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]), settings=QUICK)
    server.cli(
        "connector",
        "set",
        "--direction",
        "outbound",
        "partner.example",
        f"smart_hosts={wrong.address}",
        "--note",
        "move",
    )
    server.wait_in_force()
    for _ in range(3):
        send(server.port, BOB)
    alarm = wait_until(lambda: active(server).get("connector-failing"), "the alarm", timeout=30)
    assert alarm["severity"] == "critical"
    assert "The last reply: 451 4.3.0 not here." in alarm["detail"]
    assert re.search(
        r"The last change of the connector was made before the first failure: by \w+ at 2", alarm["detail"]
    )
    letter = wait_until(lambda: next(iter(letters(server)), ""), "the letter", timeout=20)
    assert "mail by the connector partner.example of contoso waits" in letter
    search, validate, show, revert = alarm["lines"]
    assert "451 4.3.0 not here" in typed(server, search).stdout
    assert typed(server, validate).status in {0, 1}
    assert wrong.address in typed(server, show).stdout
    assert partner.address in typed(server, revert).stdout
    assert typed(server, revert.removesuffix(" --dry-run")).status == 0
    partner.wait_messages(3, timeout=30)
    wait_until(lambda: not active(server), "the end of the alarm", timeout=30)


def test_where_each_smart_host_fails_in_another_way_status_names_both(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    down, clear = f"127.0.0.2:{free_port()}", sink()
    strict = connector("partner.example", down, clear.address, tls_settings="encryption-only")
    server = gateway(contoso(outbound=[strict]), settings=QUICK)
    send(server.port, BOB)
    both = "Last error of each host: 127.0.0.2: 450 4.4.316 Connection refused; 127.0.0.1: 450 4.4.317 Cannot"
    wait_until(lambda: both in " ".join(server.cli("status", expect=None).stdout.split()), "a status with both errors")
    assert clear.messages == []


@sqlite_only("the queue is on the database server's disk")
def test_a_full_disk_is_told_by_webhook_and_status_and_its_end_too(
    running: ExitStack, pki: Pki, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    mount(disk, 320 << 20)
    running.callback(unmount, disk)
    receiver, settings = webhook(running, pki, tmp_path)
    server = Gateway(
        contoso(),
        settings={
            **settings,
            "server": {"data_dir": str(disk / "data")},
        },
    )
    server.data_dir = disk / "data"
    running.enter_context(server)
    wait_until(lambda: active(server).get("disk-low"), "the warning while mail is still taken", timeout=30)
    wait_until(lambda: letters(server), "its letter", timeout=20)
    filler = Filler(disk / "foreign")
    running.callback(filler.remove)
    filler.start()
    wait_until(lambda: receiver.events("mail-refused") == ["raised"], "the post", timeout=30)
    with pytest.raises(smtplib.SMTPSenderRefused, match="452"):
        send(server.port, ANN)
    status = server.cli("status", expect=1)
    assert "takes no mail: the disk of data_dir has no more room" in status.stdout
    assert "no mail is accepted, as it cannot be stored" in server.cli("alarms", expect=1).stdout
    assert (
        "cannot be written: No space left on device; mail is answered 452"
        in server.cli("doctor", "--offline", expect=1).stdout
    )
    filler.remove()
    wait_until(lambda: receiver.events("mail-refused") == ["raised", "cleared"], "the all-clear", timeout=30)
    wait_until(lambda: server.cli("status", expect=None).status == 0, "a status that is well", timeout=30)
    assert receiver.faults == []


@sqlite_only("mailboxes are looked at in the data directory")
def test_a_process_that_the_kernel_killed_is_told(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso(), settings=QUICK | {"server": {"workers": 2}})
    os.kill(server.family()[2], signal.SIGKILL)
    alarm = wait_until(lambda: active(server).get("process-ended"), "the alarm", timeout=30)
    assert "with signal 9 (SIGKILL). The gateway starts it again" in alarm["detail"]
    wait_until(lambda: letters(server), "the letter", timeout=20)


def test_alarms_of_a_site_name_the_node_whose_machine_it_is(
    gateway: Callable[..., Gateway], postgres: Postgres
) -> None:
    """One node raises alarms for all, and knows of the others' machines by their heartbeats."""
    url = postgres.database()
    first, second = [
        gateway("", settings=QUICK | {"server": {"node": node, "workers": 2}, "store": {"url": url} | store})
        for node, store in (("mx1", {}), ("mx2", {"free_space": "9000000GB"}))
    ]
    wait_until(lambda: active(first).get("disk-low"), "the alarm about the disk", timeout=30)
    os.kill(second.family()[2], signal.SIGKILL)
    alarm = wait_until(lambda: active(first).get("process-ended"), "the alarm about the process", timeout=30)
    assert alarm["title"].endswith(" of mx2 ended unexpectedly")
    titles = {alarm["title"] for alarm in active(first).values()}
    assert {"the disk of mx2 is nearly full"} <= titles
    assert not any("mx1" in title for title in titles)


def test_each_node_tells_the_webhook_that_the_database_is_gone(
    gateway: Callable[..., Gateway],
    start_postgres: Callable[..., Postgres],
    running: ExitStack,
    pki: Pki,
    tmp_path: Path,
) -> None:
    database = start_postgres()
    receiver, settings = webhook(running, pki, tmp_path)
    nodes = [
        gateway("", settings=settings | {"server": {"node": node}, "store": {"url": database.database()}})
        for node in ("mx1", "mx2")
    ]
    database.stop()
    about = wait_until(lambda: two(receiver.about("mail-refused", "raised")), "a post of each node", timeout=60)
    assert about == {"mx1", "mx2"}
    with pytest.raises(smtplib.SMTPSenderRefused, match="451"):
        send(nodes[0].port, ANN)
    nodes[0].stop()
    database.start()
    nodes[0].start()  # its next process tells of the end of what the one before told of
    wait_until(lambda: two(receiver.about("mail-refused", "cleared")), "the all-clear of each", timeout=60)
    assert receiver.faults == []


def two(about: set[str]) -> set[str]:
    return about if len(about) == 2 else set()


def test_nameservers_that_are_gone_are_known_without_asking_them(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso(), settings=QUICK | {"dns": {"nameservers": ["127.0.0.1:9"]}})
    wait_until(lambda: active(server).get("nameservers-down"), "the alarm", timeout=30)
    assert "alarm nameservers-down" in server.cli("doctor", "--offline", expect=1).stdout
