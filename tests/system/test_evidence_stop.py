"""Proves that an orderly stop signs everything written, whichever process wrote it and however the one before ended."""

from __future__ import annotations

import os
import re
import signal
import smtplib
from collections.abc import Callable
from typing import Any

import pytest
from support.gateway import Gateway
from support.postgres import Postgres
from support.scenes import ALICE, connector, contoso, message, send

from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Sink


@pytest.fixture(params=["sqlite", "postgresql"])
def start(
    request: pytest.FixtureRequest, gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> Callable[..., Gateway]:
    """start(workers=2, drain="5s"): a gateway that sends to a partner, and has mail for one that does not answer."""

    def make(workers: int = 2, drain: str = "5s") -> Gateway:
        server = {"workers": workers, "drain": drain, "drain_replies": "1s"}
        settings: dict[str, dict[str, object]] = {"server": dict(server)}
        if request.param == "postgresql":
            postgres: Postgres = request.getfixturevalue("postgres")
            settings["server"]["node"] = "a"
            settings["store"] = {"url": postgres.database(), "shared_mailboxes": True}
        outbound = [
            connector("partner.example", sink().address),
            connector("away.example", f"127.0.0.1:{free_port()}"),
        ]
        return gateway(contoso(outbound=outbound), settings=settings)

    return make


def verified(gateway: Gateway) -> dict[str, Any]:
    run = gateway.cli("evidence", "verify", json=True, expect=None)
    found: dict[str, Any] = run.data if run.stdout else {"entries": 0, "unsigned": {}}
    return found


def play(gateway: Gateway, count: int = 6) -> None:
    """Mail over connections of their own, so that each worker gets some."""
    for number in range(count):
        send(gateway.port, f"bob{number}@{'partner' if number % 2 else 'away'}.example", content=message("mail"))


def test_a_stop_right_after_mail_leaves_nothing_unsigned(start: Callable[..., Gateway]) -> None:
    gateway = start()
    play(gateway)
    gateway.stop()
    found = verified(gateway)
    assert (found["verified"], found["unsigned"]) == (True, {})
    assert found["entries"] >= 6


def test_a_stop_signs_what_was_written_before_a_crash(start: Callable[..., Gateway]) -> None:
    gateway = start()
    for turn in range(1, 11):  # on a busy machine a worker may have signed everything just before
        play(gateway)
        wait_until(lambda turn=turn: verified(gateway)["entries"] >= 18 * turn - 9, "the evidence to be on disk")
        play(gateway)  # after the first signature of each worker
        wait_until(lambda turn=turn: verified(gateway)["entries"] >= 18 * turn, "the evidence to be on disk")
        gateway.kill()
        if was_unsigned := verified(gateway)["unsigned"]:
            break
        gateway.start()
    assert was_unsigned, "else this test shows nothing"
    gateway.start()
    gateway.stop()
    found = verified(gateway)
    assert (found["verified"], found["unsigned"]) == (True, {})


def test_a_stop_signs_for_a_worker_that_had_to_be_killed(start: Callable[..., Gateway]) -> None:
    gateway = start(workers=1, drain="1s")
    play(gateway)
    wait_until(lambda: verified(gateway)["entries"] >= 9, "the evidence to be on disk")
    play(gateway)
    wait_until(lambda: verified(gateway)["entries"] >= 18, "the evidence to be on disk")
    for worker in gateway.cli("status", json=True, expect=None).data["workers"]:
        (process,) = re.findall(r"process (\d+)", worker["detail"])
        os.kill(int(process), signal.SIGSTOP)  # it hangs
    gateway.stop()
    found = verified(gateway)
    assert (found["verified"], found["unsigned"]) == (True, {})


def test_a_stop_that_ends_sessions_in_the_middle(start: Callable[..., Gateway]) -> None:
    gateway = start(drain="1s")
    play(gateway)
    client = smtplib.SMTP("127.0.0.1", gateway.port, timeout=20)
    client.ehlo()
    client.mail(ALICE)
    client.rcpt("bob@partner.example")
    client.putcmd("DATA")
    client.getreply()
    client.send(b"Subject: half\r\n")
    gateway.stop()
    client.close()
    found = verified(gateway)
    assert (found["verified"], found["unsigned"]) == (True, {})
