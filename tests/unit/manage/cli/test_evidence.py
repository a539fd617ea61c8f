from __future__ import annotations

import gzip
import json
import os
import shutil
import time

import pytest

from gatepost.store.evidence_files import EvidenceDirectory, evidence_directory, log_directory, read_lines
from gatepost.store.evidence_log import read_heads

DAY = 86400.0


@pytest.fixture
def evidence(whole_day, home, logs):
    """A log of two days that are over, with heads, and of today."""
    evidence = evidence_directory(home.data)
    logs.keep_key(evidence)
    chain = logs.chain(evidence)
    start = time.time() - 2 * DAY
    for day in range(3):
        at = start + day * DAY
        chain.append(logs.events(3, at=at, message=f"m{day}"), at)
        chain.checkpoint(at)
    logs.heads(evidence).make(time.time())
    return evidence


@pytest.fixture
def key(home, logs):
    file = home.path / "key.pem"
    file.write_bytes(logs.pem)
    return file


def files(evidence):
    return sorted(path for path in log_directory(evidence).iterdir() if path.suffix == ".log")


def edit(path, change):
    path.write_bytes(b"".join(change(list(read_lines(path)))))


# verify


def test_a_file_of_keys_without_an_end_is_read_to_its_bound(home, evidence):
    result = home.call("evidence", "verify", evidence, "--key", "/dev/zero", code=2)
    assert result.stderr == "--key /dev/zero is larger than 1048576 bytes\n"


def test_the_gateways_own_log_is_verified_by_its_own_key(home, evidence, logs):
    result = home.call("evidence", "verify")
    assert "3 files, 15 entries, 3 checkpoints, 2 heads" in result.stdout
    assert f"keys used to verify: {logs.signer.key}" in result.stdout
    assert result.stdout.splitlines()[-1] == "verified"
    data = home.json("evidence", "verify")
    assert (data["verified"], data["faults"], data["entries"], data["unsigned"]) == (True, [], 15, {})


def test_a_copy_is_verified_by_a_key_that_was_kept(home, evidence, key):
    for place in (evidence, home.data):
        assert "verified" in home.call("evidence", "verify", place, "--key", key).stdout
    result = home.call("evidence", "verify", evidence, code=3)
    assert result.stdout.splitlines()[-1] == "Inconclusive"
    assert "verify with the one that you kept" in result.stderr
    assert home.json("evidence", "verify", evidence, code=3)["verified"] is None


def test_what_was_done_is_printed_with_its_place(home, evidence):
    path = files(evidence)[1]
    edit(path, lambda lines: [*lines[:1], lines[1].replace(b"SEND", b"FAIL"), *lines[3:]])
    result = home.call("evidence", "verify", code=1)
    assert f"changed: {path.name} line 2, entry 7: its hash does not follow" in result.stdout
    assert f"removed: {path.name} line 3, entry 9: entry 8 is missing" in result.stdout
    assert "FAILED: the log was altered" in result.stdout
    assert "verified up to" not in result.stdout
    data = home.json("evidence", "verify", code=1)
    assert data["verified"] is False
    assert {(one["kind"], one["line"], one["count"]) for one in data["faults"]} >= {
        ("changed", 2, 1),
        ("removed", 3, 1),
    }


def test_many_faults_of_a_kind_are_one_line(home, evidence):
    edit(files(evidence)[1], lambda lines: [line.replace(b"SEND", b"FAIL") for line in lines])
    assert "(2 more)" in home.call("evidence", "verify", code=1).stdout


def test_a_hash_that_was_noted_finds_what_was_rolled_back(home, evidence):
    noted = read_heads(EvidenceDirectory(evidence)).days[max(read_heads(EvidenceDirectory(evidence)).days)].hash
    home.call("evidence", "verify", "--head", noted)
    edit(evidence / "heads.log", lambda lines: lines[:-1])
    assert "rewritten: heads.log" in home.call("evidence", "verify", "--head", noted, code=1).stdout
    assert "64 hexadecimal" in home.call("evidence", "verify", "--head", "abc", code=2).stderr


def test_files_alone_are_verified_as_far_as_that_goes(home, evidence, key):
    result = home.call("evidence", "verify", *files(evidence)[:2], "--key", key)
    assert "2 files, 10 entries" in result.stdout
    assert "without the daily heads" in result.stderr
    home.call("evidence", "verify", files(evidence)[0], code=3)
    edit(files(evidence)[0], lambda lines: lines[:2] + lines[3:])
    home.call("evidence", "verify", files(evidence)[0], code=1)


def test_days_can_be_chosen(home, evidence):
    files(evidence)[0].write_bytes(b"garbage\n")
    assert "2 files" in home.call("evidence", "verify", "--since", "1d").stdout
    home.call("evidence", "verify", "--until", "2d", code=1)


