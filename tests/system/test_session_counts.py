"""Proves that TLS sessions are counted for TLS reports as they went (RFC 8460): by domain, policy and result.

Every domain of the table gets one message; hosts listen on port 25 of loopback addresses of their own, MTA-STS policies
are served on port 443 of others. Two workers count, and what they counted together is read from the stopped gateway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.debian import need
from support.dnssec import SignedDns
from support.gateway import Gateway
from support.policy_host import PolicyHost
from support.process import loopback
from support.scenes import connector, contoso, message, outcomes, send

from gatepost.store.storage import Storage
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone
from gatepost.testing.sink import Behaviour, Sink

NET = loopback("28")
NUMBERS = {name: number for number, name in enumerate(
    ["proved", "other", "clear", "garbage", "unusable", "expired", "misnamed", "wrong", "kept", "closed", "plain"], 10
)}  # fmt: skip
POLICIES, FORGED = f"{NET}.8", f"{NET}.7"

UNUSABLE = "000101" + "ab" * 32
WRONG = "030101" + "ab" * 32


@dataclass(frozen=True, slots=True)
class Case:
    """mx: its host. policy: mode and patterns of MTA-STS, "down" if it cannot be had, "" for none. event: of the mail.

    counted: by policy type, sessions that passed and the results of those that failed, "" if nothing is counted.
    """

    mx: str
    event: str
    counted: str
    policy: str = ""


# the zone signed.test has TLSA records, sts.test is not signed
CASES = {
    "match.signed.test": Case("proved", "SEND", "tlsa 1"),
    "wrong.signed.test": Case("wrong", "DEFER", "tlsa 0 tlsa-invalid=1"),
    "clear.signed.test": Case("clear", "DEFER", "tlsa 0 starttls-not-supported=1"),
    "unusable.signed.test": Case("unusable", "SEND", "tlsa 0 tlsa-invalid=1"),
    "expired.signed.test": Case("expired", "DEFER", "tlsa 0 certificate-expired=1"),
    "misnamed.signed.test": Case("misnamed", "DEFER", "tlsa 0 certificate-host-mismatch=1"),
    "second.signed.test": Case("wrong proved", "SEND", "tlsa 1 | tlsa 0 tlsa-invalid=1"),
    "both.signed.test": Case("proved", "SEND", "tlsa 1 | sts 0 validation-failure=1", "enforce x.sts.test"),
    "waived.signed.test": Case("wrong", "SEND", "tlsa 0 tlsa-invalid=1"),  # by TLS-Required: No
    "forged.test": Case("", "DEFER", "tlsa 0 dnssec-invalid=1"),
    "forged-mx.test": Case("", "DEFER", "tlsa 0 dnssec-invalid=1"),
    "must.sts.test": Case("plain", "DEFER", "tlsa 0 dane-required=1"),
    "plain.sts.test": Case("plain", "SEND", "no-policy-found 1"),
    "open.sts.test": Case("clear", "SEND", "no-policy-found 0 starttls-not-supported=1"),
    "garbage.sts.test": Case("garbage", "DEFER", "no-policy-found 0 validation-failure=1"),
    "closed.sts.test": Case("closed", "DEFER", ""),
    "good.sts.test": Case("kept", "SEND", "sts 1", "enforce *.sts.test"),
    "name.sts.test": Case("other", "DEFER", "sts 0 certificate-host-mismatch=1", "enforce other.sts.test"),
    "untrusted.sts.test": Case("plain", "SEND", "sts 0 certificate-not-trusted=1", "testing plain.sts.test"),
    "testing.sts.test": Case("other", "SEND", "sts 0 certificate-host-mismatch=1", "testing other.sts.test"),
    "unlisted.sts.test": Case("other", "DEFER", "sts 0 validation-failure=1", "enforce x.sts.test"),
    "withdrawn.sts.test": Case("other", "SEND", "no-policy-found 1", "none"),
    "down.sts.test": Case("other", "SEND", "sts 0 sts-policy-fetch-error=1 | no-policy-found 1", "down"),
    "forger.sts.test": Case("other", "SEND", "sts 0 sts-webpki-invalid=1 | no-policy-found 1", "forged"),
    "bad.sts.test": Case("other", "SEND", "sts 0 sts-policy-invalid=1 | no-policy-found 1", "bad"),
}
SMART = {"smart.example": "proved.signed.test", "smart-address.example": f"{NET}.{NUMBERS['plain']}"}
REASONS = {
    "wrong.signed.test": "TlsaInvalid",
    "unusable.signed.test": "TlsaUnusable",
    "unlisted.sts.test": "HostNotInPolicy",
    "garbage.sts.test": "TlsHandshakeFailed",
    "name.sts.test": "SubjectMismatch",
}


def address(name: str) -> str:
    return f"{NET}.{NUMBERS[name]}"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def made_leaves(pki: Pki, strange: Pki) -> dict[str, Leaf | None]:
    return {
        "proved": strange.leaf("proved.signed.test"),
        "other": pki.leaf("somebody.sts.test"),
        "clear": None,
        "garbage": pki.leaf("garbage.sts.test"),
        "unusable": strange.leaf("unusable.signed.test"),
        "expired": strange.expired("expired.signed.test"),
        "misnamed": strange.leaf("elsewhere.example"),
        "wrong": strange.leaf("wrong.signed.test"),
        "kept": pki.leaf("kept.sts.test"),
        "plain": strange.leaf("plain.sts.test"),
    }


def made_zones(leaves: dict[str, Leaf | None], strange: Pki) -> dict[str, Zone]:
    authority = x509.load_pem_x509_certificate(strange.intermediate.read_bytes()).public_bytes(Encoding.DER)
    proved = leaves["proved"]
    assert proved is not None
    spki = proved.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    records = {
        "proved": f"030101{digest(spki)}", "wrong": WRONG, "clear": WRONG, "unusable": UNUSABLE,
        "expired": f"020001{digest(authority)}", "misnamed": f"020001{digest(authority)}",
    }  # fmt: skip
    lines: dict[str, list[str]] = {"signed": [], "sts": []}
    for zone, found in lines.items():
        found += [f"{name} A {address(name)}" for name in NUMBERS]
        found += [f"_25._tcp.{name} TLSA {record}" for name, record in records.items() if zone == "signed"]
    for domain, case in CASES.items():
        label, _, zone = domain.removesuffix(".test").rpartition(".")
        if not label:
            continue
        lines[zone] += [f"{label} MX {10 * (place + 1)} {host}" for place, host in enumerate(case.mx.split())]
        if case.policy:
            where = {"down": f"{NET}.9", "forged": FORGED}.get(case.policy, POLICIES)
            lines[zone] += [f"mta-sts.{label} A {where}", f'_mta-sts.{label} TXT "v=STSv1; id=1;"']
    forged = ["@ MX 10 mx", f"mx A {address('plain')}", f"_25._tcp.mx TLSA {WRONG}"]
    return {
        "signed": Zone(lines["signed"]),
        "sts": Zone(lines["sts"], unsigned=True),
        "forged": Zone(forged, forged=["TLSA"]),
        "forged-mx": Zone(forged, forged=["MX"]),
    }


@dataclass(frozen=True, slots=True)
class World:
    """gateway: stopped, after every case's message was sent. found: RFC 8460's objects by policy domain then.

    events: the trace's rows.
    """

    gateway: Gateway
    sinks: dict[str, Sink]
    events: dict[str, dict[str, Any]]
    found: dict[str, dict[str, Any]]


def reports(gateway: Gateway, *words: str) -> list[tuple[str, dict[str, Any]]]:
    """RFC 8460's objects of all days, with the policy domain of each."""
    found = []
    for day in Storage(gateway.store_url, gateway.data_dir).session_counts().days():
        run = gateway.cli("report", "tlsrpt", "--day", day, *words, json=True, expect=None)
        found += [(one["domain"], one["report"]) for one in run.data["reports"]]
    return found


