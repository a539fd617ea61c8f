"""Proves that gatepost and OpenSSL agree about TLSA records: every chain against every set of records, both judged.

OpenSSL's DANE (what Postfix and Exim use) sees the same chain in a handshake; gatepost is given it as octets.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.debian import need
from support.process import Child

from gatepost.net.certificate import spki_der
from gatepost.net.dane import judge, unreadable
from gatepost.protocols.dane.tlsa import classify
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port

NAME = "mx.partner.example"
_DIGESTS = {0: bytes, 1: lambda part: hashlib.sha256(part).digest(), 2: lambda part: hashlib.sha512(part).digest()}
KINDS = [f"{usage} {selector} {matching}" for usage in (2, 3) for selector in (0, 1) for matching in (0, 1, 2)]
CHAINS = ["good", "with root", "leaf alone", "expired", "not yet valid", "wrong name", "wildcard", "self-signed", "rsa"]


@dataclass(frozen=True, slots=True)
class Served:
    """A chain as a server sends it, DER, and where it does."""

    port: int
    chain: tuple[bytes, ...]


@pytest.fixture(scope="module")
def served(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    need("openssl")
    folder = tmp_path_factory.mktemp("dane")
    middle, root = pki.intermediate.read_bytes(), pki.root.read_bytes()
    good = pki.leaf(NAME)
    plans: dict[str, tuple[Leaf, bytes]] = {
        "good": (good, middle),
        "with root": (good, middle + root),
        "leaf alone": (good, b""),
        "expired": (pki.expired(NAME), middle),
        "not yet valid": (pki.not_yet_valid(NAME), middle),
        "wrong name": (pki.leaf("other.example"), middle),
        "wildcard": (pki.leaf("any", names=["*.partner.example"]), middle),
        "self-signed": (pki.self_signed(NAME), b""),
        "rsa": (pki.leaf(NAME, key="rsa"), middle),
    }
    with ExitStack() as stack:
        yield {name: _serve(stack, folder / f"{number}", *plan) for number, (name, plan) in enumerate(plans.items())}


def _serve(stack: ExitStack, path: Path, leaf: Leaf, above: bytes) -> Served:
    port = free_port()
    program = shutil.which("openssl")
    assert program
    command = [program, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", leaf.certificate, "-key", leaf.key]
    command += ["-no_ign_eof", "-no-CAfile", "-no-CApath", "-no-CAstore", "-quiet"]
    if above:
        path.write_bytes(above)
        command += ["-cert_chain", path]
    child = Child([*command, "-www"], path.with_suffix(".log"))
    stack.callback(child.stop)
    child.wait_ready(lambda: "CONNECTION ESTABLISHED" in _client(port, []))
    certificates = x509.load_pem_x509_certificates(leaf.certificate.read_bytes() + above)
    return Served(port, tuple(each.public_bytes(Encoding.DER) for each in certificates))


def _client(port: int, records: list[bytes]) -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-brief", "-dane_ee_no_namechecks"]
    command += ["-no-CAfile", "-no-CApath", "-no-CAstore"]
    if records:
        command += ["-dane_tlsa_domain", NAME, "-verify_return_error"]
    for record in records:
        command += ["-dane_tlsa_rrdata", f"{record[0]} {record[1]} {record[2]} {record[3:].hex()}"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def _record(kind: str, der: bytes) -> bytes:
    usage, selector, matching = map(int, kind.split())
    return bytes((usage, selector, matching)) + _DIGESTS[matching](spki_der(der) if selector else der)


def _agree(served: Served, records: list[bytes]) -> bool:
    """Whether the chain satisfies the records; fails if the two do not say the same."""
    verdict = judge(classify(records, unreadable=unreadable), served.chain, names=[NAME], now=time.time())
    said = _client(served.port, records)
    theirs = "Verification: OK" in said
    shown = [str(record) for record in classify(records).usable]
    assert verdict.authenticated is theirs, f"{shown}\ngatepost: {verdict.detail}\nOpenSSL: {said}"
    return theirs


@pytest.mark.parametrize("chain", CHAINS)
def test_one_record(served: dict[str, Served], pki: Pki, chain: str) -> None:
    """Each kind of record, for each certificate that there is."""
    one = served[chain]
    root, middle = (
        x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
        for path in (pki.root, pki.intermediate)
    )
    ours = {kind: [_agree(one, [_record(kind, der)]) for der in (one.chain[0], middle, root)] for kind in KINDS}
    own = {kind: found for kind, found in ours.items() if kind[0] == "3"}
    assert set(map(tuple, own.values())) == {(True, False, False)}
    anchored = {one for kind, found in ours.items() if kind[0] == "2" for one in found}
    assert anchored == ({False} if chain in {"expired", "not yet valid", "wrong name"} else {True, False})


def test_sets(served: dict[str, Served], pki: Pki) -> None:
    """Pairs of records: the strongest digest, a rollover, one that fails beside one that does not."""
    one = served["good"]
    root = x509.load_pem_x509_certificate(pki.root.read_bytes()).public_bytes(Encoding.DER)
    right = [_record(kind, one.chain[0] if kind[0] == "3" else one.chain[1]) for kind in KINDS if kind[-1] != "0"]
    wrong = [_record(kind, root) for kind in KINDS if kind[-1] != "0"]
    outcomes = [_agree(one, [first, second]) for first, second in itertools.product(right, wrong)]
    # A wrong SHA2-512 digest beside the right SHA2-256 one of the same usage and selector: four of 64.
    assert outcomes.count(False) == 4
