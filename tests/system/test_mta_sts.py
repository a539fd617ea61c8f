"""Proves that mail obeys MTA-STS policies (RFC 8461; exchange.md section 10.2, tests M1 to M3).

Every domain of the table has a policy host of its own on port 443 of a loopback address, and MX hosts on port 25 of
others. What falls short of a policy in force waits with Exchange's code, and its host never sees a MAIL command.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.debian import need
from support.dnssec import Zone
from support.gateway import Gateway
from support.policy_host import PolicyHost
from support.scenes import ALICE, connector, contoso, outcomes, send
from support.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.dnssec import SignedDns
    from support.pki import Leaf, Pki

# a proves its name; b has another one's certificate; c has one that nobody trusts; d has none
HOSTS = {name: f"127.0.0.{50 + number}" for number, name in enumerate("abcd")}


@dataclass(frozen=True, slots=True)
class Case:
    """A domain below sts.test. mx: its MX hosts in order. policy: mode and patterns, "" if its host is down.

    event, code, achieved: as the trace has them. host: where it arrives. result: RFC 8460. told: of detail.mta_sts.
    """

    mx: str
    policy: str
    event: str
    code: str = "250"
    host: str = ""
    achieved: str = ""
    result: str = ""
    told: tuple[tuple[str, Any], ...] = ()


MISMATCH, UNTRUSTED = "certificate-host-mismatch", "certificate-not-trusted"
ENFORCED, TESTED = (("mode", "enforce"),), ("mode", "testing")
CASES = {
    "good": Case("a", "enforce a.sts.test", "SEND", host="a", achieved="mta-sts/authenticated", told=ENFORCED),
    "wildcard": Case("a", "enforce *.sts.test", "SEND", host="a", achieved="mta-sts/authenticated"),
    "wrong-mx": Case("a", "enforce x.sts.test", "DEFER", "450 4.4.8", result="validation-failure", told=ENFORCED),  # M1
    "two-labels": Case("a", "enforce *.test", "DEFER", "450 4.4.8", result="validation-failure"),
    "wrong-name": Case("b", "enforce b.sts.test", "DEFER", "450 4.7.5", result=MISMATCH, told=ENFORCED),  # M2
    "untrusted": Case("c", "enforce c.sts.test", "DEFER", "450 4.7.5", result=UNTRUSTED),
    "no-tls": Case("d", "enforce d.sts.test", "DEFER", "450 4.4.317", result="starttls-not-supported"),
    "second": Case("ba", "enforce *.sts.test", "SEND", host="a", achieved="mta-sts/authenticated"),
    "unlisted-first": Case("da", "enforce a.sts.test", "SEND", host="a", achieved="mta-sts/authenticated"),
    "testing": Case("a", "testing a.sts.test", "SEND", host="a", achieved="none/authenticated",
                    told=(TESTED, ("testing.passed", True))),
    "testing-mx": Case("e", "testing x.sts.test", "SEND", host="e",
                       told=(TESTED, ("testing.passed", False), ("testing.message", "HostNotInPolicy"))),
    "testing-name": Case("e", "testing e.sts.test", "SEND", host="e",
                         told=(TESTED, ("testing.passed", False), ("testing.result_type", MISMATCH))),
    "off": Case("e", "enforce x.sts.test", "SEND", host="e", achieved="none/encrypted"),  # M3
    "withdrawn": Case("e", "none", "SEND", host="e", told=(("mode", "none"),)),
    "down": Case("e", "", "SEND", host="e", told=(("failure.result_type", "sts-policy-fetch-error"),)),
    "dane": Case("g", "enforce x.sts.test", "SEND", host="g", achieved="dnssec/authenticated", told=ENFORCED),
}  # fmt: skip
FELL_SHORT = "bcd"
PRIVATE = {"private_policy_hosts": True}
HOSTS |= {"e": "127.0.0.54", "g": "127.0.0.55"}


@dataclass(frozen=True, slots=True)
class World:
    gateway: Gateway
    sinks: dict[str, Sink]
    policy_hosts: dict[str, PolicyHost]
    nameserver: str


def domain_of(label: str) -> str:
    return "dane.test" if label == "dane" else f"{label}.sts.test"


def found(told: dict[str, Any], key: str) -> Any:
    """What stands under "a.b"."""
    first, _, rest = key.partition(".")
    return found(told.get(first, {}), rest) if rest else told.get(first)


def policy(text: str) -> bytes:
    mode, *patterns = text.split()
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in patterns), "max_age: 86400"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def zones(proved: Leaf) -> dict[str, Zone]:
    """sts.test is not signed, dane.test is."""
    lines = [f"{name} A {address}" for name, address in HOSTS.items() if name != "g"]
    for number, (label, case) in enumerate(CASES.items()):
        if label != "dane":
            lines += [f"{label} MX {10 * (place + 1)} {host}" for place, host in enumerate(case.mx)]
            lines.append(f"mta-sts.{label} A 127.0.0.{60 + number}")
            lines.append(f'_mta-sts.{label} TXT "v=STSv1; id=1;"')
    spki = proved.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signed = [
        "@ MX 10 g",
        f"g A {HOSTS['g']}",
        f"_25._tcp.g TLSA 030101{hashlib.sha256(spki).hexdigest()}",
        f"mta-sts A 127.0.0.{60 + list(CASES).index('dane')}",
        '_mta-sts TXT "v=STSv1; id=1;"',
    ]
    return {"sts": Zone(lines, unsigned=True), "dane": Zone(signed)}


@pytest.fixture(scope="module")
def world(pki: Pki, strange_pki: Pki, signed_dns: Callable[..., SignedDns]) -> Iterator[World]:
    need("root")  # for ports 25 and 443
    other, proved = pki.leaf("other.sts.test"), strange_pki.leaf("g.dane.test")
    leaves = {
        "a": pki.leaf("a.sts.test"),
        "b": other,
        "c": strange_pki.leaf("c.sts.test"),
        "d": None,
        "e": other,
        "g": proved,
    }
    serving = pki.leaf("policies.sts.test", names=[f"mta-sts.{domain_of(label)}" for label in CASES])
    outbound = [connector("off.sts.test", mta_sts_mode="none")]
    with ExitStack() as stack:
        sinks = {
            name: stack.enter_context(Sink(host=HOSTS[name], port=25, certificate=leaf, hostname=f"{name}.sts.test"))
            for name, leaf in leaves.items()
        }
        policy_hosts = {
            label: stack.enter_context(
                PolicyHost(serving, policy(case.policy), address=f"127.0.0.{60 + number}", port=443)
            )
            for number, (label, case) in enumerate(CASES.items())
            if case.policy
        }
        nameserver = signed_dns(zones(proved)).address
        gateway = Gateway(
            contoso(outbound=outbound), nameservers=[nameserver], anchors=pki.root, settings={"outbound": PRIVATE}
        )
        yield World(stack.enter_context(gateway), sinks, policy_hosts, nameserver)


@pytest.fixture(scope="module")
def events(world: World) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{domain_of(label)}": case.event for label, case in CASES.items()}
    for recipient in wanted:
        send(world.gateway.port, recipient)
    return outcomes(world.gateway, wanted, timeout=60)


@pytest.mark.parametrize("label", CASES)
def test_mail_obeys_mta_sts(world: World, events: dict[str, dict[str, Any]], label: str) -> None:
    case, recipient = CASES[label], f"bob@{domain_of(label)}"
    event = events[recipient]
    assert event["reply"].startswith(case.code), event
    assert event.get("result_type", "") == case.result
    if case.achieved:
        assert event["achieved"] == case.achieved, event
    told = event["detail"].get("mta_sts", {})
    assert {key: found(told, key) for key, _ in case.told} == dict(case.told), told
    taken_by = [name for name, sink in world.sinks.items() if any(recipient in one.recipients for one in sink.messages)]
    assert taken_by == ([case.host] if case.host else [])


def test_who_falls_short_never_sees_a_message(world: World, events: dict[str, dict[str, Any]]) -> None:
    assert len(events) == len(CASES)
    assert {name: world.sinks[name].counts["MAIL"] for name in FELL_SHORT} == dict.fromkeys(FELL_SHORT, 0)


def test_a_policy_names_itself_where_it_counts(events: dict[str, dict[str, Any]]) -> None:
    assert "mta-sts:good.sts.test" in events["bob@good.sts.test"]["detail"]["requirement_sources"]
    assert events["bob@dane.test"]["detail"]["requirement_sources"] == ["dane:g.dane.test"]
    assert "mta_sts" not in events["bob@off.sts.test"]["detail"]


def test_a_policy_outlives_a_restart_and_its_host(world: World, events: dict[str, dict[str, Any]]) -> None:
    gateway = world.gateway
    assert events["bob@good.sts.test"]["event"] == "SEND"
    gateway.stop()
    world.policy_hosts["good"].stop()
    gateway.start()
    send(gateway.port, "ann@good.sts.test")
    (event,) = outcomes(gateway, {"ann@good.sts.test": "SEND"}).values()
    assert event["achieved"] == "mta-sts/authenticated"


def test_what_expires_is_returned_with_the_permanent_code(world: World, pki: Pki) -> None:
    """M1 and M2 to their end: the notice says who must act."""
    codes = {"bob@wrong-mx.sts.test": "5.4.8", "bob@wrong-name.sts.test": "5.7.5"}
    resources = contoso(message_expiration="2s")
    settings = {"outbound": PRIVATE, "queue": {"retry": ["1s"]}}
    with Gateway(resources, nameservers=[world.nameserver], anchors=pki.root, settings=settings) as gateway:
        for recipient in codes:
            send(gateway.port, recipient)
        notices = [mail.body.decode() for mail in gateway.wait_maildir(ALICE, 2)]
    for recipient, code in codes.items():
        (notice,) = [body for body in notices if recipient in body]
        assert f"Status: {code}" in notice
        assert "MTA-STS" in notice.partition("Status:")[0]
