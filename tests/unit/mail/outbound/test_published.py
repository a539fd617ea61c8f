from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.mail.model.delivery_result import Disposition
from gatepost.mail.outbound.published import Lookups, PolicyUnknown, Publication
from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.mtasts import StsFailure, StsState
from gatepost.net.lookups.mx import HostAddresses, MailHost, MailHosts, MailHostsKind
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.policy.connectors.values import MtaStsMode, SmtpDaneMode
from gatepost.policy.decisions.outbound import describe
from gatepost.policy.decisions.published import Modes, Terms
from gatepost.policy.decisions.requirement import Authenticated, MxLevel, Opportunistic, Shortfall
from gatepost.policy.decisions.requiretls import Asks
from gatepost.protocols.dane.tlsa import TlsaStatus
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.values import replace

HOST, DOMAIN = "mx.b.example", "b.example"
RECORD = "3 1 1 " + "ab" * 32
OWN = Opportunistic(())
HOSTS = MailHosts(DOMAIN, MailHostsKind.LISTED, (MailHost(HOST, 10),), authentic=True, canonical=DOMAIN)
ADDRESSES = HostAddresses(HOST, HOST, ("192.0.2.1",), authentic=True)


def state(mode: str, *mx: str, record: str = "1") -> StsState:
    return StsState(DOMAIN, StsPolicy(StsMode(mode), mx, 86400), record, "fetched", 1.0, 2.0)


class Policies:
    """Answers with one state after the other, the last one for ever."""

    def __init__(self, *states: StsState) -> None:
        self.states = list(states) or [StsState(DOMAIN)]
        self.asked: list[tuple[str, bool]] = []

    async def find(self, domain: str, *, now: float, recheck: bool = False) -> StsState:
        assert now == 5.0
        self.asked.append((domain, recheck))
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def lookups(kit: Any, policies: Policies, *records: str, **options: Any) -> Lookups:
    names = kit.Names()
    names.authentic = True
    names.table[f"_25._tcp.{HOST}", "TLSA"] = list(records)
    return Lookups(TlsaFinder(names), policies, lambda: 5.0, **options)  # type: ignore[arg-type] # the part that is used


def found(services: Lookups | None, asked: Modes = Modes(), hosts: MailHosts | None = HOSTS, times: int = 1) -> Terms:  # noqa: B008
    async def run() -> Terms:
        publication = Publication(services, asked, hosts)
        await publication.begin()
        for _ in range(times):
            terms = await publication.terms(OWN, 25, ADDRESSES)
        return terms

    return asyncio.run(run())


def test_tlsa_records_of_a_host(kit: Any) -> None:
    terms = found(lookups(kit, Policies(), RECORD))
    assert not isinstance(terms.outcome, Shortfall)
    assert describe(terms.outcome) == "authenticated(dane)"
    assert terms.published.dane is not None
    assert terms.published.dane.names == (HOST, DOMAIN)
    assert terms.mx is MxLevel.DNSSEC


def test_who_is_told_to_look_for_nothing_asks_nobody(kit: Any) -> None:
    policies = Policies(state("enforce", "mx.c.example"))
    terms = found(lookups(kit, policies, RECORD), Modes(SmtpDaneMode.NONE, MtaStsMode.NONE))
    assert (terms.outcome, terms.published.dane, terms.published.sts) == (OWN, None, None)
    assert policies.asked == []


def test_a_smart_host_has_dane_and_no_policy(kit: Any) -> None:
    policies = Policies(state("enforce", "mx.c.example"))
    terms = found(lookups(kit, policies, RECORD), hosts=None)
    assert not isinstance(terms.outcome, Shortfall)
    assert describe(terms.outcome) == "authenticated(dane)"
    assert terms.published.dane is not None
    assert terms.published.dane.names == (HOST,)
    assert policies.asked == []
    assert terms.mx is MxLevel.NONE


def test_mx_records_that_nobody_proved_name_no_host_for_dane(kit: Any) -> None:
    terms = found(lookups(kit, Policies(), RECORD), hosts=replace(HOSTS, authentic=False))
    assert terms.outcome == OWN
    assert terms.published.dane is not None
    assert terms.published.dane.status is TlsaStatus.INSECURE


@pytest.mark.parametrize("services", [False, True])
def test_dane_that_is_demanded_where_it_cannot_be_had_closes_the_way(kit: Any, services: bool) -> None:
    made = lookups(kit, Policies(), dane_off="DANE is off: nobody validates") if services else None
    outcome = found(made, Modes(SmtpDaneMode.MANDATORY)).outcome
    assert isinstance(outcome, Shortfall)
    assert outcome.result_type == "dane-required"
    assert ("DANE is off: nobody validates" in outcome.detail) is services