def passed(gateway: Gateway, domain: str) -> int:
    """Sessions that met the one policy of a domain."""
    found = [one for _, report in reports(gateway, "--domain", domain) for one in report["policies"]]
    return sum(one["summary"]["total-successful-session-count"] for one in found)


def policy(domain: str, case: Case) -> bytes:
    mode, *patterns = case.policy.split()
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in patterns), "max_age: 86400"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def serve(stack: ExitStack, pki: Pki, strange: Pki, leaves: dict[str, Leaf | None]) -> dict[str, Sink]:
    """Start the hosts, the one that serves every policy, and one that nobody trusts."""
    policies = {f"mta-sts.{domain}": policy(domain, case) for domain, case in CASES.items() if case.policy}
    stack.enter_context(PolicyHost(pki.leaf("policies", names=list(policies)), policies, address=POLICIES, port=443))
    stranger = strange.leaf("mta-sts.forger.sts.test")
    stack.enter_context(PolicyHost(stranger, b"", address=FORGED, port=443))
    sinks = {}
    for name, leaf in leaves.items():
        behaviour = Behaviour(starttls="garbage") if name == "garbage" else None
        sink = Sink(hostname=f"{name}.helo.test", host=address(name), port=25, certificate=leaf, behaviour=behaviour)
        sinks[name] = stack.enter_context(sink)
    return sinks


