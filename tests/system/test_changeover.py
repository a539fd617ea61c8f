"""Proves a changeover from end to end: gates, a switch under live sessions, DANE, a planned switch, the way back.

Gateways of two workers; the current certificate comes from the settings, the next one from another authority. A zone
that is really signed says what DANE senders know. What time would do is done to what the gateway remembers.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.clients import openssl_s_client
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import contoso, send

from gatepost.decoding import from_json
from gatepost.store.storage import Storage
from gatepost.testing.gateway import CliRun
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.signed_zone import Zone

PARTNER = {"name": "bank", "connector_type": "partner", "sender_domains": ["bank.example"], "require_tls": False}


@dataclass(frozen=True)
class Pair:
    """A domain below signed.test, and the certificates of its host."""

    domain: str
    current: Leaf
    next: Leaf

    @property
    def host(self) -> str:
        return f"mx.{self.domain}"


def tlsa(leaf: Leaf) -> str:
    """RDATA of a record 3 1 1."""
    return f"030101{pin(leaf)}"


def pin(leaf: Leaf) -> str:
    """SHA-256 of the key, hexadecimal."""
    digest = Hash(SHA256())
    digest.update(leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


@pytest.fixture(scope="module")
def pairs(pki: Pki, strange_pki: Pki) -> dict[str, Pair]:
    """What each zone publishes for DANE: nothing, the current key alone, both keys."""
    domains = {name: f"{name}.signed.test" for name in ("plain", "old", "both")}
    return {
        name: Pair(domain, pki.leaf(f"mx.{domain}"), strange_pki.leaf(f"mx.{domain}"))
        for name, domain in domains.items()
    }


@pytest.fixture(scope="module")
def nameserver(pairs: Mapping[str, Pair], signed_dns: Callable[..., object]) -> str:
    records = [line for name in pairs for line in (f"{name} MX 10 mx.{name}", f"mx.{name} A 127.0.0.1")]
    records += [f"_25._tcp.mx.{name} TLSA {tlsa(pairs[name].current)}" for name in ("old", "both")]
    records.append(f"_25._tcp.mx.both TLSA {tlsa(pairs['both'].next)}")
    address: str = signed_dns({"signed": Zone(records)}).address
    return address


@pytest.fixture
def start(
    gateway: Callable[..., Gateway], pki: Pki, strange_pki: Pki, nameserver: str, tmp_path: Path
) -> Callable[[Pair], Gateway]:
    """start(pair): a gateway that presents the current one."""
    anchors, key = tmp_path / "anchors.pem", tmp_path / "master.key"
    anchors.write_bytes(pki.root.read_bytes() + strange_pki.root.read_bytes())
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))

    def started(pair: Pair) -> Gateway:
        return gateway(
            contoso(domains=[{"name": pair.domain}], mailboxes=[f"bob@{pair.domain}"], inbound=[PARTNER]),
            hostname=pair.host,
            certificates=[pair.current],
            nameservers=[nameserver],
            anchors=anchors,
            settings={"server": {"workers": 2}, "store": {"master_key": f"file:{key}"}},
        )

    return started


def number(leaf: Leaf) -> str:
    return leaf.sha256[:16].lower()


def staged(mx: Gateway, leaf: Leaf) -> str:
    mx.cli("certificate", "add", str(leaf.chain), "--key", str(leaf.key))
    return number(leaf)


def changeover(mx: Gateway, *words: str, expect: int | None = 0, json: bool = False) -> CliRun:
    return mx.cli("certificate", "changeover", *words, expect=expect, json=json, timeout=60)


def body(pem: str) -> str:
    found = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END", pem, re.DOTALL)
    return "".join(found[1].split()) if found else ""


def shows(mx: Gateway, leaf: Leaf) -> bool:
    """Whether new sessions see it: five, as the kernel deals them out to two workers."""
    return all(body(openssl_s_client(mx.port).transcript) == body(leaf.chain.read_text()) for _ in range(5))


def is_shown(mx: Gateway, leaf: Leaf) -> None:
    wait_until(lambda: shows(mx, leaf), f"new sessions see {leaf.chain.name}")


class Secured(RawClient):
    """A session over TLS that stays open."""

    def begin(self) -> None:
        self.greet()
        self.starttls()
        self.command("EHLO client.example")

    @property
    def peer(self) -> str:
        assert isinstance(self.socket, ssl.SSLSocket)
        return ssl.DER_cert_to_PEM_cert(self.socket.getpeercert(binary_form=True) or b"")

    def deliver(self, to: str) -> None:
        for command, code in (("MAIL FROM:<ann@bank.example>", 250), (f"RCPT TO:<{to}>", 250), ("DATA", 354)):
            assert self.command(command).code == code, command
        assert self.command("Subject: x\r\n\r\nx\r\n.").code == 250


@dataclass
class Senders:
    """Sends a message after the other, each over a session of its own, until told to end."""

    port: int
    to: str
    sent: int = 0
    failed: list[Exception] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread:
            self._thread.join(20)

    def _run(self) -> None:
        while not self._end.wait(0.02):
            try:
                send(self.port, self.to, sender="ann@bank.example", tls=True)
                self.sent += 1
            except Exception as error:  # noqa: BLE001 - the test says that there is none
                self.failed.append(error)


def test_a_switch_drops_no_session_and_can_be_taken_back(
    start: Callable[[Pair], Gateway], pairs: Mapping[str, Pair]
) -> None:
    pair = pairs["plain"]
    mx, to = start(pair), f"bob@{pair.domain}"
    new = staged(mx, pair.next)
    with Senders(mx.port, to) as senders, Secured(mx.port) as first, Secured(mx.port) as second:
        for one in (first, second):
            one.begin()
        changeover(mx, "check", new)
        done = changeover(mx, "switch", new, json=True).data
        assert (done["switched"], done["replaced"]) == (True, [number(pair.current)])
        is_shown(mx, pair.next)
        for one in (first, second):
            one.deliver(to)
            assert body(one.peer) == body(pair.current.chain.read_text())
        with Secured(mx.port) as third:
            third.begin()
            changeover(mx, "roll-back", "--note", "the bank complained")
            is_shown(mx, pair.current)
            third.deliver(to)
            assert body(third.peer) == body(pair.next.chain.read_text())
        for one in (first, second):
            one.deliver(to)
        before = senders.sent
        wait_until(lambda: senders.sent > before, "a message after the way back")
    assert senders.failed == []
    changeover(mx, "roll-back", expect=1)
    (row,) = changeover(mx, "status", json=True).data
    assert row["certificate"]["state"] == "next"
    assert "changeover: rolled back: the bank complained" in mx.cli("certificate", "history").stdout


def test_the_key_of_a_withdrawn_one_is_gone(
    start: Callable[[Pair], Gateway], pairs: Mapping[str, Pair], pki: Pki
) -> None:
    pair = pairs["plain"]
    mx = start(pair)
    second, third = staged(mx, pair.next), pki.leaf(pair.host, key="ecdsa")
    changeover(mx, "switch", second)
    changeover(mx, "switch", staged(mx, third))
    with closing(Storage(mx.store_url, mx.data_dir).configuration()) as store:
        sealed = store.content(f"certificate/{second}/key")
    assert sealed is not None
    assert holding(mx.data_dir, sealed)
    refused = changeover(mx, "withdraw", second, expect=1)
    assert "needed to roll back" in refused.stderr
    changeover(mx, "withdraw", second, "--force", "stolen")
    wait_until(lambda: not holding(mx.data_dir, sealed), "the sealed key is gone from all files")
    assert "its key was destroyed" in changeover(mx, "roll-back", expect=None).stderr
    assert "forced: stolen" in mx.cli("certificate", "history").stdout
    is_shown(mx, third)


def holding(folder: Path, octets: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and octets in path.read_bytes()]


def test_a_missing_record_refuses_whenever_it_is_tried(
    start: Callable[[Pair], Gateway], pairs: Mapping[str, Pair]
) -> None:
    pair = pairs["old"]
    mx = start(pair)
    new = staged(mx, pair.next)
    refused = changeover(mx, "switch", new, expect=1)
    assert f"_25._tcp.{pair.host}. IN TLSA 3 1 1 {pin(pair.next)}" in refused.stdout
    changeover(mx, "switch", new, "--at", "2s")
    wait_until(lambda: "did not: tlsa:" in mx.log(), "the log says that it was not switched")

    def given_up() -> Any:
        (row,) = changeover(mx, "status", json=True).data
        return row if row["certificate"]["switch_at"] is None else None

    row = wait_until(given_up, "no time is set any more")
    assert row["certificate"]["state"] == "next"
    assert row["held"].startswith("tlsa: ")
    assert shows(mx, pair.current)
    changeover(mx, "switch", new, "--force", "the old key was stolen")
    is_shown(mx, pair.next)
    history = mx.cli("certificate", "history", json=True).data
    forced = [one for one in history if "forced: the old key was stolen (tlsa: " in one["note"]]
    assert {one["change"] for one in forced} == {"next -> current", "current -> deprecated"}


def test_a_published_record_opens_the_gate_when_its_time_has_passed(
    start: Callable[[Pair], Gateway], pairs: Mapping[str, Pair]
) -> None:
    pair = pairs["both"]
    mx = start(pair)
    new = staged(mx, pair.next)
    red = changeover(mx, "check", new, expect=1, json=True).data
    (waiting,) = [one for one in red["findings"] if one["verdict"] == "fail"]
    assert (waiting["gate"], "wait until" in waiting["text"]) == ("tlsa", True)
    assert red["green_at"] == waiting["until"]
    with closing(Storage(mx.store_url, mx.data_dir).configuration()) as store:
        remembered = from_json(store.content(f"certificate/{new}/seen") or b"")
        assert remembered[pair.host]["ttl"] == 60
        remembered[pair.host]["since"] -= 61
        store.apply({}, author="test", content={f"certificate/{new}/seen": msgspec.json.encode(remembered)})
    changeover(mx, "check", new)
    planned = changeover(mx, "switch", new, "--at", "3s", json=True).data
    assert (planned["switched"], planned["planned"] is not None) == (False, True)
    is_shown(mx, pair.next)
    changes = {(one["id"], one["change"]): one for one in mx.cli("certificate", "history", json=True).data}
    done = changes[new, "next -> current"]
    assert done["author"] == "gatepost"
    assert done["at"] >= planned["planned"]
    (row,) = changeover(mx, "status", json=True).data
    assert any("is still published" in one["text"] for one in row["gates"]["findings"])


def test_a_client_that_refuses_the_new_certificate_is_named(
    start: Callable[[Pair], Gateway], pairs: Mapping[str, Pair], pki: Pki
) -> None:
    pair = pairs["plain"]
    mx = start(pair)
    new = staged(mx, pair.next)
    trusts_one = ["-verify_return_error", "-verify", "5"]
    assert openssl_s_client(
        mx.port, anchors=pki.root, options=["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]
    ).status  # a scanner
    assert openssl_s_client(mx.port, anchors=pki.root, options=trusts_one).status == 0
    changeover(mx, "switch", new)
    is_shown(mx, pair.next)
    assert openssl_s_client(mx.port, anchors=pki.root, options=trusts_one).status
    search = "trace", "search", "--event", "TLSFAIL"
    wait_until(lambda: len(mx.cli(*search, expect=None, json=True).data) >= 2, "the trace has both")
    after, before = mx.cli(*search, json=True).data
    assert (after["reply"], before["reply"]) == ("tlsv1 alert unknown ca", "unsupported protocol")
    assert "does not accept this gateway's certificate" in mx.cli("trace", "show", after["session"]).stdout
    assert "must enable TLS 1.2 or TLS 1.3" in mx.cli("trace", "show", before["session"]).stdout
    (row,) = changeover(mx, "status", json=True).data
    assert row["traffic"]["newly_failing"] == [{"address": "127.0.0.1", "why": "tlsv1 alert unknown ca"}]
    assert "TLS fails since     127.0.0.1 (tlsv1 alert unknown ca)" in changeover(mx, "status").stdout
