from __future__ import annotations

import pytest

from gatepost.events.evidence.audit import FaultKind
from gatepost.store.evidence_files import HEADS_FILE, EvidenceDirectory
from gatepost.store.evidence_log import read_heads
from gatepost.store.interface import StoreFailure


@pytest.fixture
def evidence(tmp_path):
    return tmp_path / "evidence"


def days(logs, evidence, *numbers, writer="0"):
    """A day each, so many after the first."""
    chain = logs.chain(evidence, writer)
    for number in numbers:
        chain.append(logs.events(), logs.NOON + number * logs.DAY)
    chain.checkpoint(logs.NOON + numbers[-1] * logs.DAY)


def test_each_day_that_is_over_gets_a_head_once(logs, evidence):
    days(logs, evidence, 0, 1, 3)
    days(logs, evidence, 0, writer="1")
    heads = logs.heads(evidence)
    made = heads.make(logs.NOON + 3 * logs.DAY)
    assert [(one.day, sorted(one.writers)) for one in made] == [("2026-11-18", ["0", "1"]), ("2026-11-19", ["0"])]
    assert heads.make(logs.NOON + 3 * logs.DAY) == []
    assert [one.day for one in logs.heads(evidence).make(logs.NOON + 4 * logs.DAY)] == ["2026-11-21"]
    found = logs.good(evidence)
    assert (found.heads, found.unheaded, found.unsigned) == (3, [], {})
    assert set(read_heads(EvidenceDirectory(evidence)).days) == {"2026-11-18", "2026-11-19", "2026-11-21"}
    assert read_heads(EvidenceDirectory(evidence)).days["2026-11-18"].hash == made[0].hash
    assert (evidence / HEADS_FILE).stat().st_mode & 0o777 == 0o600


def test_a_head_covers_what_no_checkpoint_does_whether_closed_or_not(logs, evidence):
    logs.chain(evidence).append(logs.events(2), logs.NOON)
    logs.chain(evidence, "1").append(logs.events(2), logs.NOON)
    logs.chain(evidence).end_day(logs.NOON + logs.DAY)
    logs.heads(evidence).make(logs.NOON + logs.DAY)
    logs.chain(evidence, "1").end_day(logs.NOON + logs.DAY)
    assert logs.good(evidence).unsigned == {}


def test_files_without_an_entry_are_not_in_it(logs, evidence):
    days(logs, evidence, 0)
    (evidence / "log" / "2026-11-18.5.log").touch()
    (made,) = logs.heads(evidence).make(logs.NOON + logs.DAY)
    assert set(made.writers) == {"0"}
    assert logs.good(evidence).files == 1


def test_no_log_has_no_heads(logs, evidence):
    assert logs.heads(evidence).make(logs.NOON) == []
    assert read_heads(EvidenceDirectory(evidence / "elsewhere")).days == {}


def test_old_days_are_forgotten_and_the_chain_says_so(logs, evidence):
    days(logs, evidence, 0, 1, 2, 3)
    heads = logs.heads(evidence)
    (evidence / "log" / "2026-11-18.0.log.9.torn").write_bytes(b"x")
    assert heads.prune(logs.NOON + 2 * logs.DAY, logs.NOON + 4 * logs.DAY) == []  # no day has a head yet
    heads.make(logs.NOON + 4 * logs.DAY)
    gone = heads.prune(logs.NOON + 2 * logs.DAY, logs.NOON + 4 * logs.DAY)
    assert gone == ["2026-11-18.0.log", "2026-11-19.0.log"]
    assert logs.names(evidence) == ["2026-11-20.0.log", "2026-11-21.0.log"]
    found = logs.good(evidence)
    assert (found.pruned, found.heads, found.entries) == ("2026-11-20", 4, 5)
    assert heads.prune(logs.NOON + 2 * logs.DAY, logs.NOON + 4 * logs.DAY) == []
    # more than that is not gone in order
    (evidence / "log" / "2026-11-20.0.log").unlink()
    assert logs.audit(evidence).faults.counts[FaultKind.REMOVED] == 1


