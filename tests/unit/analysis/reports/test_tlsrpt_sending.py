"""A real web server on loopback takes reports; the DNS and the queue are tables."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.rdata
import pytest
from support.web import Web, status

from gatepost.analysis.reports.tlsrpt_sending import NotSent, ReportSender, ReportTransports, report_of
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus, Resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.tlsrpt.outgoing import Outgoing, Reporter
from gatepost.protocols.tlsrpt.received import MAX_PACKED, MAX_REPORT, parse_report, unpack
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sent_reports import SENT, SentReport
from gatepost.store.session_counts import MOST_FAILURES, MOST_POLICIES
from gatepost.store.storage import Storage
from gatepost.values import replace

DAY, MIDNIGHT = "2026-11-24", 1_795_564_800.0  # at the end of that day
HOUR = 3600.0
REPORTER = Reporter("Contoso", "tls@contoso.example", "contoso.example")
DOWN = status(500)


def count(directory: Path, *domains: str, day: str = DAY) -> None:
    policies = [applied(PolicyType.NONE, domain) for domain in domains]
    Storage(SQLITE, directory).session_counts().write(day, [Count(day, one.domain, one, None, 7) for one in policies])


@dataclass
class Dns:
    """Of each domain the rua of its record, an error to raise, or a text of its own."""

    found: dict[str, str | LookupFailed]
    asked: list[str] = field(default_factory=list)

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        assert rdtype == "TXT"
        domain = name.removeprefix("_smtp._tls.")
        self.asked.append(domain)
        match self.found.get(domain, ""):
            case LookupFailed() as failed:
                raise failed
            case "":
                return DnsAnswer(DnsStatus.NXDOMAIN, (), authentic=False, ttl=60, names=(name,))
            case str(rua):
                text = f'"{rua}"' if rua.startswith("v=") else f'"v=TLSRPTv1; rua={rua}"'
                record = dns.rdata.from_text("IN", "TXT", text)
                return DnsAnswer(DnsStatus.OK, (record,), authentic=False, ttl=60, names=(name,))


@dataclass
class Mail:
    """What was queued, unless it is refused."""

    refused: NotSent | StoreFailure | None = None
    queued: list[tuple[str, Outgoing]] = field(default_factory=list)

    async def send(self, to: str, report: Outgoing) -> str:
        if self.refused is not None:
            raise self.refused
        self.queued.append((to, report))
        return "000000000000001a"


class World:
    """A sender whose clock is turned by hand. posted: what the web server was sent; answer: what it says."""

    def __init__(self, directory: Path, found: dict[str, Any]) -> None:
        self.directory = directory
        self.dns = Dns(found)
        self.mail = Mail()
        self.now = MIDNIGHT + 6 * HOUR
        self.private = True
        self.posted: list[bytes] = []
        self.answer = status(201)
        self.hanging: set[str] = set()
        self.heads: list[bytes] = []

    def take(self, body: bytes) -> bytes:
        self.posted.append(body)
        return self.answer

    def rounds(self, *times: float) -> list[SentReport]:
        """A fresh process for each of the times; what is known in the end. https goes to a server without TLS."""

        async def run() -> None:
            async with Web({"/r": self.take}, hanging=self.hanging) as web:
                resolver = Resolver(Nameservers(["127.0.0.1:9"]))
                for moment in times or (self.now,):
                    self.now = moment
                    client = _Plain(HttpClient(resolver), web.port)
                    ways = ReportTransports(self.dns, client, self.mail, 2.0, self.private)
                    sender = ReportSender(
                        Storage(SQLITE, self.directory), REPORTER, ways, spread=HOUR, clock=lambda: self.now
                    )
                    await sender.round()
                self.heads += web.heads

        asyncio.run(run())
        return self.known()

    def known(self) -> list[SentReport]:
        return Storage(SQLITE, self.directory).sent_reports().read("2026-01-01", lambda _: True)


class _Plain:
    """The real client, led to the port of a server without certificate; `lookups.http` tests certificates."""

    def __init__(self, client: HttpClient, port: int) -> None:
        self._client = client
        self._port = port

    async def fetch(self, request: Any) -> Any:
        url = request.url.replace("https://b.example", f"http://127.0.0.1:{self._port}")
        return await self._client.fetch(replace(request, url=url))


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    def made(*domains: str, **found: Any) -> World:
        count(tmp_path, *(domains or ("b.example",)))
        return World(tmp_path, {name.replace("_", "."): rua for name, rua in found.items()})

    return made


def said(known: list[SentReport]) -> list[tuple[str, str, str, int]]:
    return [(one.domain, one.rua, str(one.state), one.tries) for one in known]


def test_a_report_goes_where_the_record_says(world: Callable[..., World]) -> None:
    one = world(
        "a.example",
        "b.example",
        "c.example",
        b_example="https://b.example/r,mailto:tls%21@b.example",
        c_example="v=TLSRPTv1; nonsense",
    )
    known = one.rounds()
    assert said(known) == [
        ("b.example", "https://b.example/r", "sent", 1),
        ("b.example", "mailto:tls%21@b.example", "sent", 1),
    ]
    assert known[1].message == "000000000000001a"
    ((to, queued),) = one.mail.queued
    assert to == "tls!@b.example"
    assert one.posted == [queued.content]
    assert b"Content-Type: application/tlsrpt+gzip" in one.heads[0]
    report = parse_report(unpack(queued.content))
    assert [(policy.domain, policy.passed) for policy in report.policies] == [("b.example", 7)]
    assert sorted(one.dns.asked) == ["a.example", "b.example", "c.example"]


def test_restarts_send_nothing_twice_and_ask_nobody_twice(world: Callable[..., World]) -> None:
    one = world("a.example", "b.example", b_example="https://b.example/r")
    one.rounds(*(MIDNIGHT + hour * HOUR for hour in (6, 6.1, 7, 23, 25, 40)))
    assert len(one.posted) == 1
    assert sorted(one.dns.asked) == ["a.example", "b.example"]


def test_a_day_is_reported_when_it_is_over_and_its_time_has_come(world: Callable[..., World]) -> None:
    one = world(b_example="https://b.example/r")
    assert one.rounds(MIDNIGHT - 60, MIDNIGHT + 60, MIDNIGHT + 890) == []
    (waits,) = one.rounds(MIDNIGHT + 901)
    assert MIDNIGHT + 900 <= waits.next <= MIDNIGHT + 900 + HOUR
    assert one.rounds(waits.next - 1)[0].state == "waiting"
    assert one.rounds(waits.next)[0].state == "sent"


def test_days_before_sending_was_on_are_let_be_and_those_of_a_pause_are_not(
    world: Callable[..., World], tmp_path: Path
) -> None:
    one = world(b_example="https://b.example/r")
    for day in ("2026-11-20", "2026-11-23"):
        count(tmp_path, "b.example", day=day)
    one.rounds()
    assert [report.day for report in one.known()] == [DAY]
    for day in ("2026-11-25", "2026-11-26", "2026-11-28"):
        count(tmp_path, "b.example", day=day)
    one.rounds(MIDNIGHT + 3 * 24 * HOUR + 6 * HOUR)
    assert [report.day for report in one.known()] == [DAY, "2026-11-25", "2026-11-26"]


def test_a_gateway_that_is_new_and_counted_nothing_yet(tmp_path: Path) -> None:
    one = World(tmp_path, {"b.example": "https://b.example/r"})
    one.rounds()
    count(tmp_path, "b.example", day="2026-11-25")
    assert [report.day for report in one.rounds(MIDNIGHT + 30 * HOUR)] == ["2026-11-25"]


def test_a_server_that_is_down_for_a_while(world: Callable[..., World]) -> None:
    one = world(b_example="https://b.example/r")
    one.answer = DOWN
    (waits,) = one.rounds()
    assert said([waits]) == [("b.example", "https://b.example/r", "waiting", 1)]
    assert "status 500" in waits.detail
    assert len(one.posted) == 1
    one.answer = status(200)
    (sent,) = one.rounds(waits.next)
    assert (sent.state, sent.tries, sent.detail) == ("sent", 2, "")
    assert one.posted[0] == one.posted[1], "the same report"


HOSTILE = {
    "redirection": (status(302, "Location: https://elsewhere.example/\r\n"), "is not followed"),
    "no": (status(404), "status 404"),
    "not HTTP": (b"\x00\x01 nonsense\r\n\r\n", "illegal"),
    "endless header": (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 1_000_000, "too"),
    "nothing": (b"", "disconnected"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_server_that_never_takes_it_is_given_up_after_a_day(
    world: Callable[..., World], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = world(b_example="https://b.example/r")
    one.answer, detail_ = HOSTILE[name]
    (waits,) = one.rounds()
    assert detail_ in waits.detail
    begun = one.now
    for _ in range(30):
        (waits,) = one.rounds(waits.next)
        if waits.state != "waiting":
            break
    assert waits.state == "given-up"
    assert begun + 24 * HOUR <= one.now <= begun + 24 * HOUR + 60
    assert 8 <= len(one.posted) <= 14
    assert any("given up" in record.message for record in caplog.records if record.levelno == logging.WARNING)


def test_an_answer_without_end_is_an_answer(world: Callable[..., World]) -> None:
    one = world(b_example="https://b.example/r")
    one.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000
    assert one.rounds()[0].state == "sent"


def test_a_server_that_says_nothing_is_not_waited_for(world: Callable[..., World]) -> None:
    one = world(b_example="https://b.example/r")
    one.hanging = {"/r"}
    (waits,) = one.rounds()
    assert (waits.state, "within 2 s" in waits.detail) == ("waiting", True)


def test_no_report_goes_to_a_private_address(world: Callable[..., World]) -> None:
    one = world(b_example="https://b.example/r")
    one.private = False
    (gone,) = one.rounds()
    assert (gone.state, gone.tries) == ("given-up", 1)
    assert "not a public address" in gone.detail
    assert one.posted == []


@pytest.mark.parametrize("bogus", [False, True])
def test_a_record_that_cannot_be_looked_up(world: Callable[..., World], *, bogus: bool) -> None:
    one = world(b_example=LookupFailed("no answer", bogus=bogus))
    (waits,) = one.rounds()
    assert (waits.rua, waits.state) == ("", "waiting")
    assert "its record cannot be looked up: no answer" in waits.detail
    one.dns.found["b.example"] = "https://b.example/r"
    (sent,) = one.rounds(waits.next)
    assert (sent.rua, sent.state) == ("https://b.example/r", "sent")


def test_mail_that_cannot_be_sent(world: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    one = world(b_example="mailto:tls@b.example")
    one.mail.refused = NotSent("contoso.example has no current DKIM key", ours=True)
    (waits,) = one.rounds()
    told = [record.levelname for record in caplog.records if "has no current DKIM key" in record.message]
    assert "ERROR" in told
    assert (waits.state, waits.detail) == ("waiting", "contoso.example has no current DKIM key")
    one.mail.refused = StoreFailure("the disk is full")
    (claimed,) = one.rounds(waits.next)
    assert claimed.state == "trying"
    assert "the disk is full" in caplog.text
    one.mail.refused = None
    (sent,) = one.rounds(claimed.next)
    assert sent.state == "sent"
    assert len(one.mail.queued) == 1


def test_mail_that_can_never_be_sent(world: Callable[..., World]) -> None:
    one = world(b_example="mailto:tls@b.example")
    one.mail.refused = NotSent("its address cannot be written to", lasting=True)
    assert one.rounds()[0].state == "given-up"


def test_counts_that_are_gone(world: Callable[..., World], tmp_path: Path) -> None:
    one = world(b_example="https://b.example/r")
    one.answer = DOWN
    (waits,) = one.rounds()
    Storage(SQLITE, tmp_path).session_counts().prune("2026-11-25")
    (gone,) = one.rounds(waits.next)
    assert (gone.state, gone.detail) == ("given-up", "its counts are not kept any more")


def test_many_domains(world: Callable[..., World]) -> None:
    names = [f"d{number}.example" for number in range(300)]
    one = world(*names)
    one.dns.found = dict.fromkeys(names[::2], "https://b.example/r")
    assert {report.state for report in one.rounds()} == {"sent"}
    assert len(one.posted) == len(set(one.posted)) == 150


def test_the_largest_day_of_a_domain_is_one_that_every_reader_takes(tmp_path: Path) -> None:
    """Whatever partners do: what a day may hold of one domain is bounded, and so is its report."""
    policies = [
        applied(PolicyType.STS, "b.example", [f"{number:03}" + "x" * 1190] * 7, ["m" * 255] * 30)
        for number in range(MOST_POLICIES + 5)
    ]
    failures = [
        detail(
            ResultType.CERTIFICATE_HOST_MISMATCH, mx_host=f"{number}" + "m" * 250, address="f" * 39, helo="h" * 255,
            sending_address="f" * 39, reason="r" * 120,
        )
        for number in range(MOST_FAILURES + 50)
    ]  # fmt: skip
    counts = [Count(DAY, "b.example", policy, None, 1 << 40) for policy in policies]
    counts += [Count(DAY, "b.example", policies[0], failure, 1 << 40) for failure in failures]
    Storage(SQLITE, tmp_path).session_counts().write(DAY, counts)
    made = report_of(Storage(SQLITE, tmp_path).session_counts(), REPORTER, DAY, "b.example")
    assert made is not None
    text = unpack(made.content)
    assert len(text) < MAX_REPORT / 4
    assert len(made.content) < MAX_PACKED / 4
    report = parse_report(text)
    assert sum(one.failed for one in report.policies) == (1 << 40) * len(failures)
    assert report.left_out == 0


def test_what_is_known_cannot_be_read(world: Callable[..., World], tmp_path: Path) -> None:
    one = world(b_example="https://b.example/r")
    (tmp_path / SENT.file).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreFailure, match=SENT.file):
        one.rounds()
    assert one.posted == []
