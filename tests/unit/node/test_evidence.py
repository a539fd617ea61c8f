from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

import gatepost.node.evidence as module
from gatepost.events.evidence.chain import parse_line
from gatepost.node.evidence import EvidenceLog, prepare_key, prepare_missing_key, sign_rest
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.settings.model import Settings
from gatepost.store.evidence_files import EvidenceDirectory, evidence_directory, read_lines
from gatepost.store.evidence_keys import keys_directory
from gatepost.store.evidence_log import read_heads
from gatepost.times import day_text

DAY = 86400.0


def settings(path, **evidence) -> Settings:
    return Settings(server={"hostname": "mx1.contoso.example", "data_dir": str(path)}, evidence=evidence)


def opened(path, **evidence) -> EvidenceLog:
    """As a worker has it, once a gateway has started."""
    prepare_key(settings(path, **evidence))
    return EvidenceLog(settings(path, **evidence))


async def ticked(log: EvidenceLog) -> None:
    log.tick()
    log.tick()  # the one before is not done yet
    if log._working.task is not None:
        await log._working.task


def test_a_worker_writes_and_signs(tmp_path, logs):
    log = opened(tmp_path)
    writer = log.writer(3)
    assert writer is not None
    writer.add(logs.events(2))
    writer.close()
    assert [name.partition(".")[2] for name in logs.names(evidence_directory(tmp_path))] == ["3.log"]
    assert b"b@b.example" not in b"".join(
        path.read_bytes() for path in (evidence_directory(tmp_path) / "log").glob("*.log")
    )


def test_one_worker_makes_the_heads_signs_commands_and_forgets_old_days(tmp_path, logs, caplog):
    caplog.set_level(logging.INFO)
    evidence = evidence_directory(tmp_path)
    log = opened(tmp_path, keep="2d")
    for day in (5, 1):
        logs.chain(evidence, signer=None).append(logs.events(), time.time() - day * DAY)
    logs.chain(evidence, "admin", signer=None).append(logs.events(), time.time())
    asyncio.run(ticked(log))
    book = read_heads(EvidenceDirectory(evidence))
    assert len(book.days) == 2
    assert all(f"head of {day} is {one.hash}" in caplog.text for day, one in book.days.items())
    assert "older than evidence.keep" in caplog.text
    assert len(logs.names(evidence)) == 2
    assert b"checkpoint" in next((evidence / "log").glob("*.admin.log")).read_bytes()


def test_a_clock_that_is_years_ahead_takes_two_days_of_evidence_and_no_more(tmp_path, logs, monkeypatch, caplog):
    """Else all of it is gone after a minute, and its heads say that it was removed in order, also days to come."""
    evidence, now = evidence_directory(tmp_path), time.time()
    for day in range(9, 0, -1):
        logs.chain(evidence).append(logs.events(), now - day * DAY)
    log = opened(tmp_path)
    monkeypatch.setattr(time, "time", lambda: now + 800 * DAY)
    asyncio.run(ticked(log))
    assert len(logs.names(evidence)) == 7
    assert read_heads(EvidenceDirectory(evidence)).before == day_text(now - 7 * DAY)
    logs.chain(evidence).append(logs.events(), now + 800 * DAY)
    assert "the clock was ahead" not in caplog.text
    monkeypatch.setattr(time, "time", lambda: now)
    asyncio.run(ticked(opened(tmp_path)))
    assert "the clock was ahead" in caplog.text


def test_an_orderly_stop_signs_what_commands_wrote_last(tmp_path, logs):
    async def stopped(log):
        log.tick()
        logs.chain(evidence, "admin", signer=None).append(logs.events(), time.time())
        await log.close()

    evidence = evidence_directory(tmp_path)
    asyncio.run(stopped(opened(tmp_path)))
    assert b"checkpoint" in next((evidence / "log").glob("*.admin.log")).read_bytes().splitlines()[-1]


def test_a_stop_that_cannot_sign_says_so(tmp_path, logs, caplog):
    log, evidence = opened(tmp_path), evidence_directory(tmp_path)
    logs.chain(evidence, "admin", signer=None).append(logs.events(), time.time())
    lock = evidence / "log" / ".admin.lock"
    lock.unlink()
    lock.mkdir()
    asyncio.run(log.close())
    assert "evidence of writer admin" in caplog.text
    asyncio.run(EvidenceLog(settings(tmp_path, enabled=False)).close())


