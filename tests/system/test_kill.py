"""Proves that 250 means kept: the gateway is killed again and again under load, and no acknowledged message is lost.

Several clients of Python's smtplib send without pause, to mailboxes of the gateway and through it to a partner, who
refuses some; small messages and such as have a file of their own; an administrator changes the configuration. SIGKILL
hits every process at once, at a random moment: 12 times, 60 times in `make test-all`, and `make kills` does it 1,000
times. What arrived twice is counted and printed: only what was in flight at a kill may. Also here: what a
restart keeps of deferred mail, and a worker that dies alone. `test_kill_steps.py` kills at each named step.
"""

from __future__ import annotations

import os
import random
import signal
import smtplib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

import pytest
from support.admin import served
from support.gateway import Gateway
from support.load import BEHAVIOUR, Changes, Load, account, resources, wait_empty
from support.scenes import connector, contoso, message, send

from gatepost.testing.process import alive, greets, wait_until
from gatepost.testing.sink import Behaviour, Sink

MANY = int(os.environ.get("GATEPOST_KILLS", "60"))


@pytest.mark.timeout(240 + 3 * MANY)
@pytest.mark.parametrize(
    "kills", [pytest.param(12, marks=pytest.mark.short), pytest.param(MANY, marks=pytest.mark.long)]
)
def test_no_acknowledged_message_is_lost_by_kills(
    gateway: Callable[..., Gateway],
    sink: Callable[..., Sink],
    capsys: pytest.CaptureFixture[str],
    kills: int,
) -> None:
    partner = sink(behaviour=BEHAVIOUR)
    settings = {"server": {"workers": 2}, "queue": {"retry": ["1s"]}}
    centre = served(gateway, resources(partner), settings=settings)
    server, token = centre.gateway, centre.token()
    chance = random.Random(60)  # noqa: S311 - the same moments in every run, as far as a machine can have them
    ends, per_kill, healing, begun = [], [], [], time.monotonic()
    with Load(server.port) as load, Changes(centre, token) as changes:
        for number in range(kills):
            before, restarted = len(load.acknowledged), time.monotonic()
            load.wait_for_more()
            healing.append(time.monotonic() - restarted)
            load.wait_for_more(30)  # many times what can be in flight, however few a busy machine takes in a second
            if number % 4 == 0:  # else the admin centre of a slow machine would never be there before the next kill
                changes.wait_for_more()
            if chance.random() < 0.3:
                os.kill(server.pid, signal.SIGHUP)  # certificates are read again while they are killed
            time.sleep(chance.uniform(0, 0.8))
            family = server.family()
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ends.append(time.time())  # to see that all have ended takes a busy machine a while
            server.kill()
            assert alive(family) == []
            per_kill.append(len(load.acknowledged) - before)
            server.start()
    wait_empty(server)
    seconds, found = time.monotonic() - begun, account(server, partner, load)
    stored = {one["address"] for one in server.cli("mailbox", "list", json=True).data}
    with capsys.disabled():
        print(
            f"\n{kills} kills: {found} (in flight for {found.in_flight(ends):.3f} s at most; {min(per_kill)} to "
            f"{max(per_kill)} before each), longest answer {load.longest:.3f} s, {load.unanswered} not answered; "
            f"{len(changes.acknowledged)} changes, {len(changes.acknowledged - stored)} lost; mail taken again after "
            f"{max(healing):.1f} s at worst; {seconds:.0f} s",
            file=sys.stderr,  # pytest-xdist shows nothing else
        )
    assert found.lost == changes.acknowledged - stored == set()
    assert min(per_kill) > 30
    assert found.not_in_flight(ends) == [], "only deliveries that were in flight may be repeated"
    assert len(found.doubled) < found.acknowledged / 5, "most were not in flight"
    assert len(changes.acknowledged) >= kills / 4
    server.stop()
    assert server.cli("evidence", "verify", expect=None).status == 0, "evidence is whole and signed"
    server.cli("store", "check")


