"""Proves the limits of sending: per connector and next hop, by feedback of the other side, per user and own server."""

from __future__ import annotations

import shlex
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.peers import Postfix
from support.postgres import Postgres
from support.relays import Relay, Relays
from support.scenes import ALICE, OWN_SERVERS, blind_context, connector, contoso, message, send

from gatepost.store.sending_usage import SenderUsage
from gatepost.store.storage import Storage
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour, Sink
from gatepost.times import day_text


def flood(server: Gateway, domain: str, number: int) -> None:
    """Several connections, which the kernel deals out to the workers."""
    for index in range(number):
        send(server.port, f"u{index}@{domain}")


def listed(server: Gateway, *words: str) -> list[dict[str, Any]]:
    return list(server.cli(*words, "--json", expect=0).data)


def reasons(server: Gateway, domain: str) -> set[str]:
    return {entry["last_error"] for entry in listed(server, "queue", "list", "--domain", domain)}


@pytest.mark.parametrize("workers", [1, 3])
def test_messages_a_minute_whatever_the_number_of_workers(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], workers: int
) -> None:
    """60 a minute is one a second; what waits is no attempt, says why, and other mail passes it."""
    slow, free = sink(), sink()
    server = gateway(
        contoso(
            outbound=[
                connector("slow.example", slow.address, max_messages_per_minute=60),
                connector("free.example", free.address),
            ]
        ),
        settings={"server": {"workers": workers}},
    )
    begun = time.monotonic()
    flood(server, "slow.example", 30 * workers)  # each worker has ten seconds' worth in memory
    send(server.port, "u@free.example")
    wait_until(lambda: free.messages, "the mail without a limit", timeout=60)
    assert len(slow.messages) < 30 * workers, "it waited for none of the others"
    wait_until(lambda: len(slow.messages) >= 8, "mail within the limit", timeout=60)
    times = [message.at for message in slow.messages]
    assert len(times) <= time.monotonic() - begun + 2
    assert max(times) - times[0] >= len(times) - 5, "no burst, though a busy machine may take the first one late"
    said = reasons(server, "slow.example") - {""}
    assert said == {"limited to 60 messages a minute by connector slow.example"}
    assert all(entry["attempts"] == 0 for entry in listed(server, "queue", "list", "--domain", "slow.example"))
    assert server.trace(event="DEFER") == []


def test_the_limit_survives_a_restart(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    partner = sink()
    server = gateway(contoso(outbound=[connector("slow.example", partner.address, max_messages_per_minute=6)]))
    flood(server, "slow.example", 3)
    wait_until(lambda: partner.messages, "the first message")
    server.stop()
    server.start()
    wait_until(lambda: len(partner.messages) >= 2, "the second message", timeout=60)
    assert partner.messages[1].at - partner.messages[0].at >= 6, "of 10 s, for the first may have been late"


def test_one_connection_for_three_workers(gateway: Callable[..., Gateway]) -> None:
    """The connectors' limit holds for the node, and every worker's mail gets its turn. Of a shared queue each process
    has its part, at least one (decision 0094)."""
    relay = Relay(seconds=0.05)
    with Relays(relay) as relays:
        resources = contoso(outbound=[connector("*", relay.address, max_connections=1)])
        server = gateway(resources, settings={"server": {"workers": 3}})
        flood(server, "partner.example", 40)
        wait_until(lambda: relays.taken.total() >= 40, "all mail", timeout=60)
        assert 1 <= relay.most <= (3 if server.is_on_postgres else 1)
        assert relays.taken == {f"u{index}@partner.example": 1 for index in range(40)}


def test_postfix_limits_messages_and_is_sent_less(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix]
) -> None:
    """Its anvil counts: after `450 4.7.1 … too much mail` the rate falls, and nothing is lost or refused for good."""
    partner = postfix(settings={"smtpd_client_message_rate_limit": "20", "smtpd_client_event_limit_exceptions": ""})
    server = gateway(
        contoso(outbound=[connector("partner.example", f"127.0.0.1:{partner.port}")]),
        settings={"queue": {"retry": ["5s"], "connections_per_destination": 5}, "server": {"workers": 1}},
    )
    flood(server, "partner.example", 40)
    wait_until(lambda: listed(server, "destination", "slowed"), "the next hop to be slowed", timeout=50)
    (slowed,) = listed(server, "destination", "slowed")
    assert (slowed["code"], slowed["next_hop"]) == (450, f"127.0.0.1:{partner.port}")
    assert slowed["messages_per_minute"] <= 20
    wait_until(lambda: server.trace(event="DEFER", limit="1000"), "deferrals in the trace")
    deferred = server.trace(event="DEFER", limit="1000")
    assert "too much mail" in deferred[0]["reply"]
    assert len({row["recipient"] for row in deferred}) < 15  # one or two for each of the five connections
    wait_until(
        lambda: any(reason.startswith("slowed to ") for reason in reasons(server, "partner.example")), "the reason"
    )


