from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gatepost.analysis.checks.probe import prober
from gatepost.analysis.checks.tasks import PROBE_TASKS, HostReport, TaskStatus
from gatepost.mail.outbound.contexts import OurCertificate
from gatepost.mail.outbound.published import Lookups
from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.mtasts import StsFailure, StsState
from gatepost.net.lookups.mx import MailHost, MailHosts, MailHostsKind
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.pki.certificates.authority import Authority
from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.decisions.published import Modes
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Identity, MxLevel, Opportunistic, Source
from gatepost.policy.decisions.routes import NextHop
from gatepost.protocols.mtasts.policy import StsMode, StsPolicy
from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.settings.loader import load
from gatepost.values import replace

ASKS = (Source("connector", "out"),)
STRICT = Authenticated(ASKS, (Identity(("mx.b.example",)),))
TODAY = datetime.now(UTC)


def statuses(report: HostReport) -> dict[str, str]:
    return {task.name: str(task.status) for task in report.tasks}


def context(authority: Authority, *names: str, **options: Any) -> Any:
    chain, key = authority.issue(list(names), **options)
    return server_context([ServerIdentity(chain, key)], PROFILES["default"], ask_client_certificate=True)


def self_signed(*names: str) -> Any:
    from gatepost.pki.certificates.authority import self_signed as made  # noqa: PLC0415 - a colleague's, of today

    chain, key = made(list(names))
    return server_context([ServerIdentity(chain, key)], PROFILES["default"], ask_client_certificate=False)


def test_a_good_partner(probing: Any, kit: Any, world: Any) -> None:
    report = probing.one(kit.Peer(tls=world.identity("mx.b.example")), STRICT)
    assert report.usable
    assert report.failed is None
    assert [task.name for task in report.tasks] == list(PROBE_TASKS)
    details = {task.name: task.text for task in report.tasks}
    assert details["Resolve"] == "mx.b.example has 127.0.0.1"
    assert details["Connect"] == report.address
    assert details["EHLO"].startswith("220 peer ESMTP; offers PIPELINING, SIZE 100000000")
    assert details["TLS handshake"] == "TLSv1.3, TLS_AES_256_GCM_SHA384, X25519MLKEM768"
    leaf = report.facts.chain.leaf  # type: ignore[union-attr] # it is there, or the test has failed above
    for word in ("trusted", leaf.subject, leaf.issuer, leaf.sha1.upper(), leaf.sha256.upper(), "days left"):
        assert word in details["Certificate"]
    assert details["Name"] == "mx.b.example is among the names of the certificate"
    assert all(task.advice == "" for task in report.tasks)


type Make = Callable[[Any, Any], Any]