def test_a_head_that_was_not_written_to_its_end_is_made_again(logs, evidence):
    days(logs, evidence, 0, 1)
    logs.heads(evidence).make(logs.NOON + 2 * logs.DAY)
    whole = (evidence / HEADS_FILE).read_bytes()
    (evidence / HEADS_FILE).write_bytes(whole[:-30])
    made = logs.heads(evidence).make(logs.NOON + 2 * logs.DAY)
    assert [one.day for one in made] == ["2026-11-19"]
    assert logs.good(evidence).heads == 2


def test_commands_are_signed_and_their_days_closed(logs, evidence):
    heads = logs.heads(evidence)
    heads.sign_commands(logs.NOON)
    assert not (evidence / "log").exists()
    logs.chain(evidence, "admin", signer=None).append(logs.events(), logs.NOON)
    heads.sign_commands(logs.NOON)
    assert logs.good(evidence).unsigned == {}
    heads.sign_commands(logs.NOON + logs.DAY)
    logs.chain(evidence, "admin", signer=None).append(logs.events(), logs.NOON + logs.DAY)
    heads.sign_commands(logs.NOON + logs.DAY)
    assert logs.names(evidence) == ["2026-11-18.admin.log.gz", "2026-11-19.admin.log"]
    assert logs.good(evidence).entries == 6


def test_a_directory_that_cannot_be_used_is_said(logs, evidence):
    evidence.write_text("in the way")
    with pytest.raises(StoreFailure, match="Not a directory"):
        logs.heads(evidence).make(logs.NOON)


def test_a_folder_in_the_way_is_a_failure_of_the_store(logs, tmp_path):
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / HEADS_FILE).mkdir()
    days(logs, tmp_path / "evidence", 0)
    with pytest.raises(StoreFailure, match=rf"evidence, .*{HEADS_FILE}: Is a directory"):
        logs.heads(tmp_path / "evidence").make(logs.NOON + logs.DAY)


def test_what_a_crash_kept_from_being_pruned_goes_the_next_time(logs, evidence):
    """The chain says so once; pieces that were cut off go with the days they are of, and later ones stay."""
    days(logs, evidence, 0, 1, 2)
    heads = logs.heads(evidence)
    heads.make(logs.NOON + 3 * logs.DAY)
    log = evidence / "log"
    kept = (log / "2026-11-18.0.log").read_bytes()
    for day in (18, 20):
        (log / f"2026-11-{day}.0.log.9.torn").write_bytes(b"x")
    later = logs.NOON + 3 * logs.DAY
    assert heads.prune(logs.NOON + logs.DAY, later) == ["2026-11-18.0.log"]
    (log / "2026-11-18.0.log").write_bytes(kept)
    size = (evidence / HEADS_FILE).stat().st_size
    assert heads.prune(logs.NOON + logs.DAY, later) == ["2026-11-18.0.log"]
    assert (evidence / HEADS_FILE).stat().st_size == size
    assert [path.name for path in log.glob("*.torn")] == ["2026-11-20.0.log.9.torn"]


def test_nothing_of_a_day_outlasts_it(logs, evidence):
    """A kill may come while a file is compressed, before the plain one is removed, and between any two removals."""
    days(logs, evidence, 0, 1, 2)
    log = evidence / "log"
    plain = (log / "2026-11-18.0.log").read_bytes()
    logs.chain(evidence).end_day(logs.NOON + 2 * logs.DAY)
    heads, later = logs.heads(evidence), logs.NOON + 2 * logs.DAY
    heads.make(later)
    (log / "2026-11-18.0.log").write_bytes(plain)
    assert heads.prune(logs.NOON + logs.DAY, later) == ["2026-11-18.0.log.gz"]
    for name in (".2026-11-18.0.log.gz.new", "2026-11-18.0.log.9.torn", ".2026-11-19.0.log.gz.new", ".2026.lock"):
        (log / name).write_bytes(b"x")
    assert heads.prune(logs.NOON + logs.DAY, later) == []
    names = [".0.lock", ".2026-11-19.0.log.gz.new", ".2026.lock", "2026-11-19.0.log.gz", "2026-11-20.0.log"]
    assert sorted(path.name for path in log.iterdir()) == names