def test_a_greeting_of_421_slows_a_next_hop_and_a_restart_remembers(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    busy = sink(behaviour=Behaviour(replies={"CONNECT": "421 4.7.0 Too many connections, try later"}))
    server = gateway(contoso(outbound=[connector("busy.example", busy.address)]), settings={"server": {"workers": 1}})
    send(server.port, "u@busy.example")
    wait_until(lambda: listed(server, "destination", "slowed"), "the next hop to be slowed", timeout=20)
    (before,) = listed(server, "destination", "slowed")
    server.stop()
    server.start()
    (after,) = listed(server, "destination", "slowed")
    assert (after["next_hop"], after["code"]) == (before["next_hop"], 421)
    assert busy.address in server.cli("destination", "slowed").stdout


def refusals(server: Gateway, number: int, *, to: str = "u@partner.example") -> list[str]:
    """The replies to RCPT of that many messages; "" for those that were taken."""
    said = []
    for _ in range(number):
        try:
            send(server.port, to)
            said.append("")
        except smtplib.SMTPRecipientsRefused as refused:
            (code, text) = refused.recipients[to]
            said.append(f"{code} {text.decode()}")
    return said


def worker_of(server: Gateway, client: smtplib.SMTP) -> int:
    """The process that has the other end of a connection."""
    assert client.sock is not None
    ends = [f"0100007F:{port:04X}" for port in (server.port, client.sock.getsockname()[1])]
    table = map(str.split, Path("/proc/net/tcp").read_text(encoding="ascii").splitlines())
    socket = f"socket:[{next(fields[9] for fields in table if fields[1:3] == ends)}]"

    def has_it(pid: int) -> bool:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed just then
                if str(file.readlink()) == socket:
                    return True
        return False

    return next(pid for pid in server.family() if has_it(pid))


@contextmanager
def each_worker(server: Gateway, workers: int) -> Iterator[list[smtplib.SMTP]]:
    """A session with each of so many workers."""
    with ExitStack() as stack:
        sessions: dict[int, smtplib.SMTP] = {}

        def has_all() -> bool:
            client = smtplib.SMTP("127.0.0.1", server.port, local_hostname="client.example", timeout=60)
            sessions.setdefault(worker_of(server, stack.enter_context(client)), client)
            return len(sessions) == workers

        wait_until(has_all, f"a session with each of {workers} workers")
        yield list(sessions.values())


def answered(server: Gateway, code: int, *, workers: int = 1) -> None:
    """Return when each worker would answer a recipient so; none of these messages is sent."""

    def answers(client: smtplib.SMTP) -> bool:
        client.mail(ALICE)
        said, _ = client.rcpt("u@partner.example")
        client.rset()
        return said == code

    with each_worker(server, workers) as clients:
        for client in clients:
            client.ehlo()
            wait_until(lambda client=client: answers(client), f"{code} of each worker")  # type: ignore[misc]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_own_server_reaches_its_daily_limit(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], workers: int
) -> None:
    """Counted by all workers together, kept over a restart, alarmed once, and lifted for the day."""
    partner = sink()
    own = {**OWN_SERVERS, "messages_per_day": 10}
    server = gateway(
        contoso(inbound=[own], outbound=[connector("partner.example", partner.address)]),
        settings={"server": {"workers": workers}, "alarms": {"look": "1s"}},
    )
    assert refusals(server, 6) == [""] * 6
    time.sleep(4.5)  # by then every worker knows what the others counted, and none counts it twice
    assert refusals(server, 4) == [""] * 4
    answered(server, 450, workers=workers)
    assert [said[:9] for said in refusals(server, 2)] == ["450 4.7.1"] * 2
    server.stop()
    server.start()
    (text,) = refusals(server, 1)
    assert text.startswith("450 4.7.1 own servers has reached its limit of 10 messages a day (UTC)")
    (row, *_) = server.trace(event="REFUSE")
    assert "server own servers may send 10 messages a day, and has done so" in row["detail"]["reasons"]
    (sender,) = listed(server, "limit", "list")
    assert (sender["sender"], sender["messages"], sender["messages_allowed"]) == ("server own servers", 10, 10)
    wait_until(lambda: "sending-limit" in server.cli("alarms", expect=None).stdout, "the alarm", timeout=60)
    lifted = server.cli("limit", "lift", "own servers", "--json", expect=0).data
    assert (lifted["lifted"], lifted["messages_allowed"]) == ("all", 0)
    answered(server, 250, workers=workers)
    assert refusals(server, 3) == [""] * 3
    wait_until(
        lambda: "sending-limit" not in server.cli("alarms", expect=None).stdout, "the end of the alarm", timeout=60
    )
    assert server.cli("limit", "lift", "nobody", expect=2).stderr


