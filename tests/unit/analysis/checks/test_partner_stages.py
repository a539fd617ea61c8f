"""Tables of facts and what is said of them; `tests/system/test_check.py` brings the facts about for real."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from gatepost.analysis.checks.findings import Seen
from gatepost.analysis.checks.partner_report import DeliveryForecast, Mark, PolicyKind, Stage
from gatepost.analysis.checks.partner_stages import (
    HostFacts,
    Reached,
    address_row,
    needs_no_dns,
    policy_of,
    row_so_far,
    waiting_row,
)
from gatepost.mail.outbound.connection import Step
from gatepost.mail.outbound.failure import (
    ConnectionEnded,
    HopFailure,
    cannot_connect,
    connection_lost,
    protocol_broken,
    refused,
)
from gatepost.mail.outbound.hop import Hop
from gatepost.net.lookups.mtasts import StsFailure, StsState
from gatepost.net.lookups.mx import HostAddresses
from gatepost.net.stream import Loss, LossKind
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.published import Modes, Naming, Published, StsFound, terms
from gatepost.policy.decisions.requirement import Opportunistic, Shortfall, Source
from gatepost.protocols.dane.match import DaneFailure, DaneVerdict
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, TlsaLookup, TlsaStatus, Unusable, Usage
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, Revocation, TlsFacts
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

NOW = 1_795_528_800.0
DAY = 86400
NAME = "mx.b.example"
LEAF = CertificateFacts(
    "CN=x", "CN=Root", "1", "x", (NAME,), (), "aa", "bb", "cc", NOW - DAY, NOW + 60.5 * DAY, "EC-P-256"
)
TRUSTED = ChainVerdict(ChainStatus.TRUSTED, "", LEAF, "CN=Root")
STRANGE = ChainVerdict(ChainStatus.SELF_SIGNED, "nobody vouches for it", LEAF)
TLS = TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768", "", resumed=False, server_name="")
RECORD = Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, b"\xab" * 32)
USABLE = TlsaLookup(TlsaStatus.USABLE, "1 TLSA record", Records((RECORD,)), NAME, (NAME,))
MATCHED = DaneVerdict(RECORD, "its key")
DIFFERS = DaneVerdict(None, "another key", DaneFailure.TLSA_INVALID)
NONE = TlsaLookup(TlsaStatus.NONE, "no TLSA records")
ADDRESSES = HostAddresses(NAME, NAME, ("192.0.2.1",), authentic=True)
HOST = HostFacts(NAME, 10, mx_authentic=True, addresses=ADDRESSES, tlsa=NONE, sts=StsState("b.example"))
EHLO = ("< 220 mx ESMTP", "> EHLO me", "< 250 mx", "< 250 SIZE 1", "> STARTTLS", "< 220 go")
STEPS = (Step.CONNECT, Step.GREETING, Step.HELLO, Step.STARTTLS, Step.HANDSHAKE, Step.HELLO)


def sts(mode: StsMode, *mx: str) -> StsState:
    return StsState("b.example", StsPolicy(mode, mx or (NAME,), 604800), "1")


def seen(steps: tuple[Step, ...] = STEPS, failure: HopFailure | None = None, **options: Any) -> Seen:
    ticks = iter(range(1000))
    hop = Hop(NAME, options.pop("address", "192.0.2.1"), 25, Opportunistic((Source("default"),)))
    found = Seen(hop, lambda: next(ticks) / 1000, NOW, transcript=EHLO, failure=failure, **options)
    for step in steps:
        found(step)
    found.end()
    return found


def reached(chain: ChainVerdict | None = TRUSTED, *, tls: TlsFacts | None = TLS, **options: Any) -> Reached:
    """The last EHLO was reached."""
    facts = HopFacts(NAME, "192.0.2.1:25", starttls_offered=True, tls=tls, chain=chain)
    revocation = Revocation("good", "asked", "crl") if chain is not None and chain.trusted else None
    given: dict[str, Any] = {"extensions": frozenset({"SIZE"}), "revocation": revocation}
    return Reached(NOW, seen(facts=facts), **(given | options))


def failing(steps: tuple[Step, ...], failure: HopFailure, **options: Any) -> Reached:
    return Reached(NOW, seen(steps, failure, **options))


def refusal(code: int) -> HopFailure:
    return refused(Reply(code, "", ("go away",)), "the connection")


CONNECT, GREETING = (Step.CONNECT,), (Step.CONNECT, Step.GREETING)
CLEAR = Reached(NOW, seen(STEPS[:3], facts=HopFacts(NAME, "192.0.2.1:25")), extensions=frozenset({"REQUIRETLS"}))
BROKEN_FACTS = HopFacts(NAME, "192.0.2.1:25", starttls_offered=True, handshake_error="wrong version number")
BROKEN = failing(STEPS[:5], protocol_broken("no TLS"), facts=BROKEN_FACTS)
LATE = ConnectionRefusedError(errno.ECONNREFUSED, "x"), TimeoutError("no connection within 15 s")
DANE, UNSIGNED = replace(HOST, tlsa=USABLE), replace(ADDRESSES, authentic=False)
UNUSABLE = TlsaLookup(
    TlsaStatus.UNUSABLE, "1 TLSA record", Records((), (Unusable("0 1 1 ab", "usage"),)), NAME, (NAME,)
)


def lost(kind: LossKind) -> HopFailure:
    return connection_lost(Loss(kind, "it went"))


def unconnected(error: OSError, address: str = "192.0.2.1") -> Reached:
    return failing(CONNECT, cannot_connect(error), error=error, address=address)


# Policy's words have taken the place of what ended the connection; it is still the cause.
TIMED_OUT = failing(
    STEPS[:5], protocol_broken("no TLS"), facts=BROKEN_FACTS, error=ConnectionEnded(lost(LossKind.TIMEOUT))
)

CASES: list[tuple[HostFacts, Reached, str, str, str]] = [
    # host, attempt -> stage=verdict of what is told, words of a text, evidence or fix; outcome
    (
        HOST,
        reached(),
        "dns=pass connect=pass ehlo=pass tls=pass certificate=pass dane=info mta-sts=info",
        "",
        "deliver",
    ),
    (HOST, reached(), "revocation=pass requiretls=info", "post-quantum", "deliver"),
    # DNS
    (
        replace(HOST, trouble="forged", bogus=True),
        Reached(NOW),
        "dns=fail connect=unknown",
        "fix the signatures",
        "hold",
    ),
    (
        replace(HOST, addresses=None, trouble="SERVFAIL", temporary=True),
        Reached(NOW),
        "dns=unknown",
        "SERVFAIL",
        "unknown",
    ),
    (replace(HOST, addresses=None, trouble="no name"), Reached(NOW), "dns=fail", "spelling", "hold"),
    (
        replace(HOST, addresses=replace(ADDRESSES, addresses=())),
        Reached(NOW),
        "dns=fail tls=unknown",
        "A or AAAA",
        "hold",
    ),
    (replace(HOST, addresses=None, tlsa=None), Reached(NOW), "dns=fail dane=unknown", "A or AAAA", "hold"),
    (replace(HOST, no_dnssec="AD is not believed"), reached(), "dns=unknown dane=unknown", "is not known", "deliver"),
    (replace(HOST, addresses=UNSIGNED), reached(), "dns=info", "does not prove the addresses", "deliver"),
    (replace(HOST, mx_authentic=False), reached(), "dns=info", "does not prove the MX records", "deliver"),
    (
        replace(HOST, addresses=replace(ADDRESSES, canonical="real.b.example")),
        reached(),
        "dns=warn",
        "alias of real",
        "deliver",
    ),
    (
        replace(HOST, name="192.0.2.1", preference=None),
        reached(),
        "dns=info certificate=info",
        "no name to compare",
        "deliver",
    ),
    # connecting
    (
        HOST,
        unconnected(LATE[0]),
        "connect=fail ehlo=unknown tls=unknown certificate=unknown",
        "nothing listens",
        "hold",
    ),
    (HOST, unconnected(LATE[0]), "revocation=unknown requiretls=unknown", "Connection refused", "hold"),
    (HOST, unconnected(LATE[1]), "connect=unknown", "outgoing port 25", "unknown"),
    (HOST, unconnected(OSError(errno.ENETUNREACH, "x")), "connect=unknown", "routes of this machine", "unknown"),
    (HOST, unconnected(OSError(errno.ENETUNREACH, "x"), "2001:db8::1"), "connect=unknown", "has no IPv6", "unknown"),
    (HOST, Reached(NOW, why="not done"), "connect=unknown ehlo=unknown", "not done", "unknown"),
    # EHLO
    (HOST, failing(GREETING, refusal(554)), "connect=pass ehlo=fail tls=unknown", "refuses this machine", "hold"),
    (HOST, failing(GREETING, refusal(421)), "ehlo=unknown", "temporarily", "unknown"),
    (HOST, failing(GREETING, lost(LossKind.TIMEOUT)), "ehlo=unknown", "says nothing", "unknown"),
    (HOST, failing(GREETING, lost(LossKind.CLOSED)), "ehlo=fail", "ends the connection", "hold"),
    (HOST, failing(STEPS[:3], protocol_broken("not a reply")), "ehlo=fail", "not a reply", "hold"),
    # TLS
    (HOST, CLEAR, "tls=fail certificate=unknown requiretls=warn revocation=unknown", "leave unencrypted", "cleartext"),
    (DANE, CLEAR, "tls=fail dane=unknown", "DANE asks for TLS", "hold"),
    (replace(HOST, sts=sts(StsMode.ENFORCE)), CLEAR, "tls=fail mta-sts=unknown", "MTA-STS asks for TLS", "hold"),
    (replace(HOST, sts=sts(StsMode.TESTING)), CLEAR, "tls=fail mta-sts=unknown", "leave unencrypted", "cleartext"),
    (HOST, BROKEN, "tls=fail", "is not TLS", "hold"),
    (HOST, TIMED_OUT, "tls=unknown", "drops the", "unknown"),
    (HOST, failing(STEPS, lost(LossKind.CLOSED)), "ehlo=pass tls=fail", "it went", "hold"),
    (HOST, reached(tls=replace(TLS, version="TLSv1.1")), "tls=warn", "out of date", "deliver"),
    (HOST, reached(tls=replace(TLS, version="TLSv1.2", group="")), "tls=warn", "forward secrecy", "deliver"),
    # certificates
    (HOST, reached(STRANGE), "certificate=warn revocation=unknown", "nobody vouches", "deliver"),
    (DANE, reached(STRANGE, dane=MATCHED), "certificate=info dane=pass", "vouch for it", "deliver"),
    (
        HOST,
        reached(replace(TRUSTED, leaf=replace(LEAF, dns_names=("a.example",)))),
        "certificate=warn",
        "a.example",
        "deliver",
    ),
    (HOST, reached(replace(STRANGE, leaf=None)), "certificate=warn", "nobody vouches", "deliver"),
    (HOST, reached(None), "certificate=unknown", "cannot be read", "deliver"),
    (
        HOST,
        reached(replace(TRUSTED, leaf=replace(LEAF, not_after=NOW + 9.5 * DAY))),
        "certificate=warn",
        "ends in 9 days",
        "deliver",
    ),
    (HOST, reached(replace(TRUSTED, leaf=replace(LEAF, not_after=9e15))), "certificate=pass", "9999", "deliver"),
    (
        HOST,
        reached(replace(STRANGE, status=ChainStatus.EXPIRED, leaf=replace(LEAF, not_after=-5.0))),
        "certificate=warn",
        "1969-12-31",
        "deliver",
    ),
    # DANE
    (DANE, reached(dane=MATCHED), "dane=pass", "DNS names", "deliver"),
    (DANE, reached(dane=DIFFERS), "dane=fail certificate=pass", "do not work around", "hold"),
    (DANE, BROKEN, "dane=unknown tls=fail", "no certificate to compare with", "hold"),
    (
        replace(HOST, tlsa=replace(USABLE, records=Records((RECORD,), (Unusable("0 1 1 ab", "usage"),)))),
        reached(dane=MATCHED),
        "dane=warn",
        "ignored",
        "deliver",
    ),
    (replace(HOST, tlsa=UNUSABLE), reached(), "dane=warn", "none of which", "deliver"),
    (replace(HOST, tlsa=UNUSABLE), CLEAR, "dane=warn tls=fail", "DANE asks", "hold"),
    (replace(HOST, tlsa=TlsaLookup(TlsaStatus.INSECURE, "unsigned")), reached(), "dane=info", "unsigned", "deliver"),
    (replace(HOST, tlsa=TlsaLookup(TlsaStatus.FAILED, "SERVFAIL")), reached(), "dane=unknown", "SERVFAIL", "unknown"),
    (
        replace(HOST, tlsa=TlsaLookup(TlsaStatus.FAILED, "x", bogus=True)),
        reached(),
        "dane=fail",
        "fix the sig",
        "hold",
    ),
    # MTA-STS
    (replace(HOST, sts=sts(StsMode.ENFORCE)), reached(), "mta-sts=pass", "mode enforce", "deliver"),
    (replace(HOST, sts=sts(StsMode.TESTING)), reached(), "mta-sts=pass", "mode testing", "deliver"),
    (replace(HOST, sts=sts(StsMode.NONE)), reached(), "mta-sts=info", "withdrawn", "deliver"),
    (replace(HOST, sts=sts(StsMode.ENFORCE, "a.example")), reached(), "mta-sts=fail", "does not list", "hold"),
    (replace(HOST, sts=sts(StsMode.TESTING, "a.example")), reached(), "mta-sts=warn", "does not list", "deliver"),
    (replace(HOST, sts=sts(StsMode.ENFORCE)), reached(STRANGE), "mta-sts=fail certificate=warn", "mail waits", "hold"),
    (replace(HOST, sts=sts(StsMode.TESTING)), reached(STRANGE), "mta-sts=warn", "which is reported", "deliver"),
    (replace(HOST, sts=sts(StsMode.ENFORCE)), reached(None), "mta-sts=fail", "not judged", "hold"),
    (
        replace(DANE, sts=sts(StsMode.ENFORCE)),
        reached(STRANGE, dane=MATCHED),
        "mta-sts=fail dane=pass",
        "only DANE",
        "deliver",
    ),
    (replace(DANE, sts=sts(StsMode.ENFORCE)), reached(dane=DIFFERS), "mta-sts=pass dane=fail", "", "hold"),
    (replace(HOST, tlsa=UNUSABLE, sts=sts(StsMode.ENFORCE)), reached(STRANGE), "mta-sts=fail dane=warn", "", "hold"),
    (
        replace(HOST, sts=StsState("b.example", failure=StsFailure(ResultType.STS_POLICY_FETCH_ERROR, "404"))),
        reached(),
        "mta-sts=unknown",
        "not known",
        "deliver",
    ),
    # revocation, REQUIRETLS
    (HOST, reached(revocation=Revocation("revoked", "stolen", "ocsp")), "revocation=fail", "at once", "deliver"),
    (HOST, reached(revocation=Revocation("unknown", "silence")), "revocation=unknown", "soft-fail", "deliver"),
    (HOST, reached(revocation=Revocation("not-published", "x")), "revocation=info", "publishes nothing", "deliver"),
    (HOST, reached(extensions=frozenset({"REQUIRETLS"})), "requiretls=pass", "RFC 8689", "deliver"),
    (HOST, reached(extensions=None), "requiretls=unknown", "not reached", "deliver"),
]


@pytest.mark.parametrize(("host", "attempt", "stages", "words", "outcome"), CASES)
def test_findings(host: HostFacts, attempt: Reached, stages: str, words: str, outcome: str) -> None:
    row = address_row(host, attempt)
    cells = {stage: row.cell(Stage(stage)) for stage in (pair.partition("=")[0] for pair in stages.split())}
    assert " ".join(f"{stage}={cell.verdict if cell else None}" for stage, cell in cells.items()) == stages
    assert words in " | ".join(f"{one.text} {one.evidence} {one.fix}" for one in row.findings)
    assert row.outcome == outcome


@pytest.mark.parametrize(("host", "attempt"), [case[:2] for case in CASES])
def test_what_holds_for_every_row(host: HostFacts, attempt: Reached) -> None:
    row = address_row(host, attempt)
    reached_tls = row.facts is not None and row.facts.tls is not None
    for one in row.findings:
        assert one.text
        if one.because is not None:
            assert one.verdict is Mark.UNKNOWN
            assert not one.stops
        if one.verdict is Mark.FAIL and one.because is None:
            assert one.fix, one
        if one.stops:
            assert one.verdict in {Mark.FAIL, Mark.UNKNOWN}
        assert len(one.evidence) < 1000
    if not reached_tls:  # nothing is passed that was not seen
        for stage in (Stage.TLS, Stage.CERTIFICATE, Stage.REVOCATION, Stage.REQUIRETLS):
            cell = row.cell(stage)
            assert cell is None or cell.verdict is not Mark.PASS
        assert row.outcome is not DeliveryForecast.DELIVER


@pytest.mark.parametrize(
    ("host", "policy"),
    [
        (HOST, PolicyKind.OPPORTUNISTIC),
        (replace(HOST, tlsa=None, sts=None), PolicyKind.OPPORTUNISTIC),
        (replace(HOST, sts=sts(StsMode.TESTING)), PolicyKind.OPPORTUNISTIC),
        (replace(HOST, sts=sts(StsMode.ENFORCE)), PolicyKind.MTA_STS),
        (replace(DANE, sts=sts(StsMode.ENFORCE)), PolicyKind.DANE),
        (replace(HOST, tlsa=UNUSABLE), PolicyKind.DANE),
        (replace(HOST, tlsa=UNUSABLE, sts=sts(StsMode.ENFORCE)), PolicyKind.MTA_STS),
    ],
)
def test_which_policy_decides(host: HostFacts, policy: PolicyKind) -> None:
    assert policy_of(host) is policy


def test_a_host_that_was_named_has_no_mta_sts() -> None:
    row = address_row(replace(HOST, sts=None, preference=None), reached())
    assert row.cell(Stage.MTA_STS) is None
    assert row.preference is None
    assert row.address == "192.0.2.1:25"


def test_a_slow_greeting_is_said() -> None:
    ticks = iter([0.0, 0.5, 6.5, 6.6, 6.7, 6.8, 6.9])
    slow = Seen(
        Hop(NAME, "192.0.2.1", 25, Opportunistic((Source("default"),))), lambda: next(ticks), NOW, transcript=EHLO
    )
    for step in STEPS:
        slow(step)
    slow.end()
    slow.facts = HopFacts(NAME, "192.0.2.1:25", starttls_offered=True, tls=TLS, chain=TRUSTED)
    cell = address_row(HOST, Reached(NOW, slow)).cell(Stage.EHLO)
    assert cell is not None
    assert cell.text == "greets as a mail server, after 6.0 s"


@pytest.mark.parametrize(
    ("name", "answer"),
    [("localhost", True), ("192.0.2.1", True), ("2001:db8::1", True), ("b.example", False), ("local.host", False)],
)
def test_what_needs_no_dns(name: str, answer: bool) -> None:
    assert needs_no_dns(name) is answer


@pytest.mark.parametrize(("host", "attempt"), [case[:2] for case in CASES if case[1].facts is not None])
def test_a_row_says_what_a_delivery_would_do(host: HostFacts, attempt: Reached) -> None:
    assert attempt.facts is not None
    policy = host.sts.policy if host.sts is not None else None
    published = Published(host.tlsa, StsFound("b.example", policy))
    naming = Naming("b.example", host.mx_authentic)
    found = terms(Opportunistic((Source("default"),)), host.name, Modes(), published, naming)
    facts = replace(attempt.facts, dane=attempt.dane, mx=found.mx)
    passed = not isinstance(found.outcome, Shortfall) and judge(found.outcome, facts).passed
    outcome = address_row(host, attempt).outcome
    assert passed is (outcome in {DeliveryForecast.DELIVER, DeliveryForecast.CLEARTEXT})


SO_FAR = [
    # steps begun, whether the attempt has ended -> the stages that are told, and the one that is looked at
    (1, False, "dns", Stage.CONNECT),
    (2, False, "dns connect", Stage.EHLO),
    (3, False, "dns connect", Stage.EHLO),
    (4, False, "dns connect ehlo", Stage.TLS),
    (5, False, "dns connect ehlo", Stage.TLS),
    (6, False, "dns connect ehlo tls", Stage.CERTIFICATE),
    (6, True, "dns connect ehlo tls certificate dane requiretls", Stage.REVOCATION),
]


@pytest.mark.parametrize(("steps", "ended", "stages", "looking"), SO_FAR)
def test_a_row_fills_stage_by_stage(steps: int, ended: bool, stages: str, looking: Stage) -> None:
    facts = HopFacts(NAME, "192.0.2.1:25", starttls_offered=True, tls=TLS, chain=TRUSTED if ended else None)
    found = seen(STEPS[:steps], facts=facts)
    if not ended:
        found.ended = 0.0
    extensions = frozenset({"SIZE"}) if ended else None
    row = row_so_far(replace(HOST, sts=None), Reached(NOW, found, extensions=extensions))
    assert list(dict.fromkeys(str(one.stage) for one in row.findings)) == stages.split()
    assert (row.looking, row.outcome, row.address) == (looking, DeliveryForecast.UNKNOWN, "192.0.2.1:25")


def test_a_host_that_waits_is_looked_up_first_and_then_connected_to() -> None:
    assert waiting_row(HostFacts(NAME)).looking is Stage.DNS
    assert waiting_row(HOST).looking is Stage.CONNECT
    assert waiting_row(HOST).outcome is DeliveryForecast.UNKNOWN


def test_a_row_has_what_was_said() -> None:
    assert address_row(HOST, reached()).transcript == EHLO
    assert address_row(HOST, reached()).looking is None
