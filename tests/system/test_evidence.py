"""Proves that evidence of real mail holds: written through kill -9, exported, verified by us and by a verifier that is
not ours, and that nothing can be changed, removed or moved in it unseen by either.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.drills import drill
from support.gateway import Gateway
from support.process import run_gatepost
from support.scenes import connector, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

VERIFIER = Path(__file__).resolve().parents[2] / "docs" / "verify_evidence.py"
"""The independent verifier: standard library and openssl."""

FORCED, CLEAR, BAD = "forced.example", "clear.example", "bad.example"


class Scene:
    """A gateway that stopped in order, after a kill -9 in the middle; what it logged, and the key that was kept."""

    def __init__(self, gateway: Gateway, sha256: str) -> None:
        self.gateway = gateway
        self.sha256 = sha256
        self.evidence = gateway.data_dir / "evidence"
        if gateway.is_on_postgres:
            self.evidence = copied(gateway)
        self.key = gateway.folder.write("key.pem", gateway.cli("evidence", "key").stdout)

    @property
    def log(self) -> Path:
        """The worker's only file, unless midnight came between."""
        return max((self.evidence / "log").glob("*[.-]0.log"))

    def entries(self, event: str, domain: str) -> list[dict[str, Any]]:
        """Bodies of this event for recipients of a domain."""
        files = sorted((self.evidence / "log").glob("*[.-]0.log"))
        bodies = [json.loads(line[65:]) for file in files for line in file.read_bytes().splitlines()]
        return [one for one in bodies if one.get("event") == event and one.get("recipient_domain") == domain]


def copied(gateway: Gateway) -> Path:
    """The log of a database as files."""
    folder = gateway.folder / f"evidence-{secrets.token_hex(4)}"
    gateway.cli("evidence", "copy", str(folder))
    return folder