def test_a_restart_keeps_the_schedule_of_deferred_mail(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    partner = sink(behaviour=Behaviour(replies={"RCPT": "450 4.2.1 Later"}))
    server = gateway(
        contoso(outbound=[connector("partner.example", partner.address)]), settings={"queue": {"retry": ["1s", "25s"]}}
    )
    send(server.port, ["bob@partner.example", "carol@partner.example"])

    def second_attempt() -> list[dict[str, object]]:
        entries: list[dict[str, object]] = server.cli("queue", "list", json=True).data
        return [entry for entry in entries if entry["attempts"] == 2]

    (before,) = wait_until(second_attempt, "the second attempt")
    server.kill()
    partner.behaviour = Behaviour()
    server.start()
    (after,) = server.cli("queue", "list", json=True).data
    for field in ("attempts", "next_at", "expires_at", "last_error", "message", "recipients", "state"):
        assert after[field] == before[field], field
    partner.wait_messages(1)
    assert time.time() >= before["next_at"] - 0.1
    (received,) = partner.messages
    assert received.recipients == ("bob@partner.example", "carol@partner.example")
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to run empty")


def test_an_orderly_stop_ends_sessions_and_keeps_what_waits(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    partner = sink(behaviour=Behaviour(replies={"MAIL": "451 4.3.0 Later"}))
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]))
    send(server.port, "bob@partner.example")
    server.wait_trace(recipient="bob@partner.example", event="DEFER")
    with smtplib.SMTP("127.0.0.1", server.port, timeout=60) as client:
        client.ehlo()
        statuses: list[int] = []
        stopping = threading.Thread(target=lambda: statuses.append(server.stop()))
        stopping.start()
        code, text = client.getreply()
        assert code == 421
        assert text.startswith(b"4.3.2")
    stopping.join(60)
    assert statuses == [0]
    assert not greets(server.port)
    (entry,) = server.cli("queue", "list", json=True).data
    assert entry["recipients"][0]["address"] == "bob@partner.example"