# what the peer is, what is required, the task that fails, words of its detail, words of its advice
DEFECTS: dict[str, tuple[Make, Any, str, str, str]] = {
    "no STARTTLS": (
        lambda kit, _: kit.Peer(),
        STRICT,
        "STARTTLS",
        "not offered\nthe connector asks for authenticated(mx.b.example)",
        "The administrators of mx.b.example must switch STARTTLS on",
    ),
    "STARTTLS overwritten": (
        lambda kit, _: kit.Peer(extensions=("XXXXXXXA",)),
        Encrypted(ASKS),
        "STARTTLS",
        "not offered",
        "A firewall on the path overwrites STARTTLS",
    ),
    "STARTTLS refused": (
        lambda kit, world: kit.Peer(tls=world.identity("mx.b.example"), says={"STARTTLS": "454 4.7.0 no key"}),
        STRICT,
        "STARTTLS",
        "454 4.7.0 no key",
        "its certificate or key is broken",
    ),
    "garbage": (
        lambda kit, world: kit.Peer(tls=world.identity("mx.b.example"), says={"STARTTLS": "!break"}),
        Opportunistic(ASKS),
        "TLS handshake",
        "wrong version number",
        "What they answered after STARTTLS is not TLS",
    ),
    "no handshake": (
        lambda kit, world: kit.Peer(tls=world.identity("mx.b.example"), says={"STARTTLS": "220 2.0.0 go"}),
        STRICT,
        "TLS handshake",
        "no answer within 0.8 s",
        "They must look at their server's log",
    ),
    "turned away": (
        lambda kit, _: kit.Peer(says={"GREETING": "554 5.7.1 not you"}),
        STRICT,
        "EHLO",
        "554 5.7.1 not you in reply to the connection",
        "They must allow this machine's address",
    ),
    "turned away later": (
        lambda kit, _: kit.Peer(says={"EHLO": "421 4.3.2 too busy"}),
        STRICT,
        "EHLO",
        "421 4.3.2 too busy",
        "They must allow this machine's address",
    ),
    "not a mail server": (
        lambda kit, _: kit.Peer(says={"GREETING": "HTTP/1.1 400 Bad Request"}),
        STRICT,
        "EHLO",
        "",
        "is not a working mail server",
    ),
    "silent": (
        lambda kit, _: kit.Peer(says={"GREETING": "!silent"}),
        STRICT,
        "EHLO",
        "no answer within 0.8 s",
        "does not speak SMTP first",
    ),
    "hangs up": (
        lambda kit, _: kit.Peer(says={"EHLO": "!close"}),
        STRICT,
        "EHLO",
        "after the greeting '220 peer ESMTP'",
        "is not a working mail server",
    ),
    "hangs up after the handshake": (
        lambda kit, world: kit.Peer(
            tls=world.identity("mx.b.example"), says={"EHLO": ["250-peer\n250 STARTTLS", "421 4.7.0 not over TLS"]}
        ),
        STRICT,
        "TLS handshake",
        "421 4.7.0 not over TLS",
        "They must look at their server's log",
    ),
    "an older version": (
        lambda kit, world: kit.Peer(tls=tls12(world, "mx.b.example")),
        replace(STRICT, min_version="TLSv1.3"),
        "TLS handshake",
        "expected: TLSv1.3 or newer",
        "No TLS version in common",
    ),
    "TLS 1.0 only": (
        lambda kit, world: kit.Peer(tls=tls10(world, "mx.b.example")),
        Encrypted(ASKS),
        "TLS handshake",
        "protocol",
        "No TLS version in common",
    ),
    "expired": (
        lambda kit, world: kit.Peer(
            tls=world.identity("mx.b.example", not_before=TODAY - timedelta(days=30), lifetime=timedelta(days=10))
        ),
        STRICT,
        "Certificate",
        "expired: CN=mx.b.example expired on",
        "They must renew the certificate",
    ),
    "not yet valid": (
        lambda kit, world: kit.Peer(tls=world.identity("mx.b.example", not_before=TODAY + timedelta(days=1))),
        STRICT,
        "Certificate",
        "not-yet-valid",
        "a clock is wrong",
    ),
    "self-signed": (
        lambda kit, _: kit.Peer(tls=self_signed("mx.b.example")),
        STRICT,
        "Certificate",
        "self-signed: CN=mx.b.example is self-signed",
        "They must install a certificate from an authority",
    ),
    "unknown root": (
        lambda kit, _: kit.Peer(tls=context(Authority("Strange Root"), "mx.b.example")),
        STRICT,
        "Certificate",
        "Strange Root",
        "",
    ),
    "wrong name": (
        lambda kit, world: kit.Peer(tls=world.identity("other.example")),
        STRICT,
        "Name",
        "expected mx.b.example, and the certificate is for other.example",
        "set tls_domain to it; otherwise they must present a certificate for mx.b.example",
    ),
    "our anchors": (
        lambda kit, world: kit.Peer(tls=world.identity("mx.b.example")),
        replace(STRICT, proofs=(Identity(("mx.b.example",), "/nowhere/roots.pem"),)),
        "Certificate",
        "the trust anchors of connector:out cannot be read: /nowhere/roots.pem",
        "Here: fix the file",
    ),
}


