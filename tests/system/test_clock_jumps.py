"""Proves that mail goes on while the wall clock jumps, by a day both ways and by the second of a leap.

The monotonic clock does not jump with it, as on a machine. Waiting mail must be tried within what the queue waits at
most between two looks, by whatever time, and nothing is lost, doubled or unsigned.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from support.gateway import Gateway
from support.load import wait_empty
from support.scenes import connector, contoso, message, send

from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink

ANN, BOB = "ann@contoso.example", "bob@partner.example"
DAY = 86_400.0
LOOK = 60.0  # the longest that the queue waits between two looks


@pytest.mark.parametrize(
    "jumps",
    [[DAY, 0.0], pytest.param([-DAY, DAY, 1.0, 0.0], marks=pytest.mark.long)],
    ids=["a day and back", "both ways and a leap"],
)
@pytest.mark.timeout(400)
def test_mail_goes_on_when_the_clock_jumps(running: ExitStack, sink: Callable[..., Sink], jumps: list[float]) -> None:
    partner = sink()
    outbound = [connector("partner.example", partner.address)]
    resources = contoso(outbound=outbound, message_expiration="1h")  # less than any jump: nothing is returned for it
    server = running.enter_context(
        Gateway(resources, settings={"queue": {"retry": ["2s"]}, "alarms": {"look": "2s"}}, clock=0.0)
    )
    for number, ahead in enumerate(jumps):
        subject = f"jump-{number}"
        partner.behaviour = Behaviour(replies={"RCPT": "450 4.2.1 Later"})
        send(server.port, BOB, content=message(subject))
        wait_until(lambda: attempts(server) > 0, "a deferral")
        server.jump(ahead)
        before = attempts(server)
        wait_until(lambda: attempts(server) > before, "a deferral by the new time", timeout=LOOK + 60)  # noqa: B023 - waited for here
        jumped = ahead - min([0.0, *jumps[:number]]) > 600.0  # a clock that is put back is believed at once
        wait_until(lambda: alarmed(server) is jumped, "the alarm, or its end", timeout=LOOK + 60)  # noqa: B023 - waited for here
        partner.behaviour, begun = Behaviour(), time.monotonic()
        send(server.port, ANN, content=message(f"here-{number}"))
        server.wait_maildir(ANN, number + 1)
        wait_until(lambda: arrived(partner, subject), f"{subject} at the partner", timeout=LOOK + 60)  # noqa: B023 - waited for here
        print(f"the clock is {ahead:+.0f} s: the waiting message left after {time.monotonic() - begun:.1f} s")
        wait_empty(server)
    assert [arrived(partner, f"jump-{number}") for number in range(len(jumps))] == [1] * len(jumps)
    assert server.stop() == 0
    server.cli("store", "check")
    server.start()  # the head of a day that is over is made at the latest then
    verified = wait_until(lambda: verification(server), "all evidence verified")
    assert (verified["faults"], verified["unsigned"]) == ([], {})


def attempts(server: Gateway) -> int:
    """How often the one message that waits was tried."""
    (row,) = server.cli("queue", "list", json=True).data
    return int(row["attempts"])


def alarmed(server: Gateway) -> bool:
    """Whether it says that the clock was put ahead."""
    return any(row["kind"] == "clock-jumped" for row in server.cli("alarms", json=True, expect=None).data["alarms"])


def verification(server: Gateway) -> dict[str, Any]:
    """What `evidence verify` says, {} if it cannot say that all is as it was written."""
    data: dict[str, Any] = server.cli("evidence", "verify", json=True, expect=None).data
    return data if data["verified"] else {}


def arrived(partner: Sink, subject: str) -> int:
    return sum(f"Subject: {subject}".encode() in one.data.splitlines() for one in partner.messages)
