"""What `test_probe` cannot bring about over a loopback: networks without a way, chains that were revoked."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from gatepost.analysis.checks.findings import Seen, findings, so_far
from gatepost.analysis.checks.tasks import PROBE_TASKS, Task, TaskStatus
from gatepost.mail.outbound.connection import Step
from gatepost.mail.outbound.failure import cannot_connect, fell_short
from gatepost.mail.outbound.hop import Hop
from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.requirement import Authenticated, Identity, Opportunistic, Requirement, Source
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, Revocation, TlsFacts
from gatepost.protocols.tls.limits import TlsLimits, limited
from gatepost.values import replace

RESOLVED = Task("Resolve", TaskStatus.SUCCEEDED, "")
ASKS = (Source("connector", "out"),)
STRICT = Authenticated(ASKS, (Identity(("mx.b.example",)),))
LEAF = CertificateFacts(
    "CN=mx.b.example", "CN=Root", "1", "mx.b.example", ("mx.b.example",), (), "aa", "bb", "cc", 0.0, 9e9, "EC-P-256"
)
TRUSTED = ChainVerdict(ChainStatus.TRUSTED, "the chain leads to the trust anchor CN=Root", LEAF, "CN=Root")
TLS = TlsFacts("TLSv1.2", "TLS_RSA_WITH_AES_256_GCM_SHA384", "", "", resumed=False, server_name="")
TRANSCRIPT = ("< 220 mx ESMTP", "> EHLO", "< 250 mx", "< 250 STARTTLS", "> STARTTLS", "< 220 2.0.0 go")


def seen(requirement: Requirement, chain: ChainVerdict | None, **options: Any) -> Seen:
    """An attempt that came as far as the judgement."""
    hop = Hop("mx.b.example", "192.0.2.1", 25, requirement)
    facts = HopFacts(hop.host, hop.endpoint, starttls_offered=True, tls=TLS, chain=chain)
    verdict = judge(requirement, facts)
    found = Seen(hop, lambda: 0.0, 1_795_528_800.0, transcript=TRANSCRIPT, facts=facts, verdict=verdict, **options)
    for step in (Step.CONNECT, Step.GREETING, Step.HELLO, Step.STARTTLS, Step.HANDSHAKE, Step.HELLO):
        found(step)
    found.end()
    if not verdict.passed:
        found.failure = fell_short(verdict, facts, TRANSCRIPT)
    return found


def statuses(found: Seen) -> dict[str, Task]:
    tasks = findings(found, RESOLVED)
    assert [task.name for task in tasks] == list(PROBE_TASKS)
    return {task.name: task for task in tasks}


@pytest.mark.parametrize(
    ("requirement", "fields", "status", "words"),
    [
        (STRICT, {}, "", ""),
        (replace(STRICT, requiretls=True), {"requiretls_offered": True}, "succeeded", "offered after STARTTLS"),
        (replace(STRICT, requiretls=True), {}, "failed", "not offered after STARTTLS"),
        (replace(STRICT, requiretls=True), {"tls": None}, "skipped", "which was not reached"),
    ],
)
def test_requiretls_is_told_where_it_is_asked_for(
    requirement: Authenticated, fields: dict[str, Any], status: str, words: str
) -> None:
    found = seen(requirement, TRUSTED)
    assert found.facts is not None
    found.facts = replace(found.facts, **fields)
    tasks = {task.name: task for task in findings(found, RESOLVED)}
    assert ("REQUIRETLS" in tasks) is bool(status)
    if status:
        assert str(tasks["REQUIRETLS"].status) == status
        assert words in tasks["REQUIRETLS"].detail
        assert bool(tasks["REQUIRETLS"].advice) is (status == "failed")


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH])
@pytest.mark.parametrize(("address", "status"), [("2001:db8::1", "warning"), ("192.0.2.1", "failed")])
def test_no_way_to_a_network(number: int, address: str, status: str) -> None:
    error = OSError(number, "Connect call failed")
    hop = Hop("mx.b.example", address, 25, STRICT)
    found = Seen(hop, lambda: 0.0, 0.0, failure=cannot_connect(error), error=error)
    found(Step.CONNECT)
    found.end()
    task = statuses(found)["Connect"]
    assert str(task.status) == status
    assert task.advice.startswith("Here:")
    assert all(one.status is TaskStatus.SKIPPED for one in list(statuses(found).values())[2:])


def test_a_time_out_says_how_long() -> None:
    error = TimeoutError("no connection to [192.0.2.1]:25 within 15 s")
    found = Seen(Hop("mx", "192.0.2.1", 25, STRICT), lambda: 0.0, 0.0, failure=cannot_connect(error), error=error)
    found(Step.CONNECT)
    found.end()
    assert "within 15 s" in statuses(found)["Connect"].detail
    assert "firewall" in statuses(found)["Connect"].advice


@pytest.mark.parametrize(
    ("learnt", "check", "status", "words"),
    [
        (Revocation("good", "", "crl"), "soft-fail", "succeeded", "good (crl)"),
        (Revocation("not-published", "nobody publishes"), "soft-fail", "succeeded", "not-published: nobody publishes"),
        (Revocation("unknown", "no answer"), "soft-fail", "warning", "unknown: no answer"),
        (Revocation("unknown", "no answer"), "hard-fail", "failed", "no answer"),
        (Revocation("revoked", "revoked on 2026-11-01", "ocsp"), "soft-fail", "failed", "revoked on 2026-11-01"),
        (None, "none", "skipped", 'revocation_check = "none"'),
        (None, "soft-fail", "skipped", "not checked"),
    ],
)
def test_revocation(learnt: Revocation | None, check: str, status: str, words: str) -> None:
    chain = TRUSTED.checked(learnt, hard_fail=check == "hard-fail") if learnt else TRUSTED
    found = seen(replace(STRICT, revocation=RevocationCheck(check)), chain)
    tasks = statuses(found)
    assert str(tasks["Revocation"].status) == status
    assert words in tasks["Revocation"].detail
    assert tasks["Certificate"].status is TaskStatus.SUCCEEDED
    assert (found.failure is not None) is (status == "failed")
    assert bool(tasks["Revocation"].advice) is (status in {"failed", "warning"})


def test_a_connection_without_forward_secrecy_says_so() -> None:
    assert statuses(seen(STRICT, TRUSTED))["TLS handshake"].detail.endswith("no forward secrecy")


def test_a_version_that_is_too_old_is_said_in_the_handshake() -> None:
    tasks = statuses(seen(replace(STRICT, min_version="TLSv1.3"), TRUSTED))
    assert tasks["TLS handshake"].status is TaskStatus.FAILED
    assert tasks["TLS handshake"].text.endswith("; expected: TLSv1.3 or newer")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (limited(post_quantum=True), "expected: post-quantum key exchange (X25519MLKEM768)"),
        (limited(suites=["TLS_CHACHA20_POLY1305_SHA256"]), "expected: cipher suite TLS_CHACHA20_POLY1305_SHA256"),
    ],
)
def test_what_is_not_allowed_is_said_in_the_handshake(limits: TlsLimits, expected: str) -> None:
    task = statuses(seen(replace(STRICT, limits=limits), TRUSTED))["TLS handshake"]
    assert task.status is TaskStatus.FAILED
    assert expected in task.text
    assert "min_key_exchange" in task.advice


def test_anchors_that_cannot_be_read_are_a_warning_where_nobody_needs_them() -> None:
    tasks = statuses(seen(Opportunistic(ASKS), None))
    assert tasks["Certificate"].status is TaskStatus.WARNING
    assert tasks["Name"].status is tasks["Revocation"].status is TaskStatus.SKIPPED


def test_no_certificate() -> None:
    chain = ChainVerdict(ChainStatus.NO_CERTIFICATE, "no certificate was presented", None)
    assert statuses(seen(STRICT, chain))["Certificate"].detail == "no-certificate: no certificate was presented"
    assert statuses(seen(Opportunistic(ASKS), chain))["Name"].status is TaskStatus.SKIPPED


def test_how_long_each_step_took() -> None:
    clock = iter([0.0, 1.0, 3.0, 7.0])
    found = Seen(Hop("mx", "192.0.2.1", 25, STRICT), lambda: next(clock), 0.0)
    for step in (Step.CONNECT, Step.GREETING, Step.HELLO):
        found(step)
    found.end()
    assert found.seconds(Step.CONNECT) == 1.0
    assert found.seconds(Step.GREETING, Step.HELLO) == 6.0


def test_many_extensions_are_not_all_shown() -> None:
    found = seen(STRICT, TRUSTED)
    found.transcript = ("< 220 mx", "> EHLO", "< 250 mx", *(f"< 250 X{number}" for number in range(30)))
    assert statuses(found)["EHLO"].detail.endswith("X19 and 10 more")


def test_what_an_lmtp_server_offers_stands_below_lhlo() -> None:
    found = seen(STRICT, TRUSTED)
    found.hop = replace(found.hop, lmtp=True)
    found.transcript = ("< 220 dovecot", "> LHLO", "< 250 dovecot", "< 250 STARTTLS", "> STARTTLS", "< 220 go")
    assert statuses(found)["EHLO"].detail == "220 dovecot\noffers STARTTLS"


def test_a_shortfall_that_no_task_shows_is_never_a_success() -> None:
    """Whatever policy may come to demand: a check must not say yes where mail would wait."""
    found = seen(STRICT, TRUSTED)
    found.failure = fell_short(judge(STRICT, HopFacts("mx", "192.0.2.1")), HopFacts("mx", "192.0.2.1"), TRANSCRIPT)
    tasks = findings(found, RESOLVED)
    assert tasks[-1].status is TaskStatus.FAILED
    assert "STARTTLS is required" in tasks[-1].detail


def told_so_far(found: Seen) -> list[str]:
    return [f"{task.name} {task.status}" for task in so_far(found, RESOLVED) if str(task.status) != "waiting"]


def test_while_it_goes_on_a_task_ends_when_the_next_begins() -> None:
    told: list[list[str]] = []
    found = Seen(Hop("mx.b.example", "192.0.2.1", 25, STRICT), lambda: 1.0, 1_795_528_800.0)
    found.on_step = lambda: told.append(told_so_far(found))
    facts = HopFacts("mx.b.example", "192.0.2.1:25", starttls_offered=True)
    found(Step.CONNECT)
    found.connected(TRANSCRIPT)
    for step in (Step.GREETING, Step.HELLO, Step.STARTTLS, Step.HANDSHAKE):
        found(step)
    found.secured(facts, TLS)
    found(Step.HELLO)
    found.judged(replace(facts, tls=TLS), TRUSTED)
    ended: list[str] = []
    for place, (name, times) in enumerate(
        [("Connect", 1), ("EHLO", 2), ("STARTTLS", 1), ("TLS handshake", 1), ("Certificate", 1), ("Revocation", 1)]
    ):
        before = "Resolve" if not place else told_names[place - 1]
        ended.append(f"{before} succeeded")
        if name == "Revocation":
            ended.append("Name succeeded")
        for _ in range(times):
            assert told.pop(0) == [*ended, f"{name} running"]
    assert told == []
    tasks = {task.name: task for task in so_far(found, RESOLVED)}
    assert tasks["EHLO"].detail == "220 mx ESMTP\noffers STARTTLS"
    assert tasks["TLS handshake"].detail.startswith("TLSv1.2, ")
    assert tasks["Certificate"].first == "trusted: the chain leads to CN=Root"
    assert all(task.seconds >= 0 for task in tasks.values())


told_names = ["Connect", "EHLO", "STARTTLS", "TLS handshake", "Certificate"]


def test_revocation_has_its_time_and_the_greeting_does_not() -> None:
    now = [0.0]
    found = Seen(Hop("mx.b.example", "192.0.2.1", 25, STRICT), lambda: now[0], 1_795_528_800.0)
    for step in (Step.CONNECT, Step.GREETING, Step.HELLO, Step.STARTTLS, Step.HANDSHAKE, Step.HELLO):
        found(step)
        now[0] += 1
    found.judged(HopFacts("mx.b.example", "192.0.2.1:25", tls=TLS), TRUSTED)
    now[0] += 5
    found.end()
    assert (found.seconds(Step.REVOCATION), found.seconds(Step.GREETING, Step.HELLO)) == (5, 3)
    assert found.over_tls