@pytest.fixture(scope="module")
def world(pki: Pki, strange_pki: Pki, signed_dns: Callable[..., SignedDns]) -> Iterator[World]:
    need("root")  # for ports 25 and 443
    leaves = made_leaves(pki, strange_pki)
    outbound = [connector(domain, f"{host}:25") for domain, host in SMART.items()]
    outbound.append(connector("must.sts.test", smtp_dane_mode="mandatory"))
    with ExitStack() as stack:
        sinks = serve(stack, pki, strange_pki, leaves)
        gateway = Gateway(
            contoso(outbound=outbound),
            nameservers=[signed_dns(made_zones(leaves, strange_pki)).address],
            anchors=pki.root,
            settings={"outbound": {"private_policy_hosts": True}, "server": {"workers": 2}},
        )
        stack.enter_context(gateway)
        wanted = {f"bob@{domain}": case.event for domain, case in CASES.items()}
        wanted |= {f"bob@{domain}": "SEND" for domain in SMART}
        for recipient in wanted:
            waives = recipient.startswith("bob@waived.")
            send(gateway.port, recipient, content=b"TLS-Required: No\r\n" + message() if waives else None)
        events = outcomes(gateway, wanted, timeout=60)
        gateway.stop()
        yield World(gateway, sinks, events, dict(reports(gateway)))


def told(report: dict[str, Any]) -> set[str]:
    """ "tlsa 0 tlsa-invalid=1" for each policy of a report."""
    found = set()
    for one in report["policies"]:
        failures = sorted(
            f"{each['result-type']}={each['failed-session-count']}" for each in one.get("failure-details", [])
        )
        passed = one["summary"]["total-successful-session-count"]
        assert one["summary"]["total-failure-session-count"] == sum(
            each["failed-session-count"] for each in one.get("failure-details", [])
        )
        found.add(" ".join([one["policy"]["policy-type"], str(passed), *failures]))
    return found


@pytest.mark.parametrize("domain", CASES)
def test_sessions_are_counted_as_they_went(world: World, domain: str) -> None:
    case = CASES[domain]
    assert f"bob@{domain}" in world.events
    report = world.found.get(domain, {"policies": []})
    assert told(report) == {one for one in case.counted.split(" | ") if one}
    if domain in REASONS:
        reasons = {each.get("failure-reason-code") for one in report["policies"] for each in one["failure-details"]}
        assert reasons == {REASONS[domain]}


def test_what_is_told_of_a_failure(world: World) -> None:
    ((domain, report),) = reports(world.gateway, "--domain", "Testing.STS.test.")
    assert (domain, report) == ("testing.sts.test", world.found[domain])
    (policy,) = report["policies"]
    lines = ["version: STSv1", "mode: testing", "mx: other.sts.test", "max_age: 86400"]
    shown = {"policy-type": "sts", "policy-string": lines, "policy-domain": "testing.sts.test"}
    assert policy["policy"] == shown | {"mx-host": ["other.sts.test"]}
    (failure,) = policy["failure-details"]
    assert failure == {
        "result-type": "certificate-host-mismatch",
        "sending-mta-ip": "127.0.0.1",
        "receiving-mx-hostname": "other.sts.test",
        "receiving-mx-helo": "other.helo.test",
        "receiving-ip": address("other"),
        "failed-session-count": 1,
        "failure-reason-code": "SubjectMismatch",
    }


def test_tlsa_records_are_whole_and_belong_to_the_host(world: World) -> None:
    (policy,) = world.found["wrong.signed.test"]["policies"]
    shown = {"policy-type": "tlsa", "policy-string": [f"3 1 1 {'ab' * 32}"], "policy-domain": "wrong.signed.test"}
    assert policy["policy"] == shown


def test_a_smart_host_is_its_own_policy_domain_and_an_address_is_none(world: World) -> None:
    assert told(world.found["proved.signed.test"]) == {"tlsa 1"}
    assert not {*SMART, SMART["smart-address.example"]} & set(world.found)


def test_nothing_was_counted_on_another_day(world: World) -> None:
    run = world.gateway.cli("report", "tlsrpt", "--day", "2001-01-01", expect=1)
    assert "there are counts of 2" in run.stderr
    assert world.gateway.cli("report", "tlsrpt", "--day", "yesterday", expect=2).stdout == ""


def test_workers_count_together_and_kept_connections_once(world: World) -> None:
    """As many sessions as TLS handshakes at the host, which are fewer than messages."""
    gateway, sink = world.gateway, world.sinks["kept"]
    gateway.start()
    messages = 40
    for number in range(messages):
        send(gateway.port, f"ann{number}@good.sts.test")
    assert len(outcomes(gateway, {f"ann{number}@good.sts.test": "SEND" for number in range(messages)})) == messages
    gateway.stop()
    assert len(gateway.trace_writers()) >= 2
    counted = passed(gateway, "good.sts.test")
    assert counted == sink.counts["TLS"]
    assert 2 <= counted < messages


def test_what_was_written_outlives_a_kill(world: World) -> None:
    gateway = world.gateway
    before = passed(gateway, "plain.sts.test")
    gateway.start()
    send(gateway.port, "eve@plain.sts.test")
    wait_until(lambda: passed(gateway, "plain.sts.test") == before + 1, "the count on disk", timeout=20)
    gateway.kill()
    assert passed(gateway, "plain.sts.test") == before + 1
