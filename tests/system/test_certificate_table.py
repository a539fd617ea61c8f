"""The published certificate table of a gateway that runs: what it says is what `openssl s_client` sees, at once."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.gateway import Gateway

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until

HOST = "mx1.contoso.example"
CRL, OCSP = "http://crl.ca.example/ca.crl", "http://ocsp.ca.example"


@dataclass(frozen=True, slots=True)
class Scene:
    """gateway: serves its table on `port`."""

    gateway: Gateway
    port: int
    root: Path
    first: Leaf

    def get(self, path: str, *fields: str) -> tuple[str, bytes]:
        """Head and body of an answer; the certificate must be trusted and bear the name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.root)
        lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", *fields, "", ""]
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as stream,
        ):
            stream.sendall("\r\n".join(lines).encode())
            head, _, body = b"".join(iter(lambda: stream.recv(65536), b"")).partition(b"\r\n\r\n")
        return head.decode(), body

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        found: dict[str, Any] = json.loads(self.get("/certificates.json")[1])
        return found

    def presented(self, key: str = "ECDSA") -> list[x509.Certificate]:
        """The chain that a partner sees at the SMTP port, as `openssl s_client` prints it. key: its kind."""
        words = ["s_client", "-starttls", "smtp", "-showcerts", "-servername", HOST, "-connect", self.gateway.address]
        words += [
            "-CAfile",
            str(self.root),
            "-verify_return_error",
            "-tls1_2",
            "-cipher",
            f"ECDHE-{key}-AES256-GCM-SHA384",
        ]
        done = subprocess.run(
            ["openssl", *words],
            input=b"QUIT\r\n",
            capture_output=True,
            timeout=60,
            check=True,
        )
        return x509.load_pem_x509_certificates(done.stdout)


@contextmanager
def serving(pki: Pki, folder: Path) -> Iterator[Scene]:
    key = folder / "master"
    key.touch(0o600)
    key.write_bytes(bytes(range(32)))
    first = pki.leaf(HOST, crl=CRL, ocsp=OCSP)
    port = free_port()
    settings = {"certificate_table": {"address": f"127.0.0.1:{port}"}, "store": {"master_key": f"file:{key}"}}
    with Gateway(hostname=HOST, certificates=[first], anchors=pki.root, settings=settings) as gateway:
        found = Scene(gateway, port, pki.root, first)
        wait_until(lambda: "certificate table version" in gateway.log(), "the table is served")
        yield found


