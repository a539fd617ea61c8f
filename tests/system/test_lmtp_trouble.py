"""Proves what becomes of mail for a Dovecot whose mailbox is full, or that is down, and what people are told of it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest
from support.debian import need
from support.dovecot import Dovecot
from support.scenes import ALICE, contoso, message, outcomes, send

from gatepost.testing.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from support.gateway import Gateway

    type Start[T] = Callable[..., T]

ANN, BOB = "ann@contoso.example", "bob@contoso.example"
OFTEN = {"queue": {"retry": ["1s"]}, "alarms": {"look": 1, "partner_failures": 2, "partner_failing": "1s"}}


def quota(size: str, *, waits: bool) -> str:
    """waits: whether mail for a full mailbox is deferred, and not returned. Dovecot's own grace is 10 MB."""
    return f"""
mail_plugins {{
  quota = yes
}}
quota_storage_size = {size}
quota_storage_grace = 0
quota_full_tempfail = {"yes" if waits else "no"}
quota "User quota" {{
}}
"""


@pytest.fixture
def dovecot(running: ExitStack) -> Callable[..., Dovecot]:
    need("root", "dovecot", "dovecot-lmtp")
    return lambda users, **options: running.enter_context(Dovecot(users, **options))


def delivering(gateway: Start[Gateway], *mailboxes: tuple[str, str]) -> Gateway:
    """A gateway that tries again each second. mailboxes: address, and where it is delivered."""
    resources = contoso()
    boxes = [{"address": ALICE}, *({"address": address, "delivery": delivery} for address, delivery in mailboxes)]
    resources["organization"]["contoso"]["mailbox"] = boxes
    return gateway(resources, settings=OFTEN)


def active(server: Gateway, kind: str) -> dict[str, Any] | None:
    """The alarm of that kind, if there is one."""
    alarms = server.cli("alarms", json=True, expect=None).data["alarms"]
    return next((alarm for alarm in alarms if alarm["kind"] == kind), None)


def next_step(server: Gateway, row: dict[str, Any]) -> str:
    """Who must do what about the message of a row, as the administrator reads it."""
    return server.cli("trace", "show", row["message"]).stdout.partition("\n")[0]


LARGE = message("large") + b"line\r\n" * 2000


def test_mail_for_a_full_mailbox_is_returned_to_a_sender_who_learns_what_helps(
    gateway: Start[Gateway], dovecot: Start[Dovecot]
) -> None:
    store = dovecot([ANN, BOB], more=quota("4k", waits=False))
    where = f"lmtp:127.0.0.1:{store.port}"
    server = delivering(gateway, (ANN, where), (BOB, where))
    assert send(server.port, [ANN], content=LARGE) == {}
    assert send(server.port, [BOB]) == {}
    found = outcomes(server, {ANN: "FAIL", BOB: "DELIVER"})
    assert found[ANN]["reply"].startswith("552 5.2.2")
    assert "because the mailbox of the recipient is full" in next_step(server, found[ANN])
    (notice,) = wait_until(lambda: server.maildir(ALICE), "the notice")
    text = " ".join(notice.body.decode().split())
    assert "CAUSE The mailbox of the recipient is full." in text
    assert "Ask the recipient, by other means, to make room in the mailbox, then send the message again." in text
    assert "Status: 5.2.2" in text
    assert len(store.wait_mails(BOB, 1)) == 1, "another mailbox of the server is not full"
    assert store.mails(ANN) == []


def test_mail_for_a_full_mailbox_waits_where_dovecot_says_so_and_comes_when_there_is_room(
    gateway: Start[Gateway], dovecot: Start[Dovecot]
) -> None:
    store = dovecot([ANN], more=quota("4k", waits=True))
    server = delivering(gateway, (ANN, f"lmtp:127.0.0.1:{store.port}"))
    assert send(server.port, [ANN], content=LARGE) == {}
    row = outcomes(server, {ANN: "DEFER"})[ANN]
    assert row["reply"].startswith("452 4.2.2")
    full = "Nobody has to act yet: the mailbox of the recipient is full, and the gateway tries again."
    assert next_step(server, row) == full
    # the trace has the row before the queue has the message back
    wait_until(lambda: full in server.cli("queue", "show", row["message"]).stdout, "the message to wait")
    store.stop()
    store.more = quota("10M", waits=True)
    store.start()
    (mail,) = store.wait_mails(ANN, 1)
    assert mail.field("Subject") == "large"
    assert server.maildir(ALICE) == [], "the sender was told nothing"


@pytest.mark.parametrize("place", ["port", "socket"])
def test_mail_waits_while_dovecot_is_down_and_the_administrator_is_told_to_start_it(
    gateway: Start[Gateway], dovecot: Start[Dovecot], place: str
) -> None:
    store = dovecot([ANN])
    store.stop()
    where = f"127.0.0.1:{store.port}" if place == "port" else f"unix:{store.socket}"
    server = delivering(gateway, (ANN, f"lmtp:{where}"))
    assert send(server.port, [ANN]) == {}, "mail is accepted"
    row = outcomes(server, {ANN: "DEFER"})[ANN]
    to_start = "mail server at 127.0.0.1, on this machine" if place == "port" else f"LMTP server at {store.socket}"
    must = f"An administrator of this gateway must start the {to_start}"
    assert next_step(server, row).startswith(must)
    wait_until(lambda: must in " ".join(server.cli("status").stdout.split()), "it needs attention", timeout=30)
    alarm = wait_until(lambda: active(server, "lmtp-failing"), "the alarm", timeout=30)
    assert alarm["about"] == f"contoso/lmtp:{where}"
    assert alarm["fix"].startswith(must)
    (line,) = alarm["lines"]
    assert "Connection refused" in server.cli(*shlex.split(line)[1:]).stdout
    command = ("explain", "--live", "--ip", "127.0.0.1", "--from", ALICE, "--to", ANN)
    live = " ".join(server.cli(*command, expect=None).stdout.split()).partition(" LIVE ")[2]
    assert "Connection refused → Here: start the LMTP server" in live
    store.start()
    assert len(store.wait_mails(ANN, 1)) == 1
    wait_until(lambda: server.cli("queue", "list", json=True, expect=None).data in ([], None), "an empty queue")
    assert server.maildir(ALICE) == [], "the sender was told nothing"
    wait_until(lambda: not active(server, "lmtp-failing"), "the end of the alarm", timeout=30)