STRICT = Modes(asks=Asks.REQUIRED)
UNSIGNED = MailHosts(DOMAIN, MailHostsKind.LISTED, (MailHost(HOST, 10),), authentic=False, canonical=DOMAIN)
IMPLICIT = MailHosts(HOST, MailHostsKind.IMPLICIT, (MailHost(HOST, 0),), authentic=False, canonical=HOST)


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        (HOSTS, "authenticated(mx.b.example) with requiretls"),
        (UNSIGNED, "HostNotAuthentic"),
        (IMPLICIT, "authenticated(mx.b.example) with requiretls"),  # there is no record that must be proved
        (None, "authenticated(mx.b.example) with requiretls"),  # the administrator names it
    ],
)
def test_how_a_host_must_be_known_for_requiretls(hosts: MailHosts | None, text: str) -> None:
    outcome = found(None, STRICT, hosts).outcome
    assert (outcome.message if isinstance(outcome, Shortfall) else describe(outcome)) == text


@pytest.mark.parametrize(
    ("addresses", "asks", "text", "without"),
    [
        (("127.0.0.1", "::1"), Asks.REQUIRED, "opportunistic", "local: "),
        (("127.0.0.1", "192.0.2.1"), Asks.REQUIRED, "authenticated(mx.b.example) with requiretls", ""),
        (("127.0.0.1",), Asks.NOTHING, "opportunistic", ""),
    ],
)
def test_requiretls_ends_at_a_delivery_agent_on_this_machine(
    addresses: tuple[str, ...], asks: Asks, text: str, without: str
) -> None:
    publication = Publication(None, Modes(asks=asks), delivers=True)
    terms = asyncio.run(publication.terms(OWN, 24, HostAddresses(HOST, HOST, addresses, authentic=False)))
    assert isinstance(terms.outcome, Opportunistic | Authenticated)
    assert describe(terms.outcome) == text
    assert terms.without_requiretls.startswith(without)
    assert bool(terms.without_requiretls) is bool(without)


def test_without_lookups_the_connector_alone_counts() -> None:
    assert found(None).outcome == OWN


def test_a_policy_that_does_not_allow_the_host_is_asked_for_again_once(kit: Any) -> None:
    policies = Policies(state("enforce", "mx.c.example"))
    outcome = found(lookups(kit, policies), times=3).outcome
    assert isinstance(outcome, Shortfall)
    assert outcome.enhanced == "4.4.8"
    assert policies.asked == [(DOMAIN, False), (DOMAIN, True)]


@pytest.mark.parametrize(
    ("newer", "text"),
    [
        (state("enforce", HOST, record="2"), f"authenticated({HOST})"),
        (state("none", record="2"), "opportunistic"),
        (StsState(DOMAIN), "opportunistic"),
    ],
)
def test_a_newer_policy_counts_at_once(kit: Any, newer: StsState, text: str) -> None:
    outcome = found(lookups(kit, Policies(state("enforce", "mx.c.example"), newer))).outcome
    assert not isinstance(outcome, Shortfall)
    assert describe(outcome) == text


def test_a_policy_that_cannot_be_had_is_reported(kit: Any) -> None:
    failure = StsFailure(ResultType.STS_WEBPKI_INVALID, "its certificate has expired")
    terms = found(lookups(kit, Policies(StsState(DOMAIN, failure=failure))))
    assert terms.outcome == OWN
    assert terms.published.sts is not None
    assert (terms.published.sts.failure, terms.published.sts.detail) == (failure.result_type, failure.detail)


UNKNOWN = StsState(DOMAIN, failure=StsFailure(ResultType.STS_POLICY_FETCH_ERROR, "too many", ours=True))


def test_a_policy_that_we_had_no_time_to_fetch_leaves_no_terms(kit: Any) -> None:
    async def run() -> list[str]:
        publication = Publication(lookups(kit, Policies(UNKNOWN)), Modes(), HOSTS)
        raised = []
        for ask in (publication.begin(), publication.terms(OWN, 25, ADDRESSES)):
            with pytest.raises(PolicyUnknown) as caught:
                await ask
            raised.append(caught.value.detail)
        return raised

    assert asyncio.run(run()) == ["too many"] * 2


def test_a_newer_policy_that_we_had_no_time_to_fetch_lifts_nothing(kit: Any) -> None:
    outcome = found(lookups(kit, Policies(state("enforce", "mx.c.example"), UNKNOWN))).outcome
    assert isinstance(outcome, Shortfall)
    assert outcome.enhanced == "4.4.8"


# Whole deliveries


def record_of(chain: bytes) -> str:
    leaf = x509.load_pem_x509_certificate(chain)
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"3 1 1 {hashlib.sha256(spki).hexdigest()}"


def identity(world: Any) -> tuple[str, Any]:
    chain, key = world.authority.issue(["elsewhere.example"])
    context = server_context([ServerIdentity(chain, key)], PROFILES["default"], ask_client_certificate=True)
    return record_of(chain), context