@pytest.mark.parametrize("words", [("DIR", "FILE"), ("KEY", "FILE")])
def test_what_does_not_go_together_is_said(home, evidence, key, words):
    places = {"DIR": evidence, "FILE": files(evidence)[0], "KEY": key}
    home.call("evidence", "verify", *(places[word] for word in words), code=2)


def test_another_key_can_tell_nothing(home, evidence, key):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    other = Ed25519PrivateKey.generate().public_key()
    key.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "key unknown" in home.call("evidence", "verify", evidence, "--key", key, code=3).stdout
    key.write_bytes(b"garbage")
    assert (
        "not a public key of Ed25519 in PEM" in home.call("evidence", "verify", evidence, "--key", key, code=2).stderr
    )


def test_where_there_is_no_log_nothing_can_be_told(home):
    assert "no evidence log" in home.call("evidence", "verify", code=3).stderr


def test_what_cannot_be_read_cannot_be_told(home, evidence):
    path = files(evidence)[0]
    path.rename(path.with_name(f"{path.name}.gz"))
    assert "gz" in home.call("evidence", "verify", code=3).stderr


def test_what_is_not_signed_or_was_lost_is_a_note(home, evidence, logs):
    chain = logs.chain(evidence)
    chain.append(logs.events(), time.time(), dropped=3)
    log = files(evidence)[-1]
    log.write_bytes(log.read_bytes() + b"torn")
    logs.chain(evidence).append(logs.events(), time.time())
    stderr = home.call("evidence", "verify").stderr
    assert "no signature covers 4 entries at the end yet" in stderr
    assert "dropped 3 events" in stderr
    assert "a crash tore 4 octets" in stderr


def test_a_log_without_a_signature_proves_nothing(home, logs):
    evidence = evidence_directory(home.data)
    logs.keep_key(evidence)
    logs.chain(evidence, signer=None).append(logs.events(), time.time())
    assert "nothing in it is signed" in home.call("evidence", "verify", code=3).stderr


def test_days_without_a_head_and_days_removed_in_order_are_notes(home, evidence, logs):
    logs.heads(evidence).prune(time.time() - DAY, time.time())
    stderr = home.call("evidence", "verify").stderr
    assert "were removed in order" in stderr


def test_heads_that_must_have_been_made_keep_a_yes_from_being_said(home, evidence):
    (evidence / "heads.log").unlink()
    result = home.call("evidence", "verify", code=3)
    assert "are missing, though the gateway went on" in result.stderr
    assert home.json("evidence", "verify", code=3)["verified"] is None
    assert "no head of a day yet" in home.call("evidence", "verify", "--until", "2d").stderr


# export


def test_an_export_of_several_partners_has_all_of_them(home, evidence):
    """Of several the last one counted alone, without a word."""
    both = ("--partner", "b.example", "--partner", "nobody.example")
    assert "9 entries of 3 messages" in home.call("evidence", "export", *both, "-o", home.path / "both.json").stderr


def test_an_export_is_verified_by_itself(home, evidence, key):
    file = home.path / "export.json"
    result = home.call("evidence", "export", "--partner", "b.example", "-o", file)
    assert "9 entries of 3 messages" in result.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    result = home.call("evidence", "verify", file, "--key", key)
    assert "export of partner b.example" in result.stdout
    assert result.stdout.splitlines()[-1] == "verified"
    assert home.json("evidence", "verify", file, "--key", key)["verified"] is True
    assert "verify with the one that you kept" in home.call("evidence", "verify", file, code=3).stderr
    document = json.loads(file.read_bytes())
    document["segments"][0]["entries"][0]["requirement"] = "authenticated"
    file.write_text(json.dumps(document))
    assert "FAILED: the log was altered" in home.call("evidence", "verify", file, "--key", key, code=1).stdout


def test_an_export_of_what_is_not_signed_yet_cannot_be_told(home, evidence, logs, key):
    logs.chain(evidence).append(logs.events(), time.time())
    file = home.path / "export.json"
    assert "1 of them not signed yet" in home.call("evidence", "export", "-o", file).stderr
    assert home.json("evidence", "verify", file, "--key", key, code=3)["verified"] is None


def test_an_export_goes_to_standard_output_too(home, evidence):
    assert json.loads(home.call("evidence", "export").stdout)["version"] == 1
    lines = home.call("evidence", "export", "--format", "csv", "--message", "m1").stdout.splitlines()
    assert len(lines) == 4