def tls12(world: Any, *names: str) -> Any:
    chain, key = world.authority.issue(list(names))
    profile = replace(PROFILES["default"], max_version="TLSv1.2")
    return server_context([ServerIdentity(chain, key)], profile, ask_client_certificate=False)


def tls10(world: Any, *names: str) -> Any:
    chain, key = world.authority.issue(list(names))
    profile = replace(PROFILES["legacy"], max_version="TLSv1.0")
    return server_context([ServerIdentity(chain, key)], profile, ask_client_certificate=False)


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_fails_in_its_task(probing: Any, kit: Any, world: Any, defect: str) -> None:
    make, requirement, name, detail, advice = DEFECTS[defect]
    if defect in {"silent", "no handshake"}:
        world.timeouts = kit.FAST
    report = probing.one(make(kit, world), requirement)
    failed = report.failed
    assert failed is not None
    assert failed.name == name
    assert detail in failed.detail
    assert failed.advice
    assert advice in failed.advice
    assert not report.usable
    assert [task.name for task in report.tasks] == list(PROBE_TASKS)
    place = PROBE_TASKS.index(name)
    assert {task.status for task in report.tasks[:place]} == {TaskStatus.SUCCEEDED}
    assert {(task.status, task.detail) for task in report.tasks[place + 1 :]} <= {
        (TaskStatus.SKIPPED, f"{name} failed")
    }