def published(world: Any, policies: Policies, port: int, *records: str) -> None:
    world.names.authentic = True
    world.names.table[f"_{port}._tcp.{HOST}", "TLSA"] = list(records)
    world.settings["lookups"] = Lookups(TlsaFinder(world.names, clock=lambda: 0.0), policies, lambda: 5.0)  # type: ignore[arg-type]


def test_a_connection_does_not_outlive_its_records(world: Any, kit: Any) -> None:
    record, context = identity(world)

    async def run() -> tuple[list[Any], Any]:
        results = []
        async with kit.Peer(tls=context) as peer:
            published(world, Policies(), peer.port, record)
            deliverer = world.build(mx_port=peer.port)
            key = (f"_{peer.port}._tcp.{HOST}", "TLSA")
            for records in ([record], [record], [record, RECORD], [RECORD]):
                world.names.table[key] = records
                world.settings["lookups"].tlsa._cache.clear()
                results += (await deliverer.deliver(kit.delivery())).results
            world.pool.close()
        return results, peer

    results, peer = asyncio.run(run())
    assert [result.disposition for result in results] == [Disposition.DELIVERED] * 3 + [Disposition.DEFERRED]
    assert [result.detail.get("reused") for result in results] == [False, True, False, None]
    assert all(not one.tls.resumed for one in peer.messages)
    assert {one.tls.server_name for one in peer.messages} == {HOST}
    assert results[0].detail["dane"]["matched"] == str(record)
    assert results[0].detail["achieved"] == "dnssec/authenticated"
    last = results[3]
    assert last.reply.text.startswith("450 4.7.323 tlsa-invalid")
    assert last.detail["requirement_sources"] == [f"dane:{HOST}"]
    assert [one["result_type"] for one in last.detail["dane"]["refusals"]] == ["tlsa-invalid"]


@pytest.mark.parametrize(
    ("policy", "testing"),
    [
        (state("testing", "mx.c.example"), {"passed": False, "message": "HostNotInPolicy"}),
        (state("testing", HOST), {"passed": False, "message": "SubjectMismatch"}),
    ],
)
def test_a_policy_in_testing_is_only_reported(world: Any, kit: Any, policy: StsState, testing: dict[str, Any]) -> None:
    _, context = identity(world)

    async def run() -> Any:
        async with kit.Peer(tls=context) as peer:
            published(world, Policies(policy), peer.port)
            outcome = await world.build(mx_port=peer.port).deliver(kit.delivery())
            world.pool.close()
            return outcome.results[0]

    result = asyncio.run(run())
    assert result.disposition is Disposition.DELIVERED
    told = result.detail["mta_sts"]
    assert (told["domain"], told["mode"], told["id"]) == (DOMAIN, "testing", "1")
    assert testing.items() <= told["testing"].items()


def test_a_host_outside_the_policy_never_gets_a_connection(world: Any, kit: Any) -> None:
    failure = StsFailure(ResultType.STS_POLICY_FETCH_ERROR, "nobody answers")
    policy = replace(state("enforce", "mx.c.example"), failure=failure)

    async def run() -> Any:
        async with kit.Peer() as peer:
            published(world, Policies(policy), peer.port)
            outcome = await world.build(mx_port=peer.port).deliver(kit.delivery())
            return outcome.results[0], peer

    result, peer = asyncio.run(run())
    assert result.reply.text.startswith("450 4.4.8 MX hosts of b.example failed MTA-STS validation")
    assert result.detail["mta_sts"]["failure"]["result_type"] == "sts-policy-fetch-error"
    assert result.detail["dane"]["status"] == "none"
    assert peer.messages == []


def test_mail_waits_for_a_policy_that_we_had_no_time_to_fetch(world: Any, kit: Any) -> None:
    async def run() -> tuple[list[Any], list[int]]:
        outcomes, taken = [], []
        async with kit.Peer(tls=world.identity(HOST)) as peer:
            published(world, Policies(UNKNOWN, state("enforce", HOST)), peer.port)
            deliverer = world.build(mx_port=peer.port)
            for _ in range(2):
                outcomes.append(await deliverer.deliver(kit.delivery()))
                taken.append(len(peer.messages))
            world.pool.close()
        return outcomes, taken

    (waits, leaves), taken = asyncio.run(run())
    result = waits.results[0]
    assert (result.disposition, result.reply.text, result.detail["detail"]) == (
        Disposition.DEFERRED,
        "450 4.4.5 The MTA-STS policy cannot be fetched now",
        "too many",
    )
    assert not waits.destination_failed, "the destination is not at fault"
    assert leaves.results[0].disposition is Disposition.DELIVERED
    assert leaves.results[0].detail["requirement_sources"] == [f"mta-sts:{DOMAIN}"]
    assert taken == [0, 1]
