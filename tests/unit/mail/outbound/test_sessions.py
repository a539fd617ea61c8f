from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.mail.model.message import Message
from gatepost.mail.outbound.failure import HopFailure
from gatepost.mail.outbound.hop import Hop
from gatepost.mail.outbound.sessions import RouteSessions, SessionLog, counted
from gatepost.net.lookups.question import LookupFailed
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.published import Published, StsFound, dnssec_failed
from gatepost.policy.decisions.requirement import Opportunistic, Source
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, TlsaLookup, TlsaStatus, Usage
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, TlsSession, applied
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage
from gatepost.values import replace

NOON, DAY = 1_763_985_600.0, "2025-11-24"  # 12:00 UTC
POLICY = applied(PolicyType.NONE, "b.example")
SESSION = TlsSession("b.example", ((POLICY, None),))
LATER = Reply(450, "4.4.317", ("later",))


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    made = SessionLog(Storage(SQLITE, tmp_path).session_counts(), interval=3600, clock=lambda: NOON)
    yield made
    made.close()


def counts(log: SessionLog, tmp_path: Path) -> list[Count]:
    """All that was counted; it counts no more."""
    log.close()
    return Storage(SQLITE, tmp_path).session_counts().read(DAY)


# the log


def test_counts_are_written_every_while_and_at_the_end(tmp_path: Path) -> None:
    now = NOON
    log = SessionLog(Storage(SQLITE, tmp_path).session_counts(), interval=0.05, clock=lambda: now)
    log.count(SESSION)
    wait_for(lambda: Storage(SQLITE, tmp_path).session_counts().read(DAY))
    log.count(SESSION)
    now += 86400
    log.count(SESSION)
    log.close()
    assert Storage(SQLITE, tmp_path).session_counts().read(DAY) == [Count(DAY, "b.example", POLICY, None, 2)]
    assert Storage(SQLITE, tmp_path).session_counts().read("2025-11-25") == [
        Count("2025-11-25", "b.example", POLICY, None, 1)
    ]


def test_two_logs_write_one_day(tmp_path: Path) -> None:
    logs = [SessionLog(Storage(SQLITE, tmp_path).session_counts(), interval=0.01, clock=lambda: NOON) for _ in range(2)]
    for _ in range(50):
        for log in logs:
            log.count(SESSION)
        time.sleep(0.002)
    for log in logs:
        log.close()
    assert Storage(SQLITE, tmp_path).session_counts().read(DAY) == [Count(DAY, "b.example", POLICY, None, 100)]


def test_old_days_are_forgotten(tmp_path: Path) -> None:
    for day in ("2025-11-09", "2025-11-10"):
        Storage(SQLITE, tmp_path).session_counts().write(day, [Count(day, "b.example", POLICY, None, 1)])
    SessionLog(Storage(SQLITE, tmp_path).session_counts(), interval=3600, clock=lambda: NOON).close()
    assert Storage(SQLITE, tmp_path).session_counts().days() == ["2025-11-10"]


def test_a_disk_that_fails_costs_one_line_and_later_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "sessions"
    directory.write_text("in the way")
    caplog.set_level(logging.INFO)
    log = SessionLog(Storage(SQLITE, directory).session_counts(), interval=0.01, clock=lambda: NOON)
    log.count(SESSION)
    wait_for(lambda: "kept in memory" in caplog.text)
    log.count(SESSION)
    directory.unlink()
    wait_for(lambda: "written again" in caplog.text)
    log.close()
    assert Storage(SQLITE, directory).session_counts().read(DAY) == [Count(DAY, "b.example", POLICY, None, 2)]
    assert sum(one.levelno == logging.ERROR for one in caplog.records) == 1


def test_what_is_lost_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    log = SessionLog(Storage(SQLITE, tmp_path / "file").session_counts(), interval=3600, clock=lambda: NOON)
    log.count(SESSION)
    log.close()
    assert "1 of them could not be written, and are lost" in caplog.text


def test_what_finds_no_room_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = SessionLog(Storage(SQLITE, tmp_path).session_counts(), interval=3600, clock=lambda: NOON, most=1)
    for number in range(5):
        log.count(TlsSession(f"d{number}.example", ((POLICY, None),)))
    log.close()
    assert [one.getMessage() for one in caplog.records] == [
        "session counts: there was no room for 3 results of sessions"
    ]
    assert len(Storage(SQLITE, tmp_path).session_counts().read(DAY)) == 2


