"""Proves that a destination is held against what it was seen to do: a sink that offers TLS, and then offers it no more.

Under warn the mail goes, and log and trace say so. Under hold none leaves until somebody releases it or accepts the
destination, and its sender is told of the delay. Memory outlives restarts, and workers share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support.gateway import Gateway
from support.scenes import ALICE, connector, contoso, message, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink
from gatepost.values import replace

BOB = "bob@partner.example"
FRESH = {"queue": {"idle_connection": "0.001s", "retry": ["1h"]}}  # a connection of its own for each message


@pytest.fixture
def partner(sink: Callable[..., Sink], pki: Pki) -> Sink:
    return sink(certificate=pki.leaf("mx.partner.example"))


def strip(partner: Sink) -> None:
    """Somebody takes STARTTLS away."""
    partner.behaviour = replace(partner.behaviour, starttls="absent")


def mend(partner: Sink) -> None:
    partner.behaviour = replace(partner.behaviour, starttls="offer")


def scene(partner: Sink, drop: str) -> dict[str, Any]:
    return contoso(outbound=[connector("partner.example", partner.address)], protection_drop=drop)


def post(server: Gateway, subject: str, event: str) -> dict[str, Any]:
    """Send a message and wait for its row in the trace."""
    send(server.port, BOB, content=message(subject))
    return rows(server, subject, event)[0]


def rows(server: Gateway, subject: str, event: str) -> list[dict[str, Any]]:
    return wait_until(
        lambda: [row for row in server.trace(event=event) if row["subject"] == subject], f"{event} of {subject}"
    )


def held(server: Gateway) -> list[dict[str, Any]]:
    return server.cli("queue", "list", "--held", json=True).data


def remembered(server: Gateway) -> list[dict[str, Any]]:
    return server.cli("destination", "list", "--connector", "partner.example", json=True).data


def learn(server: Gateway) -> dict[str, Any]:
    """One message over TLS, and wait until that is on file."""
    row = post(server, "good", "SEND")
    (record,) = wait_until(lambda: remembered(server), "the memory")
    assert (record["best"], record["below"]) == ("none/encrypted", [])
    return row


def test_under_warn_the_mail_goes_and_log_and_trace_say_so(gateway: Callable[..., Gateway], partner: Sink) -> None:
    server = gateway(scene(partner, "warn"), settings=FRESH)
    good = learn(server)
    assert "protection_drop" not in good["detail"]
    strip(partner)
    for subject in ("first", "second"):
        fallen = post(server, subject, "SEND")["detail"]["protection_drop"]
        assert (fallen["was"], fallen["now"]) == ("none/encrypted", "none/none")
        assert abs(fallen["since"] - good["at"]) < 60
    lines = [line for line in server.log().splitlines() if "protects connections less than before" in line]
    assert len(lines) == 1, lines
    assert "Expected: none/encrypted" in lines[0]
    wait_until(lambda: remembered(server)[0]["below"] == [partner.address], "the drop in the list")
    mend(partner)
    assert "protection_drop" not in post(server, "mended", "SEND")["detail"]


def test_hold_keeps_mail_until_it_is_released_or_the_destination_accepted(
    gateway: Callable[..., Gateway], partner: Sink
) -> None:
    server = gateway(scene(partner, "hold"), settings=FRESH)
    learn(server)
    strip(partner)
    mails = partner.counts["MAIL"]
    for subject in ("released", "accepted"):
        send(server.port, BOB, content=message(subject))
    for row in (rows(server, "released", "HOLD")[0], rows(server, "accepted", "HOLD")[0]):
        assert row["detail"]["protection_drop"]["now"] == "none/none"
        assert "ProtectionDrop" in row["reply"]
    server.stop()
    server.start()  # neither what is held nor what is remembered is lost
    first, second = held(server)
    assert (first["state"], first["message"]["subject"]) == ("held", "released")
    assert "Expected: none/encrypted" in first["last_error"]
    assert partner.counts["MAIL"] == mails
    server.cli("queue", "release", first["message"]["id"])
    assert rows(server, "released", "SEND")[0]["detail"]["protection_drop"]["was"] == "none/encrypted"
    assert [one["message"]["id"] for one in held(server)] == [second["message"]["id"]]
    server.cli("destination", "accept", "--connector", "partner.example")
    assert "protection_drop" not in rows(server, "accepted", "SEND")[0]["detail"]
    mend(partner)
    post(server, "mended", "SEND")
    strip(partner)
    post(server, "again", "HOLD")  # what it does better after it was accepted counts again


def test_the_sender_of_held_mail_is_told(gateway: Callable[..., Gateway], partner: Sink) -> None:
    server = gateway(scene(partner, "hold"), settings={"queue": FRESH["queue"] | {"delay_notice": "1s"}})
    learn(server)
    strip(partner)
    send(server.port, BOB, content=message("held"))
    (notice,) = server.wait_maildir(ALICE)
    assert b"Action: delayed" in notice.body
    assert b"4.4.317" in notice.body
    assert b"ProtectionDrop" in notice.body
    assert len(held(server)) == 1
    assert len(partner.messages) == 1


def test_workers_share_what_they_remember(gateway: Callable[..., Gateway], partner: Sink) -> None:
    settings = FRESH | {"server": {"workers": 2}}
    server = gateway(scene(partner, "hold"), settings=settings)
    learn(server)
    if server.is_on_postgres:
        time.sleep(4)  # until every worker has read it
    strip(partner)
    numbers = iter(range(2000))

    def both_workers_wrote_their_traces() -> bool:
        send(server.port, BOB, content=message(f"held {next(numbers)}"))
        return len(server.trace_writers()) == 2

    wait_until(both_workers_wrote_their_traces, "mail through both workers")
    sent = next(numbers)
    wait_until(lambda: len(held(server)) == sent, "everything held")
    assert len(partner.messages) == 1
