from __future__ import annotations

import errno
import gzip
import os

import pytest

from gatepost.events.evidence.audit import FaultKind
from gatepost.store import evidence_chain
from gatepost.store.evidence_chain import end_of
from gatepost.store.evidence_files import log_directory
from gatepost.store.interface import StoreFailure

FIRST = "2026-11-18.0.log"


@pytest.fixture
def evidence(tmp_path):
    return tmp_path / "evidence"


def file(evidence, name=FIRST):
    return log_directory(evidence) / name


def test_entries_are_chained_and_signed(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(3), logs.NOON)
    assert one.unsigned
    one.checkpoint(logs.NOON)
    assert not one.unsigned
    one.checkpoint(logs.NOON)
    found = logs.good(evidence)
    assert (found.entries, found.checkpoints, found.unsigned) == (5, 1, {})
    assert file(evidence).stat().st_mode & 0o777 == 0o600


def test_a_chain_goes_on_after_a_restart(logs, evidence):
    logs.chain(evidence).append(logs.events(3), logs.NOON)
    again = logs.chain(evidence)
    again.checkpoint(logs.NOON)
    again.append(logs.events(2), logs.NOON)
    assert logs.good(evidence).entries == 7
    assert end_of(file(evidence)).number == 7


def test_a_new_day_is_a_new_file_that_goes_on(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(2), logs.NOON)
    one.append(logs.events(), logs.NOON + logs.DAY)
    one.end_day(logs.NOON + logs.DAY)
    assert logs.names(evidence) == [f"{FIRST}.gz", "2026-11-19.0.log"]
    one.append(logs.events(), logs.NOON + logs.DAY)
    one.end_day(logs.NOON + 2 * logs.DAY)
    one.append(logs.events(), logs.NOON + 2 * logs.DAY)
    logs.chain(evidence).append(logs.events(), logs.NOON + 5 * logs.DAY)
    assert logs.names(evidence) == [f"{FIRST}.gz", "2026-11-19.0.log.gz", "2026-11-20.0.log", "2026-11-23.0.log"]
    assert logs.good(evidence).entries == 10


def test_a_chain_goes_on_behind_a_closed_file(logs, evidence):
    logs.chain(evidence).append(logs.events(2), logs.NOON)
    logs.chain(evidence).end_day(logs.NOON + logs.DAY)
    assert end_of(file(evidence, f"{FIRST}.gz")).number == 3
    logs.chain(evidence).append(logs.events(), logs.NOON + logs.DAY)
    assert logs.good(evidence).entries == 5


def test_a_plain_file_that_a_crash_left_beside_its_compressed_one_is_removed(logs, evidence):
    logs.chain(evidence).append(logs.events(2), logs.NOON)
    plain = file(evidence, FIRST).read_bytes()
    logs.chain(evidence).end_day(logs.NOON + logs.DAY)
    file(evidence, FIRST).write_bytes(plain)
    logs.chain(evidence).end_day(logs.NOON + logs.DAY)
    assert logs.names(evidence) == [f"{FIRST}.gz"]
    assert logs.good(evidence).entries == 3


def test_a_clock_that_was_put_back_reopens_no_day(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(), logs.NOON + logs.DAY)
    one.append(logs.events(), logs.NOON)
    assert logs.names(evidence) == ["2026-11-19.0.log"]
    one.end_day(logs.NOON + 2 * logs.DAY)
    one.append(logs.events(), logs.NOON)
    assert logs.names(evidence) == ["2026-11-19.0.log.gz", "2026-11-20.0.log"]
    assert logs.good(evidence).entries == 5


@pytest.mark.parametrize("cut", [1, 2, 40, 200])
def test_what_a_crash_tore_is_cut_off_kept_and_told(logs, evidence, cut):
    logs.chain(evidence).append(logs.events(3), logs.NOON)
    whole = file(evidence).read_bytes()
    os.truncate(file(evidence), len(whole) - cut)
    logs.chain(evidence).append(logs.events(), logs.NOON)
    found = logs.good(evidence)
    (writer, gap), *_ = found.gaps
    assert (writer, gap["what"], found.entries) == ("0", "torn", 5)
    assert (
        file(evidence, f"{FIRST}.{len(whole) - cut - gap['count']}.torn").read_bytes()
        == whole[-cut - gap["count"] : -cut]
    )


def test_what_was_not_synced_may_be_anything_after_a_crash(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(2), logs.NOON)
    one.checkpoint(logs.NOON)
    size = file(evidence).stat().st_size
    one.append(logs.events(4), logs.NOON)
    with file(evidence).open("r+b") as opened:  # a block that never reached the disk, before some that did
        opened.seek(size + 100)
        opened.write(bytes(200))
    logs.chain(evidence).append(logs.events(), logs.NOON + logs.DAY)
    found = logs.good(evidence)
    assert found.entries == 4 + 3
    assert [gap["what"] for _, gap in found.gaps] == ["torn"]


def test_what_was_signed_is_never_cut(logs, evidence, caplog):
    one = logs.chain(evidence)
    one.append(logs.events(4), logs.NOON)
    one.checkpoint(logs.NOON)
    content = file(evidence).read_bytes()
    file(evidence).write_bytes(content.replace(b"SEND", b"FAIL", 1))
    logs.chain(evidence).append(logs.events(), logs.NOON)
    assert "is damaged before entry 6" in caplog.text
    found = logs.audit(evidence)
    assert found.faults.first[FaultKind.CHANGED].line == 2
    assert found.faults.counts == {FaultKind.CHANGED: 1}