# what is counted of a way

RECORD = Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32))
USABLE = TlsaLookup(TlsaStatus.USABLE, "one", Records((RECORD,)), "mx.b.example", ("mx.b.example",))
DOWN = StsFound("b.example", failure=ResultType.STS_POLICY_FETCH_ERROR)
HOP = Hop("mx.b.example", "192.0.2.1", 25, Opportunistic((Source("default"),)))
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519", "", False, "")
CLEAR = HopFacts("mx.b.example", "192.0.2.1:25")
SAID = ("< 220 helo.b.example ESMTP", "> EHLO gate.example")


def failure(**fields: Any) -> HopFailure:
    given = {"facts": CLEAR, "transcript": SAID, "local": "198.51.100.7"} | fields
    return HopFailure(LATER, "it failed", **given)


def told(found: list[Count]) -> list[str]:
    return [
        f"{one.domain} {one.policy.type} {one.failure.result if one.failure else 'passed'} {one.sessions}"
        for one in found
    ]


def test_metrics_are_told_of_handshakes_and_of_failures(log: SessionLog) -> None:
    way = RouteSessions(log, "b.example")
    way.failed(HOP, failure(result_type=ResultType.STARTTLS_NOT_SUPPORTED))
    way.failed(HOP, failure(facts=replace(CLEAR, tls=TLS), result_type=ResultType.CERTIFICATE_EXPIRED))
    way.failed(HOP, failure())
    RouteSessions(None).failed(HOP, failure(result_type=ResultType.CERTIFICATE_EXPIRED))
    assert log.counts.numbers == {
        ("gatepost_tls_failures_total", "outbound", "starttls-not-supported"): 1,
        ("gatepost_tls_failures_total", "outbound", "certificate-expired"): 1,
        ("gatepost_tls_sessions_total", "outbound", "TLSv1.3", "X25519", "TLS_AES_256_GCM_SHA384", "no"): 1,
    }


def test_a_failed_session_with_all_that_is_known(log: SessionLog, tmp_path: Path) -> None:
    RouteSessions(log, "b.example").failed(HOP, failure())
    (count,) = counts(log, tmp_path)
    assert told([count]) == ["b.example no-policy-found starttls-not-supported 1"]
    assert count.failure is not None
    known = (count.failure.mx_host, count.failure.address, count.failure.helo, count.failure.sending_address)
    assert known == ("mx.b.example", "192.0.2.1", "helo.b.example", "198.51.100.7")


@pytest.mark.parametrize("said", [(), ("< 554 go away",), ("< 220",), ("< 220 ",), ("> QUIT",)])
def test_a_greeting_without_a_name(log: SessionLog, tmp_path: Path, said: tuple[str, ...]) -> None:
    RouteSessions(log, "b.example").failed(HOP, failure(transcript=said))
    (count,) = counts(log, tmp_path)
    assert count.failure is not None
    assert count.failure.helo == ""


def test_no_session_without_a_connection(log: SessionLog, tmp_path: Path) -> None:
    way = RouteSessions(log, "b.example")
    way.failed(HOP, failure(facts=None))
    way.unresolved(LookupFailed("nobody answers", temporary=True), "mx.b.example")
    assert counts(log, tmp_path) == []


def test_a_bogus_answer_is_a_policy_failure(log: SessionLog, tmp_path: Path) -> None:
    way = RouteSessions(log, "b.example")
    way.unresolved(LookupFailed("forged", temporary=True, bogus=True))
    way.barred("mx.b.example", dnssec_failed("forged"), Published())
    assert told(counts(log, tmp_path)) == ["b.example tlsa dnssec-invalid 1"] * 2


def test_a_policy_that_cannot_be_had_is_told_once_an_attempt(log: SessionLog, tmp_path: Path) -> None:
    hop = replace(HOP, published=Published(None, DOWN))
    for addresses in (2, 1):
        way = RouteSessions(log, "b.example")
        for _ in range(addresses):
            way.failed(hop, failure())
    assert told(counts(log, tmp_path)) == [
        "b.example sts sts-policy-fetch-error 2",
        "b.example no-policy-found starttls-not-supported 3",
    ]