def test_a_pdf_names_its_proof(home, evidence, key):
    pdf, proof = home.path / "report.pdf", home.path / "proof.json"
    result = home.call("evidence", "export", "--format", "pdf", "-o", pdf, "--proof", proof)
    assert "SHA-256" in result.stderr
    assert pdf.read_bytes().startswith(b"%PDF-")
    home.call("evidence", "verify", proof, "--key", key)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "pdf"), "-o FILE"),
        (("--proof", "x.json"), "its own proof"),
        (("--since", "yesterday"), "yesterday"),
    ],
)
def test_wrong_use_of_export(home, evidence, words, said):
    assert said in home.call("evidence", "export", *words, code=2).stderr


def test_without_reportlab_there_is_no_pdf(home, evidence, monkeypatch):
    monkeypatch.setattr("gatepost.manage.use_cases.evidence_export.find_spec", lambda _: None)
    assert "gatepost[pdf]" in home.call("evidence", "export", "--format", "pdf", "-o", home.path / "x", code=2).stderr


def test_nothing_to_export_is_a_no(home, evidence):
    file = home.path / "export.json"
    assert "no entry matches" in home.call("evidence", "export", "--partner", "x.example", "-o", file, code=1).stderr


def test_a_file_that_cannot_be_written_or_read_is_said(home, evidence):
    file = home.path / "nowhere" / "x"
    assert home.call("evidence", "export", "-o", file, code=3).stderr == f"{file}: No such file or directory\n"
    path = files(evidence)[0]
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(b"x" * 100)[:-9])
    assert "gz" in home.call("evidence", "export", code=3).stderr


@pytest.mark.parametrize("content", ["garbage", "[]", '{"keys": [{"pem": "x"}]}', '{"keys": []}', '{"keys": 1}'])
def test_what_is_no_export_is_said(home, key, content):
    file = home.path / "export.json"
    file.write_text(content)
    home.call("evidence", "verify", file, "--key", key, code=2)


def test_a_head_is_not_looked_for_in_an_export(home, evidence, key):
    file = home.path / "export.json"
    home.call("evidence", "export", "-o", file)
    home.call("evidence", "verify", file, "--key", key, "--head", "ab" * 32, code=2)


# heads and key


def test_heads_are_printed_to_be_noted(home, evidence):
    rows = home.table("evidence", "heads")
    assert [row["last entry of each writer"] for row in rows] == ["0: 5", "0: 10"]
    data = home.json("evidence", "heads", "--since", "1d")
    assert [one["hash"] for one in data] == [rows[1]["head"]]
    assert data[0]["writers"]["0"]["number"] == 10


def test_without_heads_it_is_a_no(home):
    assert "no finished day has a head" in home.call("evidence", "heads", code=1).stderr
    assert home.json("evidence", "heads", code=1) == []


def test_the_public_key_is_printed(home, evidence, logs):
    result = home.call("evidence", "key")
    assert result.stdout.encode() == logs.pem
    assert logs.signer.key in result.stderr
    assert home.json("evidence", "key") == [{"id": logs.signer.key, "pem": logs.pem.decode()}]


def test_without_a_key_it_is_a_no(home):
    assert "no key yet" in home.call("evidence", "key", code=1).stderr


def test_a_key_that_is_none_is_said(home, evidence):
    (evidence / "keys" / "x.pem").write_bytes(b"garbage")
    home.call("evidence", "key", code=3)


# what commands add


def test_what_an_administrator_does_to_mail_is_evidence(home, logs):
    home.fill()
    home.call("queue", "hold", "--all")
    evidence = evidence_directory(home.data)
    found = logs.good(evidence)
    assert found.entries > 1
    assert found.unsigned == {"admin": found.entries}
    content = b"".join(read_lines(files(evidence)[0]))
    assert b'"event":"HOLD"' in content
    assert b'"author"' in content
    assert b"bob@partner.example" not in content


def test_where_no_log_is_kept_commands_add_nothing(home):
    home.settings(evidence={"enabled": False})
    home.fill()
    shutil.rmtree(evidence_directory(home.data), ignore_errors=True)
    home.call("queue", "hold", "--all")
    assert not evidence_directory(home.data).exists()


def test_a_copy_is_verified_elsewhere(home, evidence, key):
    target = home.path / "copied"
    assert "3 files of days copied" in home.call("evidence", "copy", target).stderr
    assert "verified" in home.call("evidence", "verify", target, "--key", key).stdout
    assert sorted(path.name for path in target.iterdir()) == ["drills", "heads.log", "keys", "log"]
    assert "File exists" in home.call("evidence", "copy", target, code=3).stderr


def test_an_export_into_a_pipe_or_device_leaves_it_what_it_is(home, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        home.call("evidence", "export", "-o", pipe, code=None)
        assert pipe.is_fifo()
        assert os.read(reader, 1) == b"{"
    finally:
        os.close(reader)