@pytest.mark.parametrize("content", [b"", b"garbage", b"garbage\n" * 3])
def test_a_file_without_an_entry_is_passed_over(logs, evidence, content):
    logs.chain(evidence).append(logs.events(2), logs.NOON)
    file(evidence, "2026-11-19.0.log").write_bytes(content)
    logs.chain(evidence).append(logs.events(), logs.NOON + logs.DAY)
    assert logs.good(evidence).entries == 5 + bool(content)


def test_nothing_there_but_garbage_begins_anew(logs, evidence):
    log_directory(evidence).mkdir(parents=True)
    file(evidence).write_bytes(b"garbage")
    logs.chain(evidence).append(logs.events(), logs.NOON)
    assert logs.good(evidence).entries == 3


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: os.truncate(path, 700)])
def test_a_running_chain_remembers_what_was_taken_away(logs, evidence, caplog, harm):
    one = logs.chain(evidence)
    one.append(logs.events(3), logs.NOON)
    harm(file(evidence))
    one.append(logs.events(2), logs.NOON)
    one.checkpoint(logs.NOON)
    assert "another process changed" in caplog.text
    assert set(logs.audit(evidence).faults.first) & {FaultKind.REMOVED, FaultKind.CHANGED}


def test_commands_continue_one_chain_after_each_other(logs, evidence):
    first, second = logs.chain(evidence, "admin", signer=None), logs.chain(evidence, "admin", signer=None)
    for one in (first, second, first, second, second, first):
        one.append(logs.events(), logs.NOON)
    first.checkpoint(logs.NOON)  # without a key
    third = logs.chain(evidence, "admin")
    third.checkpoint(logs.NOON)
    first.append(logs.events(), logs.NOON)
    found = logs.good(evidence)
    assert (found.entries, found.unsigned) == (9, {"admin": 1})


def test_events_that_were_dropped_are_told(logs, evidence):
    logs.chain(evidence).append([], logs.NOON, dropped=5)
    (_, gap), *_ = logs.good(evidence).gaps
    assert (gap["what"], gap["count"]) == ("dropped", 5)


def test_that_the_log_is_off_is_an_entry_that_can_be_signed(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(2), logs.NOON)
    one.checkpoint(logs.NOON)
    one.append((), logs.NOON, is_off=True)
    assert one.unsigned
    one.checkpoint(logs.NOON)
    logs.chain(evidence).append(logs.events(), logs.NOON)
    found = logs.good(evidence)
    assert [(writer, gap["what"], gap["count"]) for writer, gap in found.gaps] == [("0", "off", 0)]
    assert (found.entries, found.checkpoints) == (7, 2)


@pytest.mark.parametrize("failing", ["write", "fdatasync"])
def test_what_cannot_be_made_durable_is_taken_back(logs, evidence, monkeypatch, failing):
    one = logs.chain(evidence)
    one.append(logs.events(2), logs.NOON)
    before = file(evidence).read_bytes()
    real = os.write

    def fail(descriptor, *data):
        if data:
            real(descriptor, data[0][:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fail)
        with pytest.raises(StoreFailure, match="No space left"):
            one.append(logs.events(2), logs.NOON)
    assert file(evidence).read_bytes() == before
    one.append(logs.events(2), logs.NOON)
    assert logs.good(evidence).entries == 5


def test_a_directory_that_cannot_be_made_is_said(logs, evidence):
    evidence.write_text("in the way")
    with pytest.raises(StoreFailure, match="writer 0"):
        logs.chain(evidence).append(logs.events(), logs.NOON)


def test_text_that_no_file_can_hold_is_written_as_escapes(logs, evidence):
    logs.chain(evidence).append(logs.events(peer_host="mx\ud800.example"), logs.NOON)
    assert logs.good(evidence).entries == 2
    assert b"mx\\\\ud800.example" in file(evidence).read_bytes()


def test_an_event_that_cannot_be_written_spoils_nothing(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(), logs.NOON)
    with pytest.raises(AttributeError):
        one.append([*logs.events(), object()], logs.NOON)
    one.append(logs.events(), logs.NOON)
    assert logs.good(evidence).entries == 3


def test_of_a_long_file_only_the_end_is_looked_through(logs, evidence, monkeypatch):
    logs.chain(evidence).append(logs.events(20), logs.NOON)
    monkeypatch.setattr(evidence_chain, "_TAIL", 2000)
    assert file(evidence).stat().st_size > 4000
    assert end_of(file(evidence)).number == 21
    logs.chain(evidence).append(logs.events(), logs.NOON)
    assert logs.good(evidence).entries == 22


def test_a_line_of_a_closed_file_that_is_no_entry_is_passed_over(logs, evidence):
    one = logs.chain(evidence)
    one.append(logs.events(2), logs.NOON)
    one.end_day(logs.NOON + logs.DAY)
    closed = file(evidence, f"{FIRST}.gz")
    closed.write_bytes(gzip.compress(gzip.decompress(closed.read_bytes()) + b"no entry\n"))
    assert end_of(closed).number == 3
