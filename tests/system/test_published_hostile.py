"""Proves that what partners publish and present for DANE and MTA-STS may be as large and as broken as they like.

One table: a row is a domain, its records, its policy and its host, and what becomes of a message for it. Each gets a
verdict and a reason from the gateway and from `gatepost check partner`, nothing crashes, and memory stays bounded. The
name server says of everything that DNSSEC proved it, as a validating one on loopback would.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.debian import need
from support.gateway import Gateway
from support.partners import leaf_record
from support.policy_host import PolicyHost
from support.process import loopback
from support.scenes import contoso, outcomes, send

from gatepost.manage.cli import main
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.sink import Sink

NET = loopback("4.{}")
POLICIES = NET.format(2)
MEGABYTE = 1 << 20
GROWTH = 80 * MEGABYTE  # of the gateway, by all rows together; it was 12 when this was written


@dataclass(frozen=True, slots=True)
class Row:
    """NAME.example; its host is mx.NAME.example.

    event, code: of the message's trace row; code with the result type after a space. said: words of its detail. host:
    what it presents. records: TLSA, hexadecimal; "LEAF" and "ROOT" are right ones. how: what the name server does when
    it is asked for them. txt, policy: of MTA-STS.
    """

    event: str
    code: str
    said: str
    records: Sequence[str] = ()
    host: str = "plain"
    how: str = ""
    txt: str = ""
    policy: bytes = b""


def digests(count: int) -> list[str]:
    return [f"030101{number:064x}" for number in range(count)]


HALF = "ab" * 32
PROVED, ENCRYPTED = "250 dnssec/authenticated", "250 dnssec/encrypted"
UNUSABLE, LARGE, MANY = "0 usable", "excessive message size", "at most 32"
TXT = '"v=STSv1; id=1;"'
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.NAME.example\r\nmax_age: 86400\r\n"
MANY_FIELDS = TXT[:-1] + '" "'.join(f"a{number}=b;" for number in range(99)) + '"'
MANY_STRINGS = TXT[:-1] + " ".join(["x" * 200 + '" "'] * 99) + '"'
MANY_HOSTS = b"".join(b"mx: %d.b.example\n" % number for number in range(900))
TABLE: dict[str, Row] = {
    # TLSA records that make no sense, and too many of them.
    **{f"octets-{size}": Row("SEND", ENCRYPTED, UNUSABLE, ["03010100"[: 2 * size]]) for size in range(5)},
    "octets-clear": Row("DEFER", "450 4.7.321 starttls-not-supported", UNUSABLE, [""], host="clear"),
    "usages": Row("SEND", ENCRYPTED, UNUSABLE, [f"{usage}0101{HALF}" for usage in ("00", "01", "04", "ff")]),
    "selectors": Row("SEND", ENCRYPTED, UNUSABLE, [f"03{selector}01{HALF}" for selector in ("02", "ff")]),
    "digests": Row("SEND", ENCRYPTED, UNUSABLE, [f"0301{digest}{HALF}" for digest in ("03", "ff")]),
    "one-of-them": Row("SEND", PROVED, "3 1 1", ["", "04", f"030103{HALF}", "LEAF"]),
    "huge": Row("SEND", ENCRYPTED, UNUSABLE, ["030000" + "ab" * 60_000]),
    "wrong-500": Row("DEFER", "450 4.7.323 tlsa-invalid", "400 were not checked", digests(500)),
    "right-500": Row("SEND", PROVED, "3 1 1", ["LEAF", *digests(499)]),
    "wrong-1300": Row("DEFER", "450 4.7.323 tlsa-invalid", "1200 were not checked", digests(1300)),
    "cut-udp": Row("SEND", PROVED, "3 1 1", ["LEAF"], how="TRUNCATE"),
    "cut-tcp": Row("DEFER", "450 4.4.312 validation-failure", "cut off (TC)", ["LEAF"], how="CUT"),
    "no-answer": Row("DEFER", "450 4.4.312 validation-failure", "did not answer", ["LEAF"], how="GARBAGE"),
    # Certificates: a chain of thirty, one of a hundred, and one of a megabyte.
    "deep": Row("SEND", ENCRYPTED, "", host="deep"),
    "deep-leaf": Row("SEND", PROVED, "3 1 1", ["LEAF"], host="deep"),
    "deep-root": Row("DEFER", "450 4.7.323 tlsa-invalid", "tlsa-invalid", ["ROOT"], host="deep"),
    "deep-sts": Row(
        "DEFER", "450 4.7.5 validation-failure", "30 certificates were presented", host="deep", txt=TXT, policy=POLICY
    ),
    "endless": Row("DEFER", "450 4.4.317 validation-failure", MANY, host="endless"),
    "endless-leaf": Row("DEFER", "450 4.7.321 validation-failure", MANY, ["LEAF"], host="endless"),
    "endless-sts": Row("DEFER", "450 4.4.317 validation-failure", MANY, host="endless", txt=TXT, policy=POLICY),
    "large": Row("DEFER", "450 4.4.317 validation-failure", LARGE, host="large"),
    "large-leaf": Row("DEFER", "450 4.7.321 validation-failure", LARGE, ["LEAF"], host="large"),
    "large-sts": Row("DEFER", "450 4.4.317 validation-failure", LARGE, host="large", txt=TXT, policy=POLICY),
    # Policies and their records. One that cannot be read is none, and the trace says why.
    "policy-10mb": Row(
        "SEND", ENCRYPTED, "sts-policy-", txt=TXT, policy=POLICY + b"x: y\r\n" * (10 * MEGABYTE // 6)
    ),
    "policy-nul": Row(
        "SEND", ENCRYPTED, "control character", txt=TXT, policy=POLICY.replace(b"enforce", b"enforce\0")
    ),
    "policy-lines": Row("SEND", ENCRYPTED, "more than 1000 lines", txt=TXT, policy=POLICY + b"mx: a\n" * 10_000),
    "policy-names": Row("SEND", ENCRYPTED, "more than 500 mx", txt=TXT, policy=POLICY + MANY_HOSTS),
    "txt-nul": Row("SEND", ENCRYPTED, "sts-policy-invalid", txt=r'"v=STSv1; id=1\000;"', policy=POLICY),
    "txt-fields": Row("DEFER", "450 4.7.5 certificate-not-trusted", "self-signed", txt=MANY_FIELDS, policy=POLICY),
    "txt-long": Row("SEND", ENCRYPTED, "sts-policy-invalid", txt=MANY_STRINGS, policy=POLICY),
}  # fmt: skip


def address(name: str) -> str:
    return NET.format(10 + ["plain", "clear", "deep", "endless", "large"].index(TABLE[name].host))


@dataclass(frozen=True, slots=True)
class Lab:
    gateway: Gateway
    nameserver: str
    anchors: str
    before: int


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("root")
    pki, strangers = (Pki(tmp_path_factory.mktemp(name), name) for name in ("pki", "strangers"))
    leaves: dict[str, Leaf | None] = {
        "plain": strangers.self_signed("plain.example"),
        "clear": None,
        "deep": pki.deep("mx.deep-sts.example", 30),
        "endless": pki.deep("mx.endless-sts.example", 100),
        "large": pki.leaf("mx.large-sts.example", padding=MEGABYTE),
    }
    records = zone(leaves, pki)
    serving = pki.leaf("policies.example", names=[f"mta-sts.{name}.example" for name in TABLE])
    texts = {f"mta-sts.{name}.example": row.policy.replace(b"NAME", name.encode()) for name, row in TABLE.items()}
    failures = {f"_25._tcp.mx.{name}.example TLSA": row.how for name, row in TABLE.items() if row.how}
    with ExitStack() as stack:
        for number, (kind, leaf) in enumerate(leaves.items(), 10):
            stack.enter_context(Sink(host=NET.format(number), port=25, certificate=leaf, hostname=f"{kind}.example"))
        stack.enter_context(PolicyHost(serving, texts, address=POLICIES, port=443))
        server = stack.enter_context(DnsServer(records, failures=failures, authentic=True))
        settings = {"outbound": {"private_policy_hosts": True}, "dns": {"timeout": "8s", "attempts": 1}}
        gateway = Gateway(contoso(), nameservers=[server.address], anchors=pki.root, settings=settings)
        stack.enter_context(gateway)
        yield Lab(gateway, server.address, str(pki.root), gateway.resident())


def zone(leaves: dict[str, Leaf | None], pki: Pki) -> dict[str, list[str]]:
    root = x509.load_pem_x509_certificate(pki.root.read_bytes()).public_bytes(Encoding.DER)
    records: dict[str, list[str]] = {}
    for name, row in TABLE.items():
        leaf = leaves[row.host]
        made = {"LEAF": leaf_record(leaf) if leaf else "", "ROOT": "020001" + hashlib.sha256(root).hexdigest()}
        datas = [made.get(one, one) for one in row.records]
        records[f"{name}.example MX"] = [f"10 mx.{name}.example."]
        records[f"mx.{name}.example A"] = [address(name)]
        if datas:
            records[f"_25._tcp.mx.{name}.example TLSA"] = [f"\\# {len(one) // 2} {one}" for one in datas]
        if row.txt:
            records[f"_mta-sts.{name}.example TXT"] = [row.txt]
            records[f"mta-sts.{name}.example A"] = [POLICIES]
    return records


@pytest.fixture(scope="module")
def events(lab: Lab) -> dict[str, dict[str, Any]]:
    wanted = {f"bob@{name}.example": row.event for name, row in TABLE.items()}
    for recipient in wanted:
        send(lab.gateway.port, recipient)
    return outcomes(lab.gateway, wanted, timeout=60)


@pytest.mark.parametrize("name", TABLE)
def test_each_has_a_verdict_and_a_reason(events: dict[str, dict[str, Any]], name: str) -> None:
    row, event = TABLE[name], events[f"bob@{name}.example"]
    code = " ".join(event["reply"].split()[: 1 if row.event == "SEND" else 2])
    assert f"{code} {event.get('result_type') or event['achieved']}" == row.code, event
    assert row.said in json.dumps(event), event


@pytest.mark.parametrize("name", TABLE)
def test_a_check_says_so_too(lab: Lab, name: str) -> None:
    patience = "2" if TABLE[name].how else "15"  # where nothing is answered, not long
    words = ["check", "partner", f"{name}.example", "--json", "--private", "--timeout", patience]
    run = CliRunner().invoke(main, [*words, "--nameserver", lab.nameserver, "--anchors", lab.anchors])
    assert run.exit_code in {0, 1, 3}, run.output
    assert run.exception is None or isinstance(run.exception, SystemExit), run.exception
    found = json.loads(run.stdout)
    row = TABLE[name]
    verdict = "unknown" if row.how and row.event == "DEFER" else "deliver" if row.event == "SEND" else "hold"
    assert found["verdict"] == verdict, found


def test_memory_is_bounded(lab: Lab, events: dict[str, dict[str, Any]]) -> None:
    assert len(events) == len(TABLE)
    grown = lab.gateway.resident() - lab.before
    assert grown < GROWTH
