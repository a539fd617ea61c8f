"""One organization whose next hop is down fills the queue; another's mail goes on. Real servers, on a small disk.

Contoso is the quiet one; fabrikam sends as much as it may to a host that does not answer. With SQLite the data
directory of two workers is a small file system in memory (needs root); PostgreSQL's disk is not seen, and the queue has
a size instead.
"""

from __future__ import annotations

import os
import smtplib
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.admin import AdminCentre
from support.disk import mount, unmount
from support.gateway import Gateway
from support.postgres import common_server, sqlite_only
from support.raw import RawClient
from support.scenes import ALICE, OWN_SERVERS, STRANGER, connector, contoso, message

from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink

pytestmark = sqlite_only("each test names its store")

MARK, SIZE = 128 << 20, 64 << 20
SMALL, BIG = 180_000, 700_000  # below and above what lies in the database
SESSION = 400  # messages of one connection, fewer than a gateway takes
LOUD, SLOW = "mallory@fabrikam.example", "carl@slow.example"
QUIET, BOB = ALICE, "bob@partner.example"


def send(port: int, sender: str, recipient: str, most: int, size: int = SMALL) -> tuple[int, int]:
    """Send so many messages, or fewer if one is refused; how many were taken, and the code of the refusal, or 0."""
    content = message(body=("x" * 70 + "\r\n") * (size // 72), sender=sender)
    for first in range(0, most, SESSION):
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            for taken in range(first, min(first + SESSION, most)):
                try:
                    client.sendmail(sender, [recipient], content)
                except smtplib.SMTPRecipientsRefused as refused:
                    return taken, refused.recipients[recipient][0]
                except smtplib.SMTPResponseException as refused:
                    return taken, refused.smtp_code
    return most, 0


@pytest.fixture
def started(running: ExitStack, sink: Callable[..., Sink]) -> Callable[..., tuple[Gateway, AdminCentre, Sink, Sink]]:
    """A gateway of both, its admin centre, the host of contoso's partner, and that of fabrikam's, which is down."""

    def start(data: Path | None, **settings: Any) -> tuple[Gateway, AdminCentre, Sink, Sink]:
        ours, theirs = sink(), sink()
        theirs.stop()
        fabrikam = {
            "accepted_domain": [{"name": "fabrikam.example"}],
            "inbound_connector": [OWN_SERVERS],
            "outbound_connector": [connector("slow.example", theirs.address)],
        }
        both = contoso(outbound=[connector("partner.example", ours.address)])["organization"] | {"fabrikam": fabrikam}
        port = free_port()
        settings |= {"queue": {"retry": ["1s"]}, "alarms": {"look": "1s"}, "admin": {"address": f"127.0.0.1:{port}"}}
        if data is not None:
            settings["server"] = {"data_dir": str(data), "workers": 2}
        server = Gateway({"organization": both}, settings=settings)
        if data is not None:
            server.data_dir = data
        centre = AdminCentre(running.enter_context(server), port)
        return server, centre, ours, theirs

    return start


def alarms(centre: AdminCentre, token: str) -> list[str]:
    _, _, told = centre.call("/api/v1/alarms", token)
    return [alarm["about"] for alarm in told["alarms"] if alarm["kind"] == "queue-share"]


def others_go_on(server: Gateway, centre: AdminCentre, ours: Sink) -> None:
    """Fabrikam's mail is refused, and it and the operator learn why; contoso's is not."""
    wait_until(lambda: send(server.port, LOUD, SLOW, 1, BIG) == (0, 452), "large mail to be refused, too")
    row = server.wait_trace(sender=LOUD, event="REFUSE")[0]
    assert "of mail of fabrikam in the queue" in str(row), row
    assert "mail is refused: " in server.log()
    assert send(server.port, QUIET, BOB, 20) == (20, 0), "another organization's mail goes on"
    assert send(server.port, QUIET, BOB, 5, BIG) == (5, 0)
    ours.wait_messages(25)
    owner = centre.token("read", name="owner")
    theirs, own = (centre.token("read", name=name, organizations=(name,)) for name in ("fabrikam", "contoso"))
    wait_until(lambda: alarms(centre, owner) == ["fabrikam/queue"], "the owner's alarm")
    assert (alarms(centre, theirs), alarms(centre, own)) == (["fabrikam/queue"], [])


@pytest.mark.long  # fills a disk as fast as it can, which needs a machine for itself
@pytest.mark.timeout(300)
def test_whose_mail_fills_the_disk_is_refused_before_the_others(
    started: Callable[..., tuple[Gateway, AdminCentre, Sink, Sink]], running: ExitStack, tmp_path: Path
) -> None:
    mount(disk := tmp_path / "disk", 2 * MARK + SIZE)
    running.callback(unmount, disk)
    server, centre, ours, theirs = started(disk / "data")
    taken, code = send(server.port, LOUD, SLOW, 5000)
    print(f"{taken} messages were taken before the first refusal")
    assert code == 452
    others_go_on(server, centre, ours)
    theirs.start()
    wait_until(lambda: send(server.port, LOUD, SLOW, 1) == (1, 0), "its mail to be taken again", timeout=60)


@pytest.mark.long  # fills a disk as fast as it can, which needs a machine for itself
@pytest.mark.timeout(300)
def test_large_bodies_that_do_not_end_leave_room_for_others(
    started: Callable[..., tuple[Gateway, AdminCentre, Sink, Sink]], running: ExitStack, tmp_path: Path
) -> None:
    mount(disk := tmp_path / "disk", 2 * MARK + SIZE)
    running.callback(unmount, disk)
    server, _, ours, _ = started(disk / "data")
    clients = [running.enter_context(RawClient(server.port)) for _ in range(16)]
    for client in clients:
        client.reply()
        for command in ("EHLO x.example", f"MAIL FROM:<{LOUD}>", f"RCPT TO:<{SLOW}>"):
            assert client.command(command).code == 250
        assert client.command("DATA").code == 354
    for _ in range(14):
        for client in clients:
            client.send(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 16_000)
    time.sleep(3)  # what is too much is seen and removed, and the room looked at again
    assert send(server.port, QUIET, BOB, 10, BIG) == (10, 0), "another organization's mail goes on"
    ours.wait_messages(10)
    assert "mail is refused: " in server.log()
    assert 452 in [client.command(".").code for client in clients]


@pytest.mark.long  # fills a disk as fast as it can, which needs a machine for itself
@pytest.mark.timeout(300)
def test_whose_mail_fills_a_queue_in_a_database_is_refused_before_the_others(
    started: Callable[..., tuple[Gateway, AdminCentre, Sink, Sink]],
) -> None:
    url = common_server().database()
    server, centre, ours, theirs = started(None, store={"url": url, "shared_mailboxes": True, "queue_size": SIZE})
    taken, code = send(server.port, LOUD, SLOW, 2000)
    assert (code, 0.9 < taken * SMALL / (3 * SIZE // 4) <= 1) == (452, True), taken
    others_go_on(server, centre, ours)
    theirs.start()
    wait_until(lambda: send(server.port, LOUD, SLOW, 1) == (1, 0), "its mail to be taken again", timeout=60)


@pytest.mark.long  # fills a disk as fast as it can, which needs a machine for itself
@pytest.mark.timeout(300)
def test_quarantines_that_strangers_fill_leave_room_for_mail(
    sink: Callable[..., Sink], running: ExitStack, tmp_path: Path
) -> None:
    mount(disk := tmp_path / "disk", 2 * MARK + SIZE)
    running.callback(unmount, disk)
    ours = sink()
    both = contoso(outbound=[connector("partner.example", ours.address)])
    targets = [f"{name}.example" for name in ("ant", "bee", "cat", "dog", "eel")]
    for domain in targets:
        both["organization"][domain.split(".")[0]] = {
            "accepted_domain": [{"name": domain}],
            "mailbox": [{"address": f"ann@{domain}"}],
            "mail_flow_rule": [{"name": "held", "senders": [STRANGER], "quarantine": True}],
        }
    server = Gateway(both, settings={"server": {"data_dir": str(disk / "data"), "workers": 2}})
    server.data_dir = disk / "data"
    running.enter_context(server)
    taken = [send(server.port, STRANGER, f"ann@{domain}", 3000) for domain in targets]
    print(f"{taken} messages were taken into quarantine before a refusal; {free(disk)} octets are free")
    assert {code for _, code in taken} == {452}
    assert send(server.port, QUIET, BOB, 20) == (20, 0), "another organization's mail goes on"
    assert send(server.port, QUIET, BOB, 5, BIG) == (5, 0)
    ours.wait_messages(25)
    assert free(disk) > 5 * MARK // 4  # less a reserve in files of the queue, and what comes between two looks
    refused = server.wait_trace(sender=STRANGER, event="REFUSE")
    assert "kept for mail on its way" in str(refused[0]), refused[0]


def free(disk: Path) -> int:
    """Octets that are free on a file system."""
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize
