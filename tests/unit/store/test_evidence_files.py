from __future__ import annotations

import gzip

import pytest

from gatepost.events.evidence.chain import LONGEST_LINE
from gatepost.store.evidence_files import (
    EvidenceDirectory,
    compress,
    copy_log,
    copy_results,
    day_file,
    day_files,
    evidence_directory,
    left_by_crashes,
    log_directory,
    read_lines,
    remove_plain,
)
from gatepost.store.interface import StoreFailure


@pytest.fixture
def evidence(tmp_path):
    evidence = evidence_directory(tmp_path)
    log_directory(evidence).mkdir(parents=True)
    return evidence


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("2026-11-18.0.log", ("2026-11-18", "0", False)),
        ("2026-11-18.admin.log.gz", ("2026-11-18", "admin", True)),
        ("2026-11-18.0.log.123.torn", None),
        (".0.lock", None),
        ("2026-11-18.log", None),
        ("heads.log", None),
    ],
)
def test_a_name_says_day_and_writer(tmp_path, name, found):
    one = day_file(tmp_path / name)
    assert (None if one is None else (one.day, one.writer, one.closed)) == found


def test_files_come_by_writer_and_day(evidence):
    for name in ("2026-11-19.0.log", "2026-11-18.0.log.gz", "2026-11-18.0.log", "2026-11-18.1.log", "x"):
        (log_directory(evidence) / name).touch()
    names = [one.path.name for one in day_files(evidence)]
    assert names == ["2026-11-18.0.log.gz", "2026-11-19.0.log", "2026-11-18.1.log"]
    assert [one.path.name for one in day_files(evidence, "1")] == ["2026-11-18.1.log"]
    assert [one.day for one in day_files(evidence, since="2026-11-19")] == ["2026-11-19"]
    assert [one.day for one in day_files(evidence, "0", until="2026-11-18")] == ["2026-11-18"]


def test_no_directory_is_no_file_and_one_that_cannot_be_read_is_said(tmp_path):
    assert day_files(tmp_path) == []
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(StoreFailure, match="log"):
        day_files(tmp_path)


def test_a_closed_file_has_the_same_lines(evidence):
    path = log_directory(evidence) / "2026-11-18.0.log"
    path.write_bytes(b"one\ntwo\nno end")
    closed = compress(path)
    assert not path.exists()
    assert closed.stat().st_mode & 0o777 == 0o600
    assert list(read_lines(closed)) == [b"one\n", b"two\n", b"no end"]
    assert gzip.decompress(closed.read_bytes()) == b"one\ntwo\nno end"
    assert [one.name for one in log_directory(evidence).iterdir()] == [closed.name]


def test_lines_are_bounded(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"x" * (2 * LONGEST_LINE + 5) + b"\n")
    assert [len(line) for line in read_lines(path)] == [LONGEST_LINE, LONGEST_LINE, 6]


WHOLE = gzip.compress(b"line\n" * 100, mtime=0)


@pytest.mark.parametrize(
    "content", [b"no gzip", WHOLE[:-12], WHOLE[:-8] + b"x" * 8], ids=["no archive", "cut off", "wrong sum"]
)
def test_a_damaged_archive_is_said(tmp_path, content):
    path = tmp_path / "x.log.gz"
    path.write_bytes(content)
    with pytest.raises(StoreFailure, match="gz"):
        list(read_lines(path))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(StoreFailure, match="No such file"):
        list(read_lines(tmp_path / "x.log"))


def test_a_copy_is_verified_as_the_log_is(tmp_path, logs):
    evidence, copy = tmp_path / "evidence", tmp_path / "copy"
    logs.keep_key(evidence)
    chain = logs.chain(evidence)
    chain.append(logs.events(3), logs.NOON)
    chain.append(logs.events(3), logs.NOON + logs.DAY)
    chain.end_day(logs.NOON + logs.DAY)
    logs.heads(evidence).make(logs.NOON + logs.DAY)
    log = EvidenceDirectory(evidence)
    assert copy_log(log, copy) == 2
    assert sorted(path.name for path in log_directory(copy).iterdir()) == ["2026-11-18.0.log", "2026-11-19.0.log"]
    found = logs.good(copy)
    assert (found.entries, found.heads) == (8, 1)
    assert EvidenceDirectory(copy).public_keys() == log.public_keys() == [logs.pem]
    assert [one.is_empty for one in EvidenceDirectory(copy).days()] == [False, False]
    with pytest.raises(FileExistsError):
        copy_log(log, copy)


def test_there_may_be_no_heads_and_no_keys_yet(tmp_path):
    log = EvidenceDirectory(tmp_path)
    assert (list(log.head_lines()), log.public_keys(), log.days()) == ([], [], [])


def test_results_of_drills_are_copied_beside_a_log(tmp_path):
    copy_results(tmp_path, [("a.json", b"{}"), ("gone.json", None)])
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "drills").iterdir()] == [("a.json", b"{}")]


def test_what_crashes_left_of_earlier_days(evidence):
    names = [
        ".2026-11-18.0.log.gz.new",
        "2026-11-18.admin.log.9.torn",
        ".2026-11-19.0.log.gz.new",
        ".0.lock",
        "2026-11-18.0.x",
    ]
    for name in names:
        (log_directory(evidence) / name).touch()
    left = left_by_crashes(evidence, before="2026-11-19")
    assert sorted(path.name for path in left) == names[:2]


def test_the_plain_file_goes_once_its_compressed_one_is_there(evidence):
    compressed = log_directory(evidence) / "2026-11-17.0.log.gz"
    compressed.with_suffix("").touch()
    for _ in range(2):
        remove_plain(compressed)
    assert not compressed.with_suffix("").exists()