def test_records_that_a_message_need_not_obey_are_judged_all_the_same(log: SessionLog, tmp_path: Path) -> None:
    hop = replace(HOP, published=Published(USABLE))
    RouteSessions(log, "b.example").failed(hop, failure(facts=replace(CLEAR, tls=TLS)))
    assert told(counts(log, tmp_path)) == ["b.example tlsa tlsa-invalid 1"]


NOBODYS = [("", "192.0.2.1"), ("", "2001:db8::1"), ("[192.0.2.1]", "mx.b.example"), ("", "[IPv6:2001:db8::1]")]


@pytest.mark.parametrize(("domain", "host"), NOBODYS)
def test_an_address_is_no_policy_domain(log: SessionLog, tmp_path: Path, domain: str, host: str) -> None:
    way = RouteSessions(log, domain)
    way.failed(replace(HOP, host=host), failure(facts=replace(CLEAR, host=host)))
    way.barred(host, dnssec_failed("forged"))
    assert counts(log, tmp_path) == []


def test_a_smart_host_is_its_own_policy_domain(log: SessionLog, tmp_path: Path) -> None:
    RouteSessions(log).failed(HOP, failure())
    assert told(counts(log, tmp_path)) == ["mx.b.example no-policy-found starttls-not-supported 1"]


def test_a_session_for_several_domains_is_one_of_each(log: SessionLog, tmp_path: Path) -> None:
    way = RouteSessions(log, "b.example", "[192.0.2.1]", "c.example")
    way.failed(HOP, failure(result_type=ResultType.STARTTLS_NOT_SUPPORTED))
    way.barred("mx.b.example", dnssec_failed("forged"), Published())
    assert log.counts.numbers == {("gatepost_tls_failures_total", "outbound", "starttls-not-supported"): 1}
    assert sorted(told(counts(log, tmp_path))) == [
        "b.example no-policy-found starttls-not-supported 1",
        "b.example tlsa dnssec-invalid 1",
        "c.example no-policy-found starttls-not-supported 1",
        "c.example tlsa dnssec-invalid 1",
    ]


def test_nothing_is_counted_without_a_log() -> None:
    way = RouteSessions(None, "b.example")
    way.failed(HOP, failure())
    way.barred("mx.b.example", dnssec_failed("forged"))


# through the deliverer


def test_a_kept_connection_counts_once_and_a_failed_address_by_itself(
    log: SessionLog, tmp_path: Path, world: Any, kit: Any
) -> None:
    async def run() -> None:
        async with kit.Peer(tls=world.identity("mx.b.example")) as peer:
            world.settings["sessions"] = log
            deliverer = world.build(mx_port=peer.port)
            for _ in range(3):
                await deliverer.deliver(kit.delivery())
            world.pool.close()
            assert len(peer.messages) == 3
            peer.says["STARTTLS"] = "!break"
            await deliverer.deliver(kit.delivery())
            world.pool.close()

    asyncio.run(run())
    found = counts(log, tmp_path)
    assert [one.failure.sending_address for one in found if one.failure] == ["127.0.0.1"]
    assert told(found) == [
        "b.example no-policy-found passed 1",
        "b.example no-policy-found validation-failure 1",
    ]


def test_clear_text_after_a_broken_handshake_is_the_same_session(
    log: SessionLog, tmp_path: Path, world: Any, kit: Any
) -> None:
    async def run() -> None:
        async with kit.Peer({"STARTTLS": "!break"}, tls=world.identity("mx.b.example")) as peer:
            world.settings["sessions"] = log
            world.resources["cleartext"] = "after-failed-handshake"
            deliverer = world.build(mx_port=peer.port)
            await deliverer.deliver(kit.delivery(attempts=1))
            world.pool.close()
            assert len(peer.messages) == 1

    asyncio.run(run())
    assert told(counts(log, tmp_path)) == ["b.example no-policy-found validation-failure 1"]


def test_what_carries_a_report_of_ours_is_counted_nowhere(log: SessionLog) -> None:
    report = Message(1, "contoso", NOON, "", inbound={"notice_about": "TLS report", "tls_report": "1@contoso.example"})
    assert counted(log, report) is None
    assert counted(log, Message(1, "contoso", NOON, "", inbound={"notice_about": "1"})) is log
    assert counted(None, Message(1, "contoso", NOON, "a@a.example")) is None