@pytest.fixture(scope="module")
def scene(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One that nobody changes."""
    with serving(pki, tmp_path_factory.mktemp("master")) as found:
        # the worker notes the settings' certificate a moment after the start, and since when it is presented
        wait_until(lambda: found.document["certificates"][0]["current_from"], "it is in the inventory")
        yield found


def test_the_table_says_what_openssl_sees(scene: Scene) -> None:
    leaf, intermediate = scene.presented()
    (row,) = scene.document["certificates"]
    der = leaf.public_bytes(Encoding.DER)
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (row["state"], row["name"], row["organization"]) == ("current", HOST, "Gatepost tests")
    assert row["root_issuer"] == "Gatepost tests root"
    assert int(row["serial"], 16) == leaf.serial_number
    assert (row["sha1"], row["sha256"]) == (hashlib.sha1(der).hexdigest(), hashlib.sha256(der).hexdigest())  # noqa: S324
    assert row["spki_pin"] == base64.b64encode(hashlib.sha256(key).digest()).decode()
    assert row["tlsa"] == [f"_25._tcp.{HOST}. IN TLSA 3 1 1 {hashlib.sha256(key).hexdigest()}"]
    assert row["path"][0] == hashlib.sha256(intermediate.public_bytes(Encoding.DER)).hexdigest()
    assert (row["crl"], row["ocsp"]) == ([CRL], [OCSP])
    hosts = {(one["host"], one["port"]) for one in scene.document["firewall"]}
    assert hosts == {("crl.ca.example", 80), ("ocsp.ca.example", 80)}


def test_the_page_shows_the_same_and_is_kept_by_clients(scene: Scene) -> None:
    head, body = scene.get("/certificates")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    text = html.unescape(body.decode())
    assert scene.first.sha256.upper() in text
    assert "<script" not in text
    tag = next(line.partition(": ")[2] for line in head.splitlines() if line.startswith("ETag: "))
    again, nothing = scene.get("/certificates", f"If-None-Match: {tag}")
    assert (again.partition("\r\n")[0], nothing) == ("HTTP/1.1 304 Not Modified", b"")
    for link in re.findall(r'href="([^"#]+)"', text):
        assert scene.get(f"/{link}")[0].startswith("HTTP/1.1 200 OK\r\n"), link


def test_a_bundle_makes_a_partner_trust_us(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "bundle.p7b").write_bytes(scene.get("/certificates.p7b")[1])
    words = ["pkcs7", "-inform", "DER", "-in", tmp_path / "bundle.p7b", "-print_certs", "-out", tmp_path / "bundle.pem"]
    subprocess.run(["openssl", *map(str, words)], check=True, timeout=60)
    words = ["verify", "-CAfile", tmp_path / "bundle.pem", scene.first.certificate]
    subprocess.run(["openssl", *map(str, words)], check=True, timeout=60, capture_output=True)


def test_status_asks_for_it(scene: Scene) -> None:
    listeners = scene.gateway.cli("status", json=True, expect=None).data["listeners"]
    name = f"certificate-table 127.0.0.1:{scene.port}"
    assert {"name": name, "ok": True, "detail": "serves the certificate table"} in listeners


def test_a_static_copy_says_the_same(scene: Scene, tmp_path: Path) -> None:
    said = scene.gateway.cli("certificate", "publish", str(tmp_path / "out"), json=True).data
    assert json.loads((tmp_path / "out" / "certificates.json").read_text()) == scene.document
    assert said["version"] == scene.document["version"]
    assert (tmp_path / "out" / "index.html").read_bytes() == scene.get("/certificates")[1]


def test_a_changeover_is_in_the_table_at_once(pki: Pki, tmp_path: Path) -> None:
    with serving(pki, tmp_path) as scene:
        new, beside = pki.leaf(HOST, names=[HOST, "mx2.contoso.example"]), pki.leaf(HOST, key="rsa")
        scene.gateway.cli("certificate", "add", str(new.chain), "--key", str(new.key))
        staged = {new.sha256: "next", scene.first.sha256: "current"}
        wait_until(lambda: shown(scene) == staged, "it is in the table")
        scene.gateway.cli("certificate", "add", str(beside.chain), "--key", str(beside.key), "--current")
        wait_until(lambda: shown(scene) == staged | {beside.sha256: "current"}, "RSA beside ECDSA")
        wait_until(lambda: presents(scene, "RSA", beside), "the listener presents it too")
        assert thumbprint(scene.presented()[0]) == scene.first.sha256
        scene.gateway.cli("certificate", "changeover", "switch", new.sha256[:16], "--force", "the test wants it")
        after = {new.sha256: "current", scene.first.sha256: "deprecated", beside.sha256: "current"}
        wait_until(lambda: shown(scene) == after, "the old one is deprecated")
        wait_until(lambda: thumbprint(scene.presented()[0]) == new.sha256, "it is presented")
        old = next(row for row in scene.document["certificates"] if row["state"] == "deprecated")
        assert old["current_from"] <= old["current_until"]
        feed = scene.get("/certificates.atom")[1].decode()
        for part in (f"{new.sha256}/next/", f"{new.sha256}/current/", f"{scene.first.sha256}/deprecated/"):
            assert part in feed


def shown(scene: Scene) -> dict[str, str]:
    return {row["sha256"]: row["state"] for row in scene.document["certificates"]}


def presents(scene: Scene, key: str, leaf: Leaf) -> bool:
    """Whether the listener has a certificate of that kind, and it is this one."""
    try:
        return thumbprint(scene.presented(key)[0]) == leaf.sha256
    except subprocess.CalledProcessError:  # the handshake failed
        return False


def thumbprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()
