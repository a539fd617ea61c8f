"""Proves `gatepost check chain|roots` as a partner runs them: a file, a way out, no server and no settings.

A real authority publishes over HTTP what it has revoked; the verdict on each chain is held against `openssl verify`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import load_pem_x509_certificates

from gatepost.manage.cli import main
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port
from gatepost.testing.status_server import StatusServer

NAME = "mx1.contoso.example"


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def last(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self.out.splitlines()[-1].split())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """`gatepost check …` in a folder without settings; within this process, as starting one takes a second each."""
    monkeypatch.chdir(tmp_path)
    for name in [one for one in os.environ if one.startswith("GATEPOST_")]:
        monkeypatch.delenv(name)

    def call(*words: object, given: bytes = b"") -> Done:
        result = CliRunner().invoke(main, ["check", *map(str, words)], input=given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Done(result.exit_code, result.stdout, result.stderr)

    return call


def openssl(pki: Pki, chain: Path) -> bool:
    """Whether openssl trusts what is in a file: the first certificate by way of the others, below the root."""
    command = ["openssl", "verify", "-x509_strict", "-auth_level", "2", "-purpose", "sslserver"]
    command += ["-CAfile", str(pki.root), "-untrusted", str(chain), str(chain)]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def combined(pki: Pki, leaf: Leaf, name: str, *parts: Path) -> Path:
    file = pki.folder / f"{leaf.chain.stem}.{name}.pem"
    file.write_bytes(b"".join(part.read_bytes() for part in parts))
    return file


CHAINS: dict[str, tuple[Callable[[Pki, Pki], Path], str, int]] = {
    "good": (lambda pki, _: pki.leaf(NAME).chain, "trusted", 0),
    "RSA": (lambda pki, _: pki.leaf(NAME, key="rsa").chain, "trusted", 0),
    "Ed25519": (lambda pki, _: pki.leaf(NAME, key="ed25519").chain, "trusted", 0),
    "missing intermediate": (lambda pki, _: pki.leaf(NAME, incomplete=True).chain, "chain-incomplete", 1),
    "expired": (lambda pki, _: pki.expired(NAME).chain, "expired", 1),
    "not yet valid": (lambda pki, _: pki.not_yet_valid(NAME).chain, "not-yet-valid", 1),
    "weak key": (lambda pki, _: pki.leaf(NAME, key="rsa1024").chain, "weak-key", 1),
    "for clients": (lambda pki, _: pki.client(NAME).chain, "wrong-purpose", 1),
    "self-signed": (lambda pki, _: pki.self_signed(NAME).chain, "self-signed", 1),
    "another root": (lambda _, strange: strange.leaf(NAME).chain, "untrusted-root", 1),
    "root first": (
        lambda pki, _: combined(pki, leaf := pki.leaf(NAME), "odd", leaf.certificate, pki.root, pki.intermediate),
        "trusted",
        0,
    ),
}


@pytest.mark.parametrize("case", CHAINS)
def test_the_verdict_is_openssl_s(run: Callable[..., Done], pki: Pki, strange_pki: Pki, case: str) -> None:
    make, status, code = CHAINS[case]
    chain = make(pki, strange_pki)
    done = run("chain", chain, "--anchors", pki.root, "--name", NAME)
    assert (done.code, done.last["chain"]) == (code, status), done.out
    assert openssl(pki, chain) == (status == "trusted")
    assert done.err == ""


@pytest.fixture
def told(pki: Pki, status_server: StatusServer) -> Leaf:
    return pki.leaf(NAME, crl=status_server.crl, ocsp=status_server.ocsp)


def test_everything_about_a_good_one(
    run: Callable[..., Done], pki: Pki, status_server: StatusServer, told: Leaf
) -> None:
    done = run("chain", told.chain, "--anchors", pki.root, "--key", told.key, "--name", NAME, "--staple")
    assert done.code == 0, done.out
    assert done.out.startswith(f"{told.chain}: is {NAME} ready for service?  YES\n")
    assert sorted(status_server.requests) == ["GET /crl", "POST /ocsp"]
    public = ["openssl", "x509", "-in", str(told.certificate), "-noout", "-pubkey"]
    key = subprocess.run(public, capture_output=True, timeout=30, check=True).stdout
    convert = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    der = subprocess.run(convert, input=key, capture_output=True, timeout=30, check=True).stdout
    spki = hashlib.sha256(der).hexdigest()
    assert f"\n  _25._tcp.{NAME}. IN TLSA 3 1 1 {spki}\n" in done.out
    assert f"\n  SHA-256 thumbprint  {told.sha256.upper()}\n" in done.out
    assert f"\n  127.0.0.1:{status_server.port}\n" in done.out
    assert "there is an OCSP response to staple" in done.out


def test_the_command_itself(pki: Pki, told: Leaf, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}
    command = [sys.executable, "-m", "gatepost", "check", "chain", told.chain, "--anchors", pki.root]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[-1].startswith(b"verdict=ready chain=trusted ")


def test_json(run: Callable[..., Done], pki: Pki, told: Leaf) -> None:
    done = run("chain", told.chain, "--anchors", pki.root, "--json")
    record: dict[str, Any] = json.loads(done.out)
    assert (done.code, record["verdict"], record["chain"], record["fails"]) == (0, "ready", "trusted", 0)
    assert [one["result"] for one in record["certificates"][0]["addresses"]] == ["good", "good"]
    assert [one["holds_root"] for one in record["stores"]][-1] is True


def wrong(server: StatusServer, how: str) -> None:
    match how:
        case "dead":
            server.stop()
        case "slow":
            server.delay = 30
        case "huge":
            server.body = b"x" * (33 * 1024 * 1024)
        case "page":
            server.body = b"<html>Please log in</html>"
        case "expired":
            server.body = server.pki.crl(days=(-9, -1))


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("dead", 3, "could not be fetched"),
        ("slow", 3, "no whole answer within 1 s"),
        ("huge", 1, "larger than 33554432 bytes"),
        ("page", 1, "the answer is a web page"),
        ("expired", 1, "the list has expired on"),
    ],
)
def test_addresses_that_are_of_no_use(
    run: Callable[..., Done], pki: Pki, status_server: StatusServer, how: str, code: int, text: str
) -> None:
    leaf = pki.leaf(NAME, crl=status_server.crl)
    wrong(status_server, how)
    done = run("chain", leaf.chain, "--anchors", pki.root, "--timeout", 1 if how == "slow" else 60)
    assert (done.code, done.last["chain"]) == (code, "trusted"), done.out
    assert text in done.out
    assert done.last["verdict"] == {1: "not-ready", 3: "unknown"}[code]


def test_a_responder_makes_up_for_a_list(
    run: Callable[..., Done], pki: Pki, status_server: StatusServer, told: Leaf
) -> None:
    status_server.body = b"junk"
    done = run("chain", told.chain, "--anchors", pki.root)
    assert (done.code, done.last["fails"], done.last["warnings"]) == (0, "0", "1"), done.out


@pytest.mark.parametrize("how", ["crl", "ocsp"])
def test_revoked(run: Callable[..., Done], pki: Pki, status_server: StatusServer, how: str) -> None:
    leaf = pki.leaf(NAME, **{how: getattr(status_server, how)})
    pki.revoke(leaf)
    done = run("chain", leaf.chain, "--anchors", pki.root)
    assert (done.code, done.last["verdict"]) == (1, "not-ready")
    assert f"NO: {NAME}, serial {leaf.x509.serial_number:x}, was revoked on" in done.out
    assert "reason keyCompromise" in done.out


def test_a_root_that_nobody_named_may_not_send_us_into_our_own_network(
    run: Callable[..., Done], status_server: StatusServer, told: Leaf
) -> None:
    done = run("chain", told.chain)
    assert (done.code, status_server.requests) == (1, [])
    assert "127.0.0.1 is not a public address" in done.out
    run("chain", told.chain, "--private")
    assert sorted(status_server.requests) == ["GET /crl", "POST /ocsp"]


def test_keys_and_names(run: Callable[..., Done], pki: Pki) -> None:
    leaf, other = pki.leaf(NAME), pki.leaf("mx2.contoso.example")
    done = run("chain", leaf.chain, "--anchors", pki.root, "--key", other.key, "--name", "mx2.contoso.example")
    assert (done.code, done.last["fails"]) == (1, "2"), done.out
    assert "it does not belong to any certificate of the file" in done.out
    leaf.key.chmod(0o644)
    done = run("chain", leaf.chain, "--anchors", pki.root, "--key", leaf.key)
    assert (done.code, done.last["fails"]) == (1, "1")
    assert f"chmod 0600 {leaf.key}" in done.out


def test_other_forms_of_a_file(run: Callable[..., Done], pki: Pki, tmp_path: Path) -> None:
    leaf = pki.leaf(NAME)
    certificates = load_pem_x509_certificates(leaf.chain.read_bytes())
    bundle = tmp_path / "chain.p7b"
    bundle.write_bytes(pkcs7.serialize_certificates(certificates, Encoding.DER))
    assert run("chain", bundle, "--anchors", pki.root).last["chain"] == "trusted"
    windows = leaf.chain.read_bytes().replace(b"\n", b"\r\n")
    assert run("chain", "-", "--anchors", pki.root, given=windows).code == 0
    for content, text in (
        (leaf.key.read_bytes(), "a private key without a certificate"),
        (b"", "standard input: the file is empty"),
    ):
        done = run("chain", "-", given=content)
        assert (done.code, done.out) == (2, "")
        assert text in done.err


def test_roots(run: Callable[..., Done], pki: Pki, strange_pki: Pki, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(pki.root.read_bytes() + pki.intermediate.read_bytes() + strange_pki.root.read_bytes())
    done = run("roots", bundle, "--anchors", pki.root)
    assert (done.code, done.last["trusted"], done.last["missing"]) == (1, "2", "1"), done.out
    assert "NO: 1 of 3 are not" in done.out
    both = tmp_path / "both.pem"
    both.write_bytes(pki.root.read_bytes() + strange_pki.root.read_bytes())
    record = json.loads(run("roots", bundle, "--anchors", both, "--json").out)
    assert (record["verdict"], [one["kind"] for one in record["certificates"]]) == (
        "trusted",
        ["root", "intermediate", "root"],
    )
    assert run("roots", bundle).code == 1


def test_wrong_use(run: Callable[..., Done], pki: Pki, tmp_path: Path) -> None:
    chain = pki.leaf(NAME).chain
    for words, text in (
        (("chain", "none.pem"), "none.pem: No such file"),
        (("chain", chain, "--anchors", "none.pem"), "--anchors: none.pem: No such file"),
        (("chain", chain, "--name", "b..example"), "--name: "),
        (("chain", chain, "--key", chain), "--key: "),
        (("chain", chain, "--nameserver", f"x:{free_port()}"), "--nameserver: "),
        (("chain", chain, "--timeout", "nan"), "--timeout"),
        (("roots", "none.pem"), "none.pem: No such file"),
        (("roots", tmp_path), "is a directory"),
    ):
        done = run(*words)
        assert (done.code, done.out) == (2, ""), words
        assert text in done.err, done.err