def test_nothing_is_sent_that_would_begin_a_message(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    assert probing.one(peer, STRICT).usable
    assert peer.said("MAIL") == 0
    assert peer.said("QUIT") == 1


@pytest.mark.parametrize("requirement", [Opportunistic(ASKS), Encrypted(ASKS)])
def test_a_bad_certificate_is_a_warning_where_mail_would_flow(
    probing: Any, kit: Any, world: Any, requirement: Any
) -> None:
    world.host("mx.b.example", "127.0.0.1")
    report = probing.one(kit.Peer(tls=context(Authority("Strange Root"), "other.example")), requirement)
    assert report.usable
    assert statuses(report) | {"Certificate": "warning", "Name": "warning", "Revocation": "skipped"} == statuses(report)
    assert "succeeded" in statuses(report)["TLS handshake"]


def test_cleartext_is_a_warning_where_mail_would_flow(probing: Any, kit: Any) -> None:
    report = probing.one(kit.Peer(), Opportunistic(ASKS))
    assert report.usable
    assert statuses(report)["STARTTLS"] == "warning"
    assert statuses(report)["TLS handshake"] == "skipped"
    assert "Until then the gateway sends mail unencrypted" in report.tasks[3].advice


def test_a_certificate_that_ends_soon_is_a_warning(probing: Any, kit: Any, world: Any) -> None:
    report = probing.one(kit.Peer(tls=world.identity("mx.b.example", lifetime=timedelta(days=9))), STRICT)
    assert report.usable
    assert statuses(report)["Certificate"] == "warning"
    assert "within 8 days" in report.tasks[5].advice
    report = probing.one(kit.Peer(tls=world.identity("mx.b.example", lifetime=timedelta(hours=9))), STRICT)
    assert "renew the certificate today" in report.tasks[5].advice


def test_a_host_named_by_its_address(probing: Any, kit: Any, world: Any) -> None:
    report = probing.one(kit.Peer(tls=world.identity("mx.b.example")), Encrypted(ASKS), host="127.0.0.1")
    assert report.usable
    assert report.tasks[0].detail == "127.0.0.1 is an address: nothing to look up"
    assert statuses(report)["Name"] == "skipped"


def test_our_certificate_that_cannot_be_read_is_our_fault(probing: Any, kit: Any, world: Any) -> None:
    ours = OurCertificate("contoso", ClientCertificate(chain="/nowhere/chain.pem", key="/nowhere/key.pem"))
    report = probing.one(kit.Peer(tls=world.identity("mx.b.example")), STRICT, certificate=ours)
    assert report.failed is not None
    assert report.failed.name == "TLS handshake"
    assert "the client certificate /nowhere/chain.pem with /nowhere/key.pem cannot be used" in report.failed.detail
    assert statuses(report)["EHLO"] == statuses(report)["STARTTLS"] == "succeeded"
    assert report.failed.advice.startswith("Here:")


def test_a_closed_port(probing: Any, kit: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (report,) = asyncio.run(_probe(probing, NextHop("mx.b.example", port, STRICT)))
    assert report.failed is not None
    assert (report.failed.name, report.failed.detail) == ("Connect", f"127.0.0.1:{port}: Connection refused")
    assert f"nothing listens on port {port}" in report.failed.advice


async def _probe(probing: Any, hop: NextHop, **options: Any) -> list[HostReport]:
    return await probing.prober().probe(hop, **options)  # type: ignore[no-any-return] # of the fixture


@pytest.mark.parametrize(
    ("records", "listed_by", "detail", "advice", "ours"),
    [
        ([""], "", "nowhere.b.example has no address", "Check the spelling of nowhere.b.example in smart_hosts", False),
        ([], "b.example", "nowhere.b.example has no address", "The administrators of b.example must give", False),
        (LookupFailed("SERVFAIL"), "", "SERVFAIL", "that the nameservers in [dns] answer", True),
        (LookupFailed("a label is too long", temporary=False), "", "a label is too long", "Check the spelling", False),
    ],
)
def test_names_that_do_not_resolve(  # noqa: PLR0917 - the columns of the table
    probing: Any, world: Any, records: Any, listed_by: str, detail: str, advice: str, ours: bool
) -> None:
    for kind in ("A", "AAAA"):
        world.names.table["nowhere.b.example", kind] = records
    (report,) = asyncio.run(_probe(probing, NextHop("nowhere.b.example", 25, STRICT), listed_by=listed_by))
    assert report.failed is not None
    assert (report.failed.name, report.failed.detail, report.failed.ours) == ("Resolve", detail, ours)
    assert advice in report.failed.advice
    assert report.address == ""
    assert [task.name for task in report.tasks] == list(PROBE_TASKS)


def test_the_name_of_an_lmtp_server_that_does_not_resolve(probing: Any, world: Any) -> None:
    for kind in ("A", "AAAA"):
        world.names.table["nowhere.b.example", kind] = [""]
    (report,) = asyncio.run(_probe(probing, NextHop("nowhere.b.example", 24, STRICT), lmtp=True))
    assert report.failed is not None
    assert report.failed.advice.startswith("Check the spelling of nowhere.b.example in delivery of the mailbox.")


def test_every_address_has_its_report(probing: Any, kit: Any, world: Any) -> None:
    world.host("mx.b.example", "127.0.0.1", "127.0.0.2")

    async def run() -> list[HostReport]:
        async with kit.Peer(tls=world.identity("mx.b.example")) as peer:
            hop = NextHop("mx.b.example", peer.port, STRICT)
            prober = probing.prober()
            hosts = MailHosts("b.example", MailHostsKind.LISTED, (MailHost("mx.b.example", 10),), authentic=True)
            publication = await prober.publication(Modes(), hosts)
            return await prober.probe(hop, listed_by="b.example", publication=publication)  # type: ignore[no-any-return]

    reports = asyncio.run(run())
    found = {report.address.partition(":")[0]: report for report in reports}
    assert set(found) == {"127.0.0.1", "127.0.0.2"}
    assert found["127.0.0.1"].usable
    failed = found["127.0.0.2"].failed
    assert failed is not None
    assert failed.name == "Connect"
    assert "an MX of b.example" in found["127.0.0.1"].tasks[0].detail
    verdict = found["127.0.0.1"].verdict
    assert verdict is not None
    assert verdict.achieved.mx is MxLevel.DNSSEC


def test_no_more_than_eight_at_a_time(probing: Any, kit: Any, world: Any) -> None:
    """Ten addresses, each held up at its greeting: the tenth connects only when one of the first has ended."""
    world.host("mx.b.example", *(f"127.0.0.{number}" for number in range(1, 11)))
    world.timeouts = replace(kit.FAST, greeting=2)
    most = 0

    async def run() -> list[HostReport]:
        nonlocal most
        async with kit.Peer(host="0.0.0.0", says={"GREETING": "!silent"}) as peer:
            task = asyncio.ensure_future(  # noqa: TID251 - a test may
                probing.prober().probe(NextHop("mx.b.example", peer.port, STRICT))
            )
            await peer.sees(lambda: len(peer.connections) >= 8)
            await asyncio.sleep(0.15)
            most = len(peer.connections)
            return await task

    reports = asyncio.run(run())
    assert len(reports) == 10
    assert most == 8


@pytest.mark.parametrize(
    ("records", "word"),
    [
        (["0 ."], "null MX"),
        ([""], "does not exist"),
        (["10 gate.example."], "this gateway itself"),
        (LookupFailed("timed out"), "timed out"),
    ],
)
def test_domains_without_mail_hosts(probing: Any, world: Any, records: Any, word: str) -> None:
    world.names.table["b.example", "MX"] = records

    async def run() -> Any:
        return await probing.prober().mail_hosts("b.example")

    report = asyncio.run(run())
    assert isinstance(report, HostReport)
    assert word in report.tasks[0].detail
    assert report.tasks[0].status is TaskStatus.FAILED
    assert report.tasks[0].advice


def test_a_mail_host_at_an_address_of_ours_is_no_next_hop(probing: Any) -> None:
    async def run(listed_by: str) -> HostReport:
        prober = probing.prober()
        prober.is_ours = lambda address, port: (address, port) == ("127.0.0.1", 1)
        return (await prober.probe(NextHop("mx.b.example", 1, STRICT), listed_by=listed_by))[0]

    report = asyncio.run(run("b.example"))
    assert report.tasks[0].status is TaskStatus.FAILED
    assert report.tasks[0].detail == "mx.b.example is this gateway itself"
    assert "add the accepted domain" in report.tasks[0].advice
    assert asyncio.run(run("")).tasks[0].status is TaskStatus.SUCCEEDED  # a check of the host, no delivery


def test_mail_hosts_are_those_of_the_dns(probing: Any) -> None:
    async def run() -> Any:
        return await probing.prober().mail_hosts("b.example")

    assert [host.name for host in asyncio.run(run()).hosts] == ["mx.b.example"]


def test_it_is_made_of_the_settings(tmp_path: Any) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text(
        '[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n[dns]\nnameservers = ["127.0.0.1:1"]\n'
        + "".join(f'[[listener]]\nrole = "mx"\naddress = "{host}:25"\n' for host in ("localhost", "mx.gate.example"))
    )

    async def run() -> list[HostReport]:
        settings = load(str(file), {})
        async with configured_resolver(settings.dns) as resolver:
            made = prober(settings, resolver)
            assert [made.is_ours(address, 25) for address in ("127.0.0.1", "::1", "127.0.0.2")] == [True, True, False]
            assert made.port == 25
            return await made.probe(NextHop("localhost", 1, STRICT))

    reports = asyncio.run(run())
    assert {report.address for report in reports} == {"127.0.0.1:1", "[::1]:1"}
    assert all(
        report.failed is not None and report.failed.name == "Connect" for report in reports if "127" in report.address
    )


HOSTS = MailHosts("b.example", MailHostsKind.LISTED, (MailHost("mx.b.example", 10),), authentic=True)
WRONG = "3 1 1 " + "ab" * 32


def sts(mode: str, mx: str) -> StsState:
    return StsState("b.example", StsPolicy(StsMode(mode), (mx,), 86400), "1", "fetched", 1.0, 2.0)


# TLSA records, policy, whether it can be used, the task that fails, words of the first task or of the one that fails
PUBLISHED: dict[str, tuple[list[str], StsState, bool, str, str]] = {
    "nothing": ([], StsState("b.example"), True, "", "mx.b.example has 127.0.0.1, proven by DNSSEC"),
    "another certificate": ([WRONG], StsState("b.example"), False, "Certificate", "DANE: the TLSA record 3 1 1"),
    "a host that is not listed": ([], sts("enforce", "mx.c.example"), False, "Resolve", "HostNotInPolicy: Expected:"),
    "a listed host": ([], sts("enforce", "mx.b.example"), True, "", "MTA-STS policy of b.example: enforce"),
    "a host that would not be": ([], sts("testing", "mx.c.example"), True, "", "does not allow this host"),
    "a policy tried out": ([], sts("testing", "mx.b.example"), True, "", "it demands nothing"),
    "a policy that cannot be had": (
        [],
        StsState("b.example", failure=StsFailure(ResultType.STS_WEBPKI_INVALID, "its certificate has expired")),
        True,
        "",
        "cannot be fetched (sts-webpki-invalid): its certificate has expired",
    ),
    "a policy that we had no time to fetch": (
        [],
        StsState("b.example", failure=StsFailure(ResultType.STS_POLICY_FETCH_ERROR, "too many others", ours=True)),
        False,
        "Resolve",
        "the MTA-STS policy could not be fetched: too many others",
    ),
}


class Policies:
    def __init__(self, state: StsState) -> None:
        self.state, self.closed = state, False

    async def find(self, *_: Any, **__: Any) -> StsState:
        return self.state

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("records", "policy", "usable", "fails", "words"), PUBLISHED.values(), ids=PUBLISHED)
def test_what_a_domain_publishes_is_obeyed(  # noqa: PLR0917 - a table
    probing: Any, kit: Any, world: Any, records: list[str], policy: StsState, usable: bool, fails: str, words: str
) -> None:
    policies = Policies(policy)

    async def run() -> HostReport:
        async with kit.Peer(tls=world.identity("mx.b.example")) as peer:
            world.names.authentic = True
            world.names.table[f"_{peer.port}._tcp.mx.b.example", "TLSA"] = records
            lookups = Lookups(TlsaFinder(world.names), policies, lambda: 5.0)  # type: ignore[arg-type]
            prober = probing.prober(lookups=lookups)
            hop = NextHop("mx.b.example", peer.port, Opportunistic(ASKS))
            (report,) = await prober.probe(hop, publication=await prober.publication(Modes(), HOSTS))
            await prober.close()
            return report  # type: ignore[no-any-return]

    report = asyncio.run(run())
    assert report.usable is usable
    failed = report.failed
    assert (failed.name if failed else "") == fails
    assert words in (failed or report.tasks[0]).detail
    assert policies.closed
    if failed:
        assert failed.ours is ("too many others" in words)
        assert failed.advice.startswith("Here: the gateway cannot fetch" if failed.ours else "They must")


def test_a_self_signed_certificate_that_dane_announces(probing: Any, kit: Any, world: Any) -> None:
    from cryptography import x509  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    chain, key = Authority("Unknown").issue(["other.example"])
    der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    context = server_context([ServerIdentity(chain, key)], PROFILES["default"], ask_client_certificate=False)

    async def run() -> HostReport:
        async with kit.Peer(tls=context) as peer:
            world.names.authentic = True
            world.names.table[f"_{peer.port}._tcp.mx.b.example", "TLSA"] = [f"3 0 0 {der.hex()}"]
            lookups = Lookups(TlsaFinder(world.names), Policies(StsState("b.example")), lambda: 5.0)  # type: ignore[arg-type]
            prober = probing.prober(lookups=lookups)
            hop = NextHop("mx.b.example", peer.port, Opportunistic(ASKS))
            (report,) = await prober.probe(hop, publication=await prober.publication(Modes(), HOSTS))
            return report  # type: ignore[no-any-return]

    report = asyncio.run(run())
    assert report.usable
    found = statuses(report)
    assert (found["Certificate"], found["Name"], found["Revocation"]) == ("succeeded", "skipped", "skipped")
    assert next(task for task in report.tasks if task.name == "Certificate").detail.startswith("DANE: ")