def test_where_it_is_off_nothing_is_made(tmp_path):
    log = EvidenceLog(settings(tmp_path, enabled=False))
    assert log.writer(0) is None
    asyncio.run(ticked(log))
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_off_no_key_is_believed_that_a_worker_writes(tmp_path):
    (evidence_directory(tmp_path) / "keys").mkdir(parents=True)
    assert prepare_key(settings(tmp_path, enabled=False)) == []
    (evidence_directory(tmp_path) / "keys").mkdir()
    (evidence_directory(tmp_path) / "keys/mine.pem").write_bytes(b"mine")
    assert EvidenceDirectory(evidence_directory(tmp_path)).public_keys() == []


def test_a_worker_that_starts_later_finds_a_key_made_where_the_operator_moved_it_away(tmp_path):
    opened(tmp_path)
    (keys_directory(evidence_directory(tmp_path)) / "signing.key").unlink()
    for _ in range(2):
        prepare_missing_key(settings(tmp_path))
        EvidenceLog(settings(tmp_path))
    assert len(EvidenceDirectory(evidence_directory(tmp_path)).public_keys()) == 2


def test_where_a_key_cannot_be_made_the_start_says_why(tmp_path):
    wrong = Settings(
        server={"hostname": "mx1.contoso.example", "data_dir": str(tmp_path)}, store={"master_key": "file:/nowhere"}
    )
    with pytest.raises(CertificateFileError, match="nowhere"):
        prepare_key(wrong)
    prepare_missing_key(wrong)
    with pytest.raises(CertificateFileError, match="nowhere"):
        EvidenceLog(wrong)


def test_what_fails_is_said(tmp_path, caplog):
    log = opened(tmp_path)
    (evidence_directory(tmp_path) / "heads.log").mkdir()
    asyncio.run(ticked(log))
    assert "heads.log" in caplog.text


def test_a_key_that_cannot_be_used_stops_the_start(tmp_path):
    opened(tmp_path)
    (keys_directory(evidence_directory(tmp_path)) / "signing.key").write_bytes(b"garbage")
    with pytest.raises(CertificateFileError, match="Ed25519"):
        opened(tmp_path)


def test_the_end_of_a_node_signs_what_its_processes_wrote(tmp_path, logs, caplog):
    evidence = evidence_directory(tmp_path)
    opened(tmp_path)
    for writer in ("0", "7", "admin"):
        logs.chain(evidence, writer, signer=None).append(logs.events(), time.time())
    sign_rest(settings(tmp_path))
    sign_rest(settings(tmp_path))  # nothing is left
    files = sorted((evidence / "log").glob("*.log"))
    assert [file.read_bytes().count(b"checkpoint") for file in files] == [1, 1, 1]
    assert caplog.messages == []
    sign_rest(settings(tmp_path / "off", enabled=False))
    assert not (tmp_path / "off").exists()


def test_the_end_of_a_node_does_not_wait_for_ever_for_signatures(tmp_path, monkeypatch, caplog):
    ended = threading.Event()
    monkeypatch.setattr(module, "REST_SECONDS", 0.05)
    monkeypatch.setattr(EvidenceLog, "sign_rest", lambda _: ended.wait(20))
    sign_rest(settings(tmp_path))
    ended.set()
    assert "not signed; the next stop signs it: the store did not answer in time" in caplog.text
    (tmp_path / "file").write_text("")
    sign_rest(settings(tmp_path / "file"))
    assert "Not a directory" in caplog.text


def test_a_start_without_the_log_is_an_entry_where_there_is_one(tmp_path, logs, caplog):
    """An auditor took the time for one without mail: the chain went on where it had ended, and it verified."""
    evidence = evidence_directory(tmp_path)
    assert opened(tmp_path, enabled=False).writer(0) is None
    assert logs.names(evidence) == [] if (evidence / "log").exists() else True
    writer = opened(tmp_path).writer(0)
    writer.add(logs.events())
    writer.close()
    off = opened(tmp_path, enabled=False)
    assert (off.writer(0), off.writer(1)) == (None, None)
    (file,) = (evidence / "log").glob("*.admin.log")
    gaps = [body["what"] for body in (parse_line(line).body for line in read_lines(file)) if body["kind"] == "gap"]
    assert gaps == ["off"]
    assert "no entry is written while evidence.enabled is false" in caplog.text
