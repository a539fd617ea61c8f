"""Proves `gatepost connector drill` on a gateway at work: each level stops what it promises, to the last octet.

The real partner is a recording sink and the real nameserver writes down what it is asked: neither hears of a drill. The
evidence is read here with nothing of gatepost, as an auditor would read it.
"""

from __future__ import annotations

import hashlib
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.drills import drill
from support.gateway import Gateway
from support.scenes import connector, contoso, send

from gatepost.analysis.checks.evidence import drill_documents
from gatepost.store.documents import Documents
from gatepost.store.storage import Storage
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

NAME = "mx.partner.example"
CHANNEL = {
    "starttls-stripped",
    "starttls-refused",
    "handshake-broken",
    "response-injection",
    "response-injection-begun",
    "tls-1.0-only",
}
CHAIN = {"self-signed", "unknown-ca", "expired", "not-yet-valid", "chain-incomplete"}
NAMES = {"wrong-name", "mx-redirected"}
ALL = CHANNEL | CHAIN | NAMES | {"revoked", "revocation-blocked"}


@dataclass(frozen=True, slots=True)
class Level:
    """A connector, the exit code of its drill, and which attacks take the message."""

    settings: dict[str, Any]
    code: int
    took: set[str]
    verdict: str


LEVELS = {
    "opportunistic.example": Level(
        {},
        1,
        ALL - (CHANNEL - {"starttls-stripped"}),
        "drill FAILED: the connector requires no TLS: 10 of 15 attacks took the message, 1 of them unencrypted",
    ),
    "waits.example": Level(
        {"cleartext": "after-failed-handshake"},
        1,
        ALL,
        "drill FAILED: the connector requires no TLS: 15 of 15 attacks took the message, 6 of them unencrypted",
    ),
    "encryption.example": Level(
        {"tls_settings": "encryption-only"},
        0,
        ALL - CHANNEL,
        "drill passed: 6 attacks, 0 messages left; 9 out-of-scope attacks succeeded",
    ),
    "certificate.example": Level(
        {"tls_settings": "certificate-validation", "revocation_check": "hard-fail"},
        0,
        NAMES,
        "drill passed: 13 attacks, 0 messages left; 2 out-of-scope attacks succeeded",
    ),
    "domain.example": Level(
        {"tls_settings": "domain-validation", "tls_domain": NAME, "revocation_check": "hard-fail"},
        0,
        set(),
        "drill passed: 15 attacks, 0 messages left",
    ),
    "soft.example": Level(
        {"tls_settings": "domain-validation", "tls_domain": NAME},
        0,
        {"revocation-blocked"},
        "drill passed: 14 attacks, 0 messages left; 1 out-of-scope attack succeeded",
    ),
    "unasked.example": Level(
        {"tls_settings": "domain-validation", "tls_domain": NAME, "revocation_check": "none"},
        0,
        {"revoked", "revocation-blocked"},
        "drill passed: 13 attacks, 0 messages left; 2 out-of-scope attacks succeeded",
    ),
}


@dataclass
class Scene:
    """A running gateway, its real partner and its nameserver."""

    gateway: Gateway
    sink: Sink
    dns: DnsServer

    def contacts(self) -> tuple[int, int]:
        """Connections to the partner, and questions about it: the gateway also asks whether nameservers answer."""
        return self.sink.counts["CONNECT"], sum(query.name == NAME for query in self.dns.queries)

    @property
    def documents(self) -> Documents:
        """What is kept of drills."""
        return drill_documents(Storage(self.gateway.store_url, self.gateway.data_dir))

    def kept(self, printed: str) -> str:
        """What is kept of a drill. printed: where that is, as the command says."""
        content = self.documents.read(Path(printed).name, 1 << 24)
        assert content is not None
        return content.decode()


@pytest.fixture(scope="module")
def scene(pki: Pki) -> Iterator[Scene]:
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer({f"{NAME} A": ["127.0.0.1"]}))
        sink = stack.enter_context(Sink(certificate=pki.leaf(NAME)))
        ways = [connector(name, f"{NAME}:{sink.port}", **level.settings) for name, level in LEVELS.items()]
        ways.append(connector("off.example", tls_settings="domain-validation", enabled=False, mode="rehearse"))
        gateway = Gateway(contoso(outbound=ways), anchors=pki.root, nameservers=[dns.address])
        yield Scene(stack.enter_context(gateway), sink, dns)


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_stops_what_it_promises(scene: Scene, name: str) -> None:
    level = LEVELS[name]
    before = scene.contacts()
    played = drill(scene.gateway, name, json=True, expect=level.code).data
    assert played["verdict"] == level.verdict
    control, *attacks = played["scenarios"]
    assert (control["scenario"], control["happened"]) == ("control", "arrived")
    assert {one["scenario"] for one in attacks} == ALL
    assert {one["scenario"] for one in attacks if one["result"] == "left"} == level.took
    for one in attacks:
        if one["result"] == "held":
            assert_nothing_left(one)
    assert scene.contacts() == before


