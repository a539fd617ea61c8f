"""Proves that mail obeys what domains publish for DANE (RFC 7672; exchange.md section 10.1, tests D1 to D3).

A gateway whose resolver is Unbound, zones that NSD serves and dnspython signed, and hosts on port 25 of loopback
addresses of their own. Every domain of the table gets one message; what falls short waits with Exchange's code, and its
host never sees a MAIL command.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.debian import need
from support.dnssec import Zone
from support.gateway import Gateway
from support.scenes import connector, contoso, outcomes, send
from support.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.dnssec import SignedDns
    from support.pki import Leaf, Pki

USED = "127.0.0.{}"
NUMBERS = {name: 30 + number for number, name in enumerate("abcdefghijkmnoq")}


def leaf_record(leaf: Leaf) -> str:
    spki = leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "030101" + hashlib.sha256(spki).hexdigest()


def anchor_record(pki: Pki) -> str:
    certificate = x509.load_pem_x509_certificate(pki.intermediate.read_bytes())
    return "020001" + hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


WRONG = "030101" + "ab" * 32
UNUSABLE = "000101" + "ab" * 32


@dataclass(frozen=True, slots=True)
class Host:
    """leaf: what it presents, None for no STARTTLS. records: its TLSA records."""

    leaf: Leaf | None
    records: list[str] = field(default_factory=list)


def made_hosts(pki: Pki) -> dict[str, Host]:
    """The hosts of good.test. Nobody trusts `pki`: what is proved here is proved by the DNS alone."""
    own = pki.self_signed("elsewhere.example")
    old = pki.self_signed("elsewhere.example", days=(-90, -1))
    under = {name: pki.leaf(f"{name}.good.test") for name in "f"}
    return {
        "a": Host(own, [leaf_record(own), WRONG]),
        "b": Host(own, [WRONG]),
        "c": Host(None, [WRONG]),
        "d": Host(None, [UNUSABLE]),
        "e": Host(own, [UNUSABLE, "03010100"]),
        "f": Host(under["f"], [anchor_record(pki)]),
        "g": Host(pki.leaf("g.elsewhere.example"), [anchor_record(pki)]),
        "h": Host(pki.expired("h.good.test"), [anchor_record(pki)]),
        "i": Host(old, [leaf_record(old)]),
        "j": Host(None),
        "k": Host(own, [WRONG]),
        "m": Host(own, [WRONG]),
        "n": Host(pki.leaf("named.good.test"), [anchor_record(pki)]),
        "o": Host(own),
        "q": Host(None),
    }


@dataclass(frozen=True, slots=True)
class Case:
    """event, code, achieved: as the trace has them. host: where it arrives. sources: who asks. result: RFC 8460."""

    event: str
    code: str
    host: str = ""
    achieved: str = ""
    sources: tuple[str, ...] = ()
    result: str = ""


NO_TLS = "starttls-not-supported"
SENT = "250"
CASES = {
    "match.good.test": Case("SEND", SENT, "a", "dnssec/authenticated", ("dane:a.good.test",)),
    "wrong.good.test": Case("DEFER", "450 4.7.323", sources=("dane:b.good.test",), result="tlsa-invalid"),
    "clear.good.test": Case("DEFER", "450 4.7.321", sources=("dane:c.good.test",), result=NO_TLS),
    "unusable-clear.good.test": Case("DEFER", "450 4.7.321", sources=("dane:d.good.test",), result=NO_TLS),  # D1
    "unusable.good.test": Case("SEND", SENT, "e", "dnssec/encrypted", ("dane:e.good.test",)),
    "second.good.test": Case("SEND", SENT, "a", "dnssec/authenticated", ("dane:a.good.test",)),  # D3
    "anchor.good.test": Case("SEND", SENT, "f", "dnssec/authenticated", ("dane:f.good.test",)),
    "named.good.test": Case("SEND", SENT, "n", "dnssec/authenticated", ("dane:n.good.test",)),
    "name.good.test": Case("DEFER", "450 4.7.325", result="certificate-host-mismatch"),
    "expired.good.test": Case("DEFER", "450 4.7.322", result="certificate-expired"),
    "expired-leaf.good.test": Case("SEND", SENT, "i", "dnssec/authenticated"),
    "none.good.test": Case("SEND", SENT, "j", "dnssec/none", ("default",)),
    "insecure.test": Case("SEND", SENT, "k", "none/encrypted", ("default",)),
    "forged.test": Case("DEFER", "450 4.7.324", result="dnssec-invalid"),
    "forged-address.test": Case("DEFER", "450 4.7.324", result="dnssec-invalid"),
    "forged-mx.test": Case("DEFER", "450 4.7.324", result="dnssec-invalid"),
    "lame.good.test": Case("DEFER", "450 4.4.312", result="validation-failure"),
    "smart.example": Case("SEND", SENT, "a", "none/authenticated", ("dane:a.good.test",)),
    "smart-wrong.example": Case("DEFER", "450 4.7.323", result="tlsa-invalid"),
    "must.good.test": Case("SEND", SENT, "a", "dnssec/authenticated"),
    "must-none.good.test": Case("DEFER", "450 4.7.323", result="dane-required"),  # D2
    "must-unusable.good.test": Case("DEFER", "450 4.7.323", result="dane-required"),
    "must-insecure.test": Case("DEFER", "450 4.7.323", result="dane-required"),
    "off.good.test": Case("SEND", SENT, "m", "dnssec/encrypted", ("connector:off.good.test",)),
    "rehearsed.good.test": Case("SEND", SENT, "o", "dnssec/encrypted", ("default",)),
    "chain.good.test": Case("DEFER", "450 4.7.320", result="certificate-not-trusted"),
}
FELL_SHORT = "bcdghq"

CONNECTORS = [
    connector("smart.example", "a.good.test:25"),
    connector("smart-wrong.example", "b.good.test:25"),
    *(
        connector(domain, smtp_dane_mode="mandatory")
        for domain in ("must.good.test", "must-none.good.test", "must-unusable.good.test", "must-insecure.test")
    ),
    connector("off.good.test", smtp_dane_mode="none"),
    connector("rehearsed.good.test", smtp_dane_mode="mandatory", mode="rehearse"),
    connector("chain.good.test", tls_settings="certificate-validation"),
]


def made_zones(hosts: dict[str, Host]) -> dict[str, Zone]:
    mx = {
        "match": "a", "wrong": "b", "clear": "c", "unusable-clear": "d", "unusable": "e", "anchor": "f", "name": "g",
        "named": "n", "expired": "h", "expired-leaf": "i", "none": "j", "must": "a", "must-none": "q",
        "must-unusable": "q2", "off": "m", "rehearsed": "o", "chain": "a", "lame": "lame-mx",
    }  # fmt: skip
    lines = [f"{label} MX 10 {host}" for label, host in mx.items()]
    lines += ["second MX 10 b", "second MX 20 a"]
    lines += [f"{name} A {USED.format(NUMBERS[name])}" for name in hosts]
    lines += [f"_25._tcp.{name} TLSA {record}" for name, host in hosts.items() for record in host.records]
    lines += [f"q2 A {USED.format(NUMBERS['q'])}", f"_25._tcp.q2 TLSA {UNUSABLE}"]
    # the server of what lies below _tcp.lame-mx is not there
    lines += [
        f"lame-mx A {USED.format(NUMBERS['q'])}",
        "_tcp.lame-mx NS ns.test.",
        f"_tcp.lame-mx DS 1 13 2 {'00' * 32}",
    ]
    away = [f"mx A {USED.format(NUMBERS['q'])}", f"_25._tcp.mx TLSA {WRONG}", "@ MX 10 mx"]
    return {
        "good": Zone(lines),
        "insecure": Zone(
            ["@ MX 10 mx", f"mx A {USED.format(NUMBERS['k'])}", f"_25._tcp.mx TLSA {WRONG}"], unsigned=True
        ),
        "must-insecure": Zone(away, unsigned=True),
        "forged": Zone(away, forged=["TLSA"]),
        "forged-address": Zone(away, forged=["A"]),
        "forged-mx": Zone(away, forged=["MX"]),
    }


@pytest.fixture(scope="module")
def hosts(strange_pki: Pki) -> dict[str, Host]:
    return made_hosts(strange_pki)


@pytest.fixture(scope="module")
def sinks(hosts: dict[str, Host]) -> Iterator[dict[str, Sink]]:
    need("root")  # for port 25
    made = {
        name: Sink(host=USED.format(NUMBERS[name]), port=25, certificate=host.leaf, hostname=f"{name}.good.test")
        for name, host in hosts.items()
    }
    for sink in made.values():
        sink.start()
    yield made
    for sink in made.values():
        sink.stop()


@pytest.fixture(scope="module")
def dane_gateway(
    hosts: dict[str, Host], sinks: dict[str, Sink], signed_dns: Callable[..., SignedDns], pki: Pki
) -> Iterator[Gateway]:
    del sinks
    resolver = signed_dns(made_zones(hosts))
    resources = contoso(outbound=CONNECTORS)
    with Gateway(resources, nameservers=[resolver.address], anchors=pki.root) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def events(dane_gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every case's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{domain}": case.event for domain, case in CASES.items()}
    for recipient in wanted:
        send(dane_gateway.port, recipient)
    return outcomes(dane_gateway, wanted, timeout=60)


@pytest.mark.parametrize("domain", CASES)
def test_mail_obeys_dane(sinks: dict[str, Sink], events: dict[str, dict[str, Any]], domain: str) -> None:
    case, recipient = CASES[domain], f"bob@{domain}"
    event = events[recipient]
    assert event["reply"].startswith(case.code), event
    assert event.get("result_type", "") == case.result
    if case.achieved:
        assert event["achieved"] == case.achieved, event
    if case.sources:
        sources = [one for one in event["detail"]["requirement_sources"] if not one.startswith("organization:")]
        assert tuple(sources) == case.sources
    taken_by = [name for name, sink in sinks.items() if any(recipient in one.recipients for one in sink.messages)]
    assert taken_by == ([case.host] if case.host else [])


def test_who_falls_short_never_sees_a_message(sinks: dict[str, Sink], events: dict[str, dict[str, Any]]) -> None:
    assert len(events) == len(CASES)
    assert {name: sinks[name].counts["MAIL"] for name in FELL_SHORT} == dict.fromkeys(FELL_SHORT, 0)


def test_what_was_published_and_matched_is_told(events: dict[str, dict[str, Any]]) -> None:
    good = events["bob@match.good.test"]["detail"]["dane"]
    assert (good["status"], good["base"]) == ("usable", "a.good.test")
    assert good["matched"].startswith("3 1 1 ")
    bad = events["bob@wrong.good.test"]["detail"]["dane"]
    assert [one["result_type"] for one in bad["refusals"]] == ["tlsa-invalid"]
    assert events["bob@insecure.test"]["detail"]["dane"]["status"] == "insecure"
    assert events["bob@forged.test"]["detail"]["dane"]["status"] == "failed"
    assert "dane" not in events["bob@off.good.test"]["detail"]
    rehearsal = events["bob@rehearsed.good.test"]["detail"]["rehearsal"]
    assert (rehearsal["passed"], rehearsal["result_type"]) == (False, "dane-required")
