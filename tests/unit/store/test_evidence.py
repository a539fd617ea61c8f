from __future__ import annotations

import time

import pytest

from gatepost.store.buffer import FEW
from gatepost.store.evidence import EvidenceWriter
from gatepost.store.evidence_files import day_files, read_lines
from gatepost.store.interface import StoreFailure


@pytest.fixture
def evidence(tmp_path):
    return tmp_path / "evidence"


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def entries(evidence):
    return sum(1 for one in day_files(evidence) for _ in read_lines(one.path))


def test_events_are_on_disk_within_the_interval_and_signed_at_once(whole_day, logs, evidence):
    writer = EvidenceWriter(logs.chain(evidence), interval=0.02)
    writer.add(logs.events(2))
    wait_for(lambda: entries(evidence) == 4)
    writer.add(logs.events())
    wait_for(lambda: entries(evidence) == 5)  # the next signature is due in five minutes
    assert logs.good(evidence).unsigned == {"0": 1}
    writer.close()
    found = logs.good(evidence)
    assert (found.entries, found.checkpoints, found.unsigned) == (6, 2, {})


def test_signatures_come_again(logs, evidence):
    writer = EvidenceWriter(logs.chain(evidence), interval=0.02, checkpoint=0.05)
    for count in (3, 5, 7):
        writer.add(logs.events())
        wait_for(lambda count=count: entries(evidence) == count)
    writer.close()
    assert logs.good(evidence).checkpoints == 3


def test_a_signature_that_fails_is_tried_again_soon(logs, evidence, monkeypatch):
    """The five minutes of a signature may end while the database is away; entries that come later wait for theirs."""
    monkeypatch.setattr("gatepost.store.evidence._PAUSE", 0.1)
    chain, tried = logs.chain(evidence), []
    checkpoint = chain.checkpoint

    def fails_once(now):
        tried.append(now)
        if len(tried) == 1:
            raise StoreFailure("away")
        checkpoint(now)

    chain.checkpoint = fails_once
    writer = EvidenceWriter(chain, interval=0.01)
    writer.add(logs.events())
    wait_for(lambda: entries(evidence) == 3)
    assert len(tried) == 2, "not at each interval"
    writer.add(logs.events())
    writer.close()
    assert logs.good(evidence).checkpoints == 2


def test_what_waits_is_written_at_the_end(logs, evidence):
    writer = EvidenceWriter(logs.chain(evidence), interval=60)
    writer.add(logs.events(3))
    writer.close()
    assert logs.good(evidence).entries == 5
    EvidenceWriter(logs.chain(evidence), interval=60).close()
    assert logs.good(evidence).entries == 5


def test_what_a_crash_left_unsigned_is_signed_at_the_next_start(logs, evidence):
    logs.chain(evidence).append(logs.events(2), time.time())
    writer = EvidenceWriter(logs.chain(evidence), interval=0.02)
    wait_for(lambda: logs.good(evidence).unsigned == {})
    writer.close()
    assert logs.good(evidence).checkpoints == 1


def test_days_that_are_over_are_closed(logs, evidence):
    now = [logs.NOON]
    writer = EvidenceWriter(logs.chain(evidence), interval=0.02, clock=lambda: now[0])
    writer.add(logs.events())
    wait_for(lambda: entries(evidence) == 3)
    now[0] += logs.DAY
    wait_for(lambda: logs.names(evidence) == ["2026-11-18.0.log.gz"])
    writer.add(logs.events())
    writer.close()
    assert logs.names(evidence) == ["2026-11-18.0.log.gz", "2026-11-19.0.log"]
    assert logs.good(evidence).entries == 6


def test_a_day_that_cannot_be_closed_is_not_tried_at_each_interval(logs, evidence):
    """A full disk says so after many megabytes were compressed, and entries that come wait for that."""
    chain, tried = logs.chain(evidence), []

    def fails(now):
        tried.append(now)
        raise StoreFailure("no space left on device")

    chain.end_day = fails
    writer = EvidenceWriter(chain, interval=0.01)
    writer.add(logs.events())
    wait_for(lambda: entries(evidence) >= 2)
    time.sleep(0.1)
    writer.close()
    assert len(tried) == 1


def test_entries_wait_while_the_disk_fails_and_what_is_lost_is_told(logs, evidence, monkeypatch, caplog):
    monkeypatch.setattr("gatepost.store.buffer._MOST", 50)
    evidence.write_text("in the way")
    writer = EvidenceWriter(logs.chain(evidence), interval=0.02)
    for _ in range(10):
        writer.add(logs.events(10))
    wait_for(lambda: writer.trouble and "entries wait in memory" in caplog.text)
    evidence.unlink()
    wait_for(lambda: evidence.is_dir() and entries(evidence) >= 50)
    wait_for(lambda: not writer.trouble)
    writer.close()
    found = logs.good(evidence)
    assert sum(gap["count"] for _, gap in found.gaps) + found.entries - found.checkpoints - len(found.gaps) - 1 == 100
    assert sum(gap["count"] for _, gap in found.gaps) == 50
    assert caplog.text.count("entries wait in memory") == 1


def test_few_are_tried_while_the_disk_fails_and_all_afterwards(logs, evidence):
    """To make entries of all that wait takes seconds of CPU, and the disk may be full for hours."""
    chain, append, sizes = logs.chain(evidence), None, []

    def fails(events, now, *, dropped):
        sizes.append(len(events))
        if len(sizes) < 3:
            raise StoreFailure("no space left on device")
        append(events, now, dropped=dropped)

    append, chain.append = chain.append, fails
    writer = EvidenceWriter(chain, interval=0.02)
    writer.add(logs.events(3 * FEW))
    wait_for(lambda: len(sizes) >= 4)
    writer.close()
    assert sizes == [3 * FEW, FEW, FEW, 2 * FEW]
    assert entries(evidence) == 3 * FEW + 2
    assert not writer.trouble


def test_what_cannot_be_written_until_the_end_is_told(logs, evidence, caplog):
    evidence.write_text("in the way")
    writer = EvidenceWriter(logs.chain(evidence), interval=0.01)
    writer.add(logs.events(3))
    wait_for(lambda: "entries wait in memory" in caplog.text)
    writer.close()
    assert "evidence: 3 events could not be written before the stop, and are lost" in caplog.text
    assert caplog.text.count("entries wait in memory") == 1