def assert_nothing_left(scenario: dict[str, Any]) -> None:
    """By what the far end wrote down: no envelope, no octet of content, the marker nowhere, in two attempts."""
    assert len(scenario["attempts"]) == 2
    for attempt in scenario["attempts"]:
        assert attempt["reply"].startswith("450 4.")
        assert attempt["result_type"]
        assert attempt["far_end"]["connections"] >= 1
        for channel in ("in_clear", "under_tls"):
            seen = dict(attempt["far_end"][channel])
            seen.pop("octets")
            assert not any(seen.values())
        assert not any("MAIL" in line for line in attempt["far_end"]["transcript"])


def test_a_table_with_the_verdict_last(scene: Scene) -> None:
    run = drill(scene.gateway, "certificate.example", expect=0)
    lines = run.stdout.splitlines()
    assert lines[-1] == LEVELS["certificate.example"].verdict
    assert "wrong name\tout of scope\tLEFT to an impostor\t" in run.stdout
    assert (
        "expired\twaits\twaited\tEHLO, STARTTLS, handshake, EHLO; 2 attempts, 0 MAIL, 0 octets of content\t450"
        in run.stdout
    )
    assert "this connector does not protect against 'MX redirected'" in run.stdout


def test_a_disabled_connector_in_rehearsal_is_attacked_as_if_it_were_in_force(scene: Scene) -> None:
    run = drill(scene.gateway, "off.example", expect=0)
    assert "note: the connector is disabled: no real mail takes it\n" in run.stdout
    assert "REAL MAIL IS NOT PROTECTED YET" in run.stdout
    assert run.stdout.rstrip().endswith("but the connector is in rehearsal: real mail is not protected yet")


def test_the_evidence_can_be_verified_without_gatepost(scene: Scene) -> None:
    printed = drill(scene.gateway, "domain.example", json=True, expect=0).data
    file = Path(printed["evidence"])
    if not scene.gateway.is_on_postgres:
        assert file.parent == scene.gateway.data_dir / "evidence" / "drills"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    document = json.loads(scene.kept(printed["evidence"]))
    form = json.dumps(document["record"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(form.encode()).hexdigest() == document["sha256"] == printed["sha256"]
    assert document["record"]["resource"]["tls_domain"] == NAME
    (row,) = [one for one in scene.gateway.trace(event="DRILL") if one["detail"]["file"] == file.name]
    assert (row["connector"], row["detail"]["sha256"]) == ("domain.example", printed["sha256"])
    again = scene.gateway.cli("connector", "drill", "domain.example", "--last")
    assert again.stderr == "SHA-256 verified: this drill, earlier drills and the trace agree\n"
    assert again.stdout.splitlines()[-1] == printed["verdict"]


def test_evidence_that_was_tampered_with_is_found_out(scene: Scene) -> None:
    name = "opportunistic.example"
    printed = drill(scene.gateway, name, json=True, expect=1).data
    file, honest = Path(printed["evidence"]).name, scene.kept(printed["evidence"])
    scene.documents.replace(file, honest.replace("drill FAILED", "drill passed").encode())
    run = scene.gateway.cli("connector", "drill", name, "--last", expect=1)
    assert "it was changed: its SHA-256 is " in run.stderr
    assert run.stdout == "evidence FAILED verification\n"
    # Whoever makes the hash anew has the trace against him.
    record = json.loads(honest)["record"] | {"verdict": "drill passed: 15 attacks, 0 messages left", "passed": True}
    form = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    forged = json.dumps({"sha256": hashlib.sha256(form.encode()).hexdigest(), "record": record})
    scene.documents.replace(file, forged.encode())
    run = scene.gateway.cli("connector", "drill", name, "--last", expect=1)
    assert "the trace recorded another SHA-256" in run.stderr
    scene.documents.replace(file, honest.encode())
    scene.gateway.cli("connector", "drill", name, "--last", expect=1)


def test_the_gateway_at_work_is_not_disturbed(scene: Scene) -> None:
    """Mail flows by the connector while it is attacked; queue, configuration and log stay as they are."""
    before = scene.gateway.cli("export").stdout, len(scene.sink.messages)
    log = scene.gateway.log()
    ended = threading.Event()

    def attack() -> None:
        try:
            for _ in range(3):
                drill(scene.gateway, "domain.example", expect=0)
        finally:
            ended.set()

    attacker = threading.Thread(target=attack)
    attacker.start()
    sent = 0
    while not ended.wait(0.05):
        send(scene.gateway.port, f"bob{sent}@domain.example")
        sent += 1
    attacker.join(60)
    assert sent >= 5
    received = scene.sink.wait_messages(before[1] + sent)
    assert len(received) == before[1] + sent
    assert all(one.tls for one in received)
    assert not any(b"gatepost drill" in one.data for one in received)
    queue = ("queue", "list")  # the partner has a message before the gateway has heard that it has it
    wait_until(lambda: scene.gateway.cli(*queue, json=True, expect=None).data == [], "the queue to run empty")
    assert scene.gateway.cli("export").stdout == before[0]
    assert "drill" not in scene.gateway.log()[len(log) :]