@pytest.mark.parametrize("size", [100, 400_000], ids=["one flight", "streamed"])
def test_a_stop_waits_for_a_slow_reply_and_sends_nothing_twice(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], size: int
) -> None:
    partner = sink(behaviour=Behaviour(holds=frozenset({"."})))
    settings = {"server": {"drain": "1s"}}
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]), settings=settings)
    send(server.port, "bob@partner.example", content=message(body=("x" * 70 + "\r\n") * (size // 72)))
    partner.wait_messages(1)
    statuses: list[int] = []
    stopping = threading.Thread(target=lambda: statuses.append(server.stop()))
    stopping.start()
    said = "1 messages were sent, and their replies are waited for: lane "
    wait_until(lambda: said in server.log(), "the log to say so")
    assert statuses == [], "it waits"
    partner.behaviour = Behaviour()
    stopping.join(60)
    assert statuses == [0]
    server.start()
    assert server.cli("queue", "list", json=True).data == []
    time.sleep(1)
    assert len(partner.messages) == 1


def test_a_stop_in_the_midst_of_an_attempt_repeats_nothing_that_was_delivered(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """Two smart hosts: the first takes one recipient and defers the other, the second never greets."""
    first = sink(behaviour=Behaviour(recipients={"eve@partner.example": "451 4.2.1 Later"}))
    second = sink(behaviour=Behaviour(holds=frozenset({"CONNECT"})))
    route = connector("partner.example", first.address, second.address, smart_host_order="listed")
    server = gateway(contoso(outbound=[route]), settings={"server": {"drain": "1s"}})
    send(server.port, ["bob@partner.example", "eve@partner.example"])
    wait_until(lambda: second.counts["CONNECT"], "the second host to be tried")
    assert server.stop() == 0
    (entry,) = server.cli("queue", "list", json=True).data
    assert [recipient["address"] for recipient in entry["recipients"]] == ["eve@partner.example"]
    first.behaviour = second.behaviour = Behaviour()
    server.start()
    server.cli("queue", "retry", "--all")
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to run empty")
    assert [mail.recipients for mail in first.messages] == [("bob@partner.example",), ("eve@partner.example",)]
    assert server.wait_trace(recipient="bob@partner.example", event="SEND")


def test_a_stop_names_what_is_in_doubt(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    partner = sink(behaviour=Behaviour(delays={".": 30.0}))
    settings = {"server": {"drain": "1s", "drain_replies": "2s"}}
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]), settings=settings)
    send(server.port, "bob@partner.example")
    partner.wait_messages(1)
    assert server.stop() == 0
    (entry,) = server.cli("queue", "list", json=True).data
    assert "may arrive twice" in entry["last_error"]
    assert f"message {entry['message']['id']} to contoso/partner.example may arrive twice" in server.log()
    assert server.cli("status", json=True, expect=None).data["in_doubt"] == 1
    partner.stop()
    server.start()
    wait_until(lambda: "refused" in server.cli("queue", "list", json=True).data[0]["last_error"], "another attempt")
    found = server.cli("status")
    assert "1 may arrive twice" in found.stdout, "nobody knows until it is settled"
    partner.behaviour.delays.clear()
    partner.start()
    server.cli("queue", "retry", "--all")
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to run empty")
    assert server.cli("status", json=True).data["in_doubt"] == 0


ORDERED, WAITING, GIVEN_UP = "stopping: ", "replies are waited for", "may arrive twice"


@contextmanager
def standing_still(processes: set[int], still: float = 2.0) -> Iterator[None]:
    """From now on and for some seconds more, as those that get no CPU."""
    for number, seconds in ((signal.SIGSTOP, still), (signal.SIGCONT, 0.0)):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        if seconds:
            yield
            time.sleep(seconds)


@pytest.mark.parametrize(
    ("before", "moments"),
    [
        (True, []),
        (False, [(ORDERED, 0.5)]),  # as the time of attempts ends
        (False, [(WAITING, 0.0)]),
        (False, [(WAITING, 4.0)]),  # as the time of replies ends
        (False, [(GIVEN_UP, 0.0)]),
        (True, [(ORDERED, 0.5), (WAITING, 0.5), (GIVEN_UP, 0.0)]),
    ],
    ids=["ordered", "cancelled", "waiting", "over", "named", "again and again"],
)
def test_what_is_in_doubt_is_named_though_processes_stand_still_as_they_stop(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], *, before: bool, moments: list[tuple[str, float]]
) -> None:
    """Before they hear of it, and so many seconds after what the log says.

    The supervisor waits eight seconds longer than the drain: a machine that is slow by itself takes some of them, too.
    """
    still = 2.0 if len(moments) < 2 else 0.8
    partner = sink(behaviour=Behaviour(delays={".": 60.0}))
    settings = {"server": {"drain": "1s", "drain_replies": "6s"}}
    server = gateway(contoso(outbound=[connector("partner.example", partner.address)]), settings=settings)
    send(server.port, "bob@partner.example")
    partner.wait_messages(1)
    workers = set(server.family()) - {server.pid}
    statuses: list[int] = []
    stopping = threading.Thread(target=lambda: statuses.append(server.stop()))
    with standing_still(workers, still) if before else nullcontext():
        stopping.start()
    for said, seconds in moments:
        wait_until(lambda said=said: said in server.log(), f"the log to say {said!r}")  # type: ignore[misc]
        time.sleep(seconds)
        with standing_still(workers, still):
            pass
    stopping.join(60)
    assert statuses == [0]
    assert "is killed" not in server.log()
    (entry,) = server.cli("queue", "list", json=True).data
    assert "may arrive twice" in entry["last_error"]
    assert f"message {entry['message']['id']} to contoso/partner.example may arrive twice" in server.log()
    assert server.cli("status", json=True, expect=None).data["in_doubt"] == 1


def test_a_worker_that_dies_alone_is_started_again(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso(), settings={"server": {"workers": 2}})
    send(server.port, "ann@contoso.example")
    # What is in flight at a kill may come twice.
    wait_until(lambda: server.cli("queue", "list", json=True).data == [], "the queue to run empty")
    supervisor, *workers = server.family()
    assert len(workers) >= 2
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: alive(workers) == [] and greets(server.port), "a new worker")
    assert server.pid == supervisor
    assert set(server.family()) - {supervisor} - set(workers)
    send(server.port, "ann@contoso.example")
    assert len(server.wait_maildir("ann@contoso.example", 2)) == 2