def independent(key: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """The verifier that shares nothing with gatepost."""
    command = [sys.executable, "-I", str(VERIFIER), str(key), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def scene(pki: Pki) -> Iterator[Scene]:
    leaf = pki.leaf("mail.forced.example")
    forced, clear, bad = Sink(certificate=leaf), Sink(), Sink(certificate=pki.self_signed("mail.bad.example"))
    demand = {"tls_settings": "domain-validation", "tls_domain": "mail.forced.example"}
    with forced, clear, bad:
        outbound = [
            connector(FORCED, forced.address, **demand),
            connector(CLEAR, clear.address),
            connector(BAD, bad.address, tls_settings="certificate-validation"),
        ]
        with Gateway(contoso(outbound=outbound), anchors=pki.root) as gateway:
            play(gateway)
            gateway.kill()
            gateway.start()
            play(gateway)
            for _ in range(2):
                drill(gateway, BAD)  # a command's entry, just before the stop
            gateway.stop()
            yield Scene(gateway, leaf.sha256)


def play(gateway: Gateway) -> None:
    """A message to each partner, until the evidence of all is on disk."""
    folder = gateway.data_dir / "evidence" / "log"

    def events() -> int:
        if gateway.is_on_postgres and not gateway.sql("SELECT to_regclass('evidence_entry')"):
            return 0
        if gateway.is_on_postgres:
            counted = """SELECT count(*) FROM evidence_entry WHERE position('"kind":"event"'::bytea IN line) > 0"""
            return int(gateway.sql(counted)[0])
        return sum(file.read_bytes().count(b'"kind":"event"') for file in folder.glob("*[.-]0.log"))

    before = events()
    for domain in (FORCED, CLEAR, BAD):
        send(gateway.port, f"bob@{domain}")
    wait_until(lambda: events() >= before + 6, "evidence of three messages, received and tried", timeout=60)


def test_each_hop_says_what_was_required_by_whom_and_what_was_proven(scene: Scene) -> None:
    forced = scene.entries("SEND", FORCED)
    assert len(forced) >= 2
    for one in forced:
        assert one["requirement"] == "authenticated(mail.forced.example)"
        assert any(FORCED in by for by in one["required_by"])
        assert (one["protection"], one["chain"]) == ("authenticated", "trusted")
        assert one["tls"]["version"] == "TLSv1.3"
        assert one["certificate"]["sha256"] == scene.sha256
    assert {one["protection"] for one in scene.entries("SEND", CLEAR)} == {"clear"}
    assert {one["result_type"] for one in scene.entries("DEFER", BAD)} == {"certificate-not-trusted"}
    assert scene.entries("SEND", BAD) == []
    assert {one["protection"] for one in scene.entries("RECEIVE", FORCED)} == {"clear"}


def test_nobody_is_named_unless_it_was_wished(scene: Scene) -> None:
    content = b"".join(file.read_bytes() for file in (scene.evidence / "log").glob("*.log"))
    assert b"alice" not in content
    assert b"bob@" not in content


def test_after_a_kill_and_a_stop_everything_verifies(scene: Scene, tmp_path: Path) -> None:
    own = scene.gateway.cli("evidence", "verify", json=True).data
    assert (own["verified"], own["unsigned"]) == (True, {})
    assert own["entries"] >= 14
    copy = shutil.copytree(scene.evidence, tmp_path / "copy")
    assert "verified" in scene.gateway.cli("evidence", "verify", str(copy), "--key", str(scene.key)).stdout
    theirs = independent(scene.key, copy)
    assert (theirs.returncode, theirs.stdout.splitlines()[-1]) == (0, "verified")


def test_a_result_of_a_drill_that_was_changed_or_removed_is_found(scene: Scene, tmp_path: Path) -> None:
    def verdicts(copy: Path, expect: int) -> tuple[str, str]:
        ours = scene.gateway.cli("evidence", "verify", str(copy), "--key", str(scene.key), expect=expect)
        theirs = independent(scene.key, copy)
        assert theirs.returncode == expect, theirs.stdout
        return ours.stdout, theirs.stdout

    def drills(copy: Path) -> list[Path]:
        return sorted((copy / "drills").iterdir())

    copy = shutil.copytree(scene.evidence, tmp_path / "copy")
    ours, theirs = verdicts(copy, 0)
    assert "2 drill results as the log has them" in ours
    assert "2 drill results verified" in theirs

    changed = shutil.copytree(scene.evidence, tmp_path / "changed")
    (first, _) = drills(changed)
    document = json.loads(first.read_bytes())
    document["record"]["messages_left"] = 7
    canonical = json.dumps(document["record"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    document["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()  # by somebody who can write there
    first.write_text(json.dumps(document))
    ours, theirs = verdicts(changed, 1)
    assert f"drill result {first.name} is wrong: its SHA-256 is {document['sha256']}; the log has" in ours
    assert f"FORGED: drills/{first.name}" in theirs

    removed = shutil.copytree(scene.evidence, tmp_path / "removed")
    drills(removed)[1].unlink()
    ours, theirs = verdicts(removed, 1)
    assert "it is gone, and older ones of its connector are there" in ours
    assert "it is gone" in theirs
    drills(removed)[0].unlink()  # all were removed in order
    ours, theirs = verdicts(removed, 0)
    assert "drill result" not in ours


def test_an_export_proves_itself_and_tells_nothing_of_others(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    scene.gateway.cli("evidence", "export", "--partner", FORCED, "-o", str(file))
    document = json.loads(file.read_bytes())
    assert CLEAR not in file.read_text()
    assert scene.gateway.cli("evidence", "verify", str(file), "--key", str(scene.key), json=True).data["verified"]
    assert independent(scene.key, file).returncode == 0
    shown = [one for one in document["segments"][0]["entries"] if isinstance(one, dict) and one["kind"] == "event"]
    shown[0]["protection"] = "authenticated"
    file.write_text(json.dumps(document))
    scene.gateway.cli("evidence", "verify", str(file), "--key", str(scene.key), expect=1)
    assert independent(scene.key, file).returncode == 1


def test_an_auditor_can_read_it(scene: Scene, tmp_path: Path) -> None:
    pdf, proof = tmp_path / "report.pdf", tmp_path / "proof.json"
    scene.gateway.cli("evidence", "export", "--format", "pdf", "-o", str(pdf), "--proof", str(proof), timeout=60)
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert independent(scene.key, proof).returncode == 0
    lines = scene.gateway.cli("evidence", "export", "--format", "csv", "--partner", CLEAR).stdout.splitlines()
    assert len(lines) >= 5


def at(position: int) -> Callable[[list[bytes]], list[bytes]]:
    """Another byte in the third line, which is an event."""

    def change(lines: list[bytes]) -> list[bytes]:
        line = bytearray(lines[2])
        line[position] ^= 1
        return [*lines[:2], bytes(line), *lines[3:]]

    return change


def inside(old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """The first occurrence of a text."""
    return lambda lines: b"".join(lines).replace(old, new, 1).splitlines(keepends=True)


TAMPERING: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "hash": at(10),
    "separator": at(64),
    "brace": at(65),
    "member": at(70),
    "last brace": at(-2),
    "line end": at(-1),
    "number": inside(b'"number":3', b'"number":8'),
    "protection": inside(b'"protection":"clear"', b'"protection":"encrypted"'),
    "certificate": inside(b'"sha256":"', b'"sha256":"0'),
    "time": inside(b'"time":"2', b'"time":"3'),
    "signature": inside(b'"signature":"', b'"signature":"00'),
    "signed head": inside(b'{"head":"', b'{"head":"0'),
    "white space": inside(b'{"achieved":', b'{ "achieved":'),
    "first removed": lambda lines: lines[1:],
    "one removed": lambda lines: [*lines[:3], *lines[4:]],
    "two swapped": lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
    "one twice": lambda lines: [*lines[:3], *lines[2:]],
    "all twice": lambda lines: lines + lines,
    "garbage between": lambda lines: [*lines[:3], b"garbage\n", *lines[3:]],
}


@pytest.mark.parametrize("name", TAMPERING)
def test_both_verifiers_find_what_was_done(scene: Scene, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(scene.evidence, tmp_path / "copy")
    file = copy / "log" / scene.log.name
    lines = file.read_bytes().splitlines(keepends=True)
    changed = TAMPERING[name](lines)
    assert changed != lines
    file.write_bytes(b"".join(changed))
    ours = run_gatepost("evidence", "verify", copy, "--key", scene.key, "--json", timeout=60)
    assert ours.returncode == 1, ours.stdout + ours.stderr
    assert file.name in {one["file"] for one in json.loads(ours.stdout)["faults"]}
    assert independent(scene.key, copy).returncode == 1


def test_a_file_under_another_name_is_found(scene: Scene, tmp_path: Path) -> None:
    copy = shutil.copytree(scene.evidence, tmp_path / "copy")
    file = copy / "log" / scene.log.name
    file.rename(file.with_name(file.name.replace("0.log", "9.log")))
    scene.gateway.cli("evidence", "verify", str(copy), "--key", str(scene.key), expect=1)
    assert independent(scene.key, copy).returncode == 1


def test_another_key_proves_nothing(scene: Scene, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "private"], check=True)
    subprocess.run(["openssl", "pkey", "-in", tmp_path / "private", "-pubout", "-out", other], check=True)
    scene.gateway.cli("evidence", "verify", str(scene.evidence), "--key", str(other), expect=3)
    assert independent(other, scene.evidence).returncode == 3