def test_a_server_without_a_limit_that_sends_far_more_than_usual(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """Nothing is refused. What another worker took counts, and what the days before were like is in the store."""
    partner = sink()
    server = gateway(
        contoso(inbound=[OWN_SERVERS], outbound=[connector("partner.example", partner.address)]),
        settings={"server": {"workers": 2}, "alarms": {"look": "1s", "unusual_sending": 12}},
    )
    with closing(Storage(server.store_url, server.data_dir).sending_usage()) as table:
        for days, recipients in ((9, 1), (2, 2)):
            table.add(
                [SenderUsage(day_text(time.time() - days * 86400), "contoso", "server own servers", 1, recipients)]
            )
    assert refusals(server, 11) == [""] * 11
    assert listed(server, "limit", "list") == []
    assert "sending-unusual" not in server.cli("alarms", expect=None).stdout
    server.stop()  # what was counted is written
    server.start()
    assert refusals(server, 1) == [""]
    server.stop()
    server.start()
    wait_until(lambda: "sending-unusual" in server.cli("alarms", expect=None).stdout, "the alarm", timeout=60)
    (alarm,) = [one for one in server.cli("alarms", "--json", expect=None).data["alarms"] if "sending" in one["kind"]]
    assert (alarm["severity"], alarm["about"]) == ("critical", "contoso/server own servers")
    assert "sent to 12 recipients; on its busiest day of the five weeks before, to 2" in alarm["detail"]
    search, disable = (shlex.split(line)[1:] for line in alarm["lines"])
    assert len(server.cli(*search, "--json", expect=0).data) == 12
    server.cli(*disable, expect=0)
    wait_until(lambda: set(refusals(server, 1)) != {""}, "its mail is not taken any more")


def test_two_nodes_with_one_database_count_together(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], postgres: Postgres
) -> None:
    """What one node took counts for the other, and so does what is lifted at one."""
    partner, url = sink(), postgres.database()
    own = {**OWN_SERVERS, "messages_per_day": 5}
    resources = contoso(inbound=[own], outbound=[connector("partner.example", partner.address)])

    def node(name: str, given: Any) -> Gateway:
        settings = {"server": {"node": name, "workers": 1}, "store": {"url": url, "shared_mailboxes": True}}
        return gateway(given, hostname=f"{name}.contoso.example", settings=settings)

    first, second = node("mx1", resources), node("mx2", "")
    assert refusals(first, 3) == [""] * 3
    time.sleep(4.5)  # by then each node knows what the other counted
    assert refusals(second, 2) == [""] * 2
    for server in (second, first):
        answered(server, 450)
        assert [said[:9] for said in refusals(server, 1)] == ["450 4.7.1"]
    for server in (first, second):
        (sender,) = listed(server, "limit", "list")
        assert (sender["messages"], sender["messages_allowed"]) == (5, 5)
    first.cli("limit", "lift", "own servers")
    answered(second, 250)
    assert refusals(second, 1) == [""]


def test_a_user_has_the_lower_of_two_limits(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """Recipients count one by one, those of a message that is given up do not, and others go on."""
    partner = sink()
    resources = contoso(outbound=[connector("partner.example", partner.address)], user_recipients_per_day=5)
    resources["organization"]["contoso"]["mailbox"][0]["recipients_per_day"] = 3
    server = gateway(
        resources, certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root, listeners=("mx", "submissions")
    )
    for address in ("alice@contoso.example", "ann@contoso.example"):
        server.cli("mailbox", "password", address, "--stdin", given="correct horse")
    for address, most in (("alice@contoso.example", 3), ("ann@contoso.example", 5)):
        with smtplib.SMTP_SSL("127.0.0.1", server.ports["submissions"], context=blind_context()) as client:
            client.login(address, "correct horse")
            client.mail(address)
            assert client.rcpt("given-up@partner.example")[0] == 250
            client.rset()
            client.mail(address)
            codes = [client.rcpt(f"u{number}@partner.example")[0] for number in range(7)]
            assert codes == [250] * most + [450] * (7 - most)
            assert client.data(message(sender=address))[0] == 250
    said = server.cli("explain", "--from", "alice@contoso.example", "--to", "u@partner.example", "--ip", "127.0.0.1")
    assert "may send" not in said.stdout  # the server, not the user, and it has no limit
    assert send(server.port, "u@partner.example") == {}


def test_a_connector_in_rehearsal_refuses_nothing(gateway: Callable[..., Gateway], sink: Callable[..., Sink]) -> None:
    partner = sink()
    own = {**OWN_SERVERS, "recipients_per_day": 1, "mode": "rehearse"}
    server = gateway(contoso(inbound=[own], outbound=[connector("partner.example", partner.address)]))
    assert refusals(server, 3) == [""] * 3
    row = wait_until(
        lambda: [row for row in server.trace(event="RECEIVE") if "would_refuse" in row["detail"]], "the trace"
    )[0]
    assert row["detail"]["would_refuse"].startswith("450 4.7.1")
    said = server.cli("explain", "--from", "a@contoso.example", "--to", "u@partner.example", "--ip", "127.0.0.1")
    assert "server own servers may send 1 recipient a day" in said.stdout
