from __future__ import annotations

import gzip
import shutil

import pytest

from gatepost.analysis.reports.evidence_audit import audit_files
from gatepost.events.evidence.audit import FaultKind
from gatepost.pki.certificates.evidence_key import signature_check
from gatepost.store.evidence_files import EvidenceDirectory, day_files, read_lines
from gatepost.store.evidence_log import read_heads
from gatepost.store.interface import StoreFailure

K = FaultKind


@pytest.fixture(scope="module")
def template(logs, tmp_path_factory):
    return logs.three_days(tmp_path_factory.mktemp("evidence") / "evidence", events=3)


@pytest.fixture
def evidence(template, tmp_path):
    return shutil.copytree(template, tmp_path / "evidence")


def path(evidence, day=19, writer="0", end=""):
    return evidence / "log" / f"2026-11-{day}.{writer}.log{end}"


def edit(file, change):
    """Change the lines of a file, compressed or not."""
    lines = list(read_lines(file))
    data = b"".join(change(lines))
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)


def faults(logs, evidence, **options):
    return {kind: (one.file, one.line) for kind, one in logs.audit(evidence, **options).faults.first.items()}


def test_a_log_that_was_left_alone_is_good(logs, evidence):
    found = logs.good(evidence)
    assert (found.files, found.entries, found.checkpoints, found.heads) == (6, 30, 6, 2)
    assert (found.first, found.last, found.unsigned) == ("2026-11-18", "2026-11-20", {})
    assert found.proven
    assert found.unheaded == ["2026-11-20"]
    assert found.headless == []
    assert logs.audit(evidence, today="2026-11-20").unheaded == []


HEADS = "heads.log"
FIRST, SECOND, THIRD = "2026-11-18.0.log.gz", "2026-11-19.0.log", "2026-11-20.0.log"


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        # whole files
        (lambda it: path(it).unlink(), {K.REMOVED: (THIRD, 1)}),
        (lambda it: path(it, 18, end=".gz").unlink(), {K.REMOVED: (FIRST.removesuffix(".gz"), 0)}),
        (lambda it: [one.unlink() for one in (it / "log").glob("*.1.log")], {K.REMOVED: ("2026-11-18.1.log", 0)}),
        (lambda it: [one.unlink() for one in (it / "log").glob("2026-11-18.*")], {K.REMOVED: ("2026-11-18.0.log", 0)}),
        (lambda it: shutil.copy(path(it), path(it, writer="2")), {K.FILE: ("2026-11-19.2.log", 1)}),
        (lambda it: shutil.copy(path(it), path(it, 21)), {K.FILE: ("2026-11-21.0.log", 1)}),
        (lambda it: path(it).rename(path(it, 21)), {K.FILE: ("2026-11-21.0.log", 1)}),
        (lambda it: shutil.copy(path(it, writer="1"), path(it)), {K.FILE: (SECOND, 1)}),
        # in files
        (lambda it: edit(path(it), lambda lines: lines[:2] + lines[3:]), {K.REMOVED: (SECOND, 3)}),
        (lambda it: edit(path(it), lambda lines: lines[1:]), {K.FILE: (SECOND, 1)}),
        (lambda it: edit(path(it), lambda it: [*it[:2], it[3], it[2], it[4]]), {K.REORDERED: (SECOND, 4)}),
        (lambda it: edit(path(it), lambda lines: [*lines[:3], *lines[2:]]), {K.INSERTED: (SECOND, 4)}),
        (lambda it: edit(path(it), lambda lines: lines[:-1]), {K.TRUNCATED: (SECOND, 0)}),
        (lambda it: edit(path(it, 18, end=".gz"), lambda lines: lines[:-1]), {K.TRUNCATED: (FIRST, 0)}),
        (lambda it: edit(path(it, 18, end=".gz"), lambda lines: [*lines[:2], *lines[3:]]), {K.REMOVED: (FIRST, 3)}),
        (
            lambda it: edit(path(it, 18, end=".gz"), lambda lines: [one.replace(b"SEND", b"FAIL") for one in lines]),
            {K.CHANGED: (FIRST, 2)},
        ),
        (lambda it: edit(path(it), lambda lines: []), {K.REMOVED: (THIRD, 1)}),
        # the heads
        (lambda it: edit(it / HEADS, lambda lines: lines[1:]), {K.REMOVED: (HEADS, 1)}),
        (lambda it: edit(it / HEADS, lambda lines: lines[::-1]), {K.REORDERED: (HEADS, 2)}),
        (lambda it: edit(it / HEADS, lambda it: [it[0].replace(b"11-18", b"11-17"), it[1]]), {K.CHANGED: (HEADS, 1)}),
    ],
)  # fmt: skip
def test_what_was_done_to_files_is_found(logs, evidence, harm, expected):
    harm(evidence)
    found = faults(logs, evidence)
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    "harm",
    [
        lambda it: edit(path(it, 20), lambda lines: lines[:-1]),  # the end of today
        lambda it: path(it, 20).unlink(),  # today
        lambda it: [one.unlink() for one in (it / "log").glob("2026-11-20.*")],
        lambda it: edit(it / HEADS, lambda lines: lines[:-1]),  # the last head
    ],
)
def test_what_only_a_hash_that_was_noted_can_find(logs, evidence, harm):
    """The end can be cut off: nothing in the log says that there was more."""
    noted = [read_heads(EvidenceDirectory(evidence)).days["2026-11-19"].hash]
    noted += [list(read_lines(path(evidence, 20)))[-1][:64].decode()]
    assert faults(logs, evidence, noted=noted) == {}
    harm(evidence)
    assert faults(logs, evidence) == {}
    assert set(faults(logs, evidence, noted=noted)) == {K.REWRITTEN}


def test_heads_that_must_have_been_made_are_missed(logs, evidence):
    (evidence / HEADS).unlink()
    for file in (evidence / "log").glob("*.1.log"):
        file.unlink()  # what the heads would have told
    assert logs.audit(evidence).headless == ["2026-11-18"], "the third day may have begun a moment ago"
    chain = logs.chain(evidence)
    for seconds, missed in ((200, ["2026-11-18"]), (300, ["2026-11-18", "2026-11-19"])):
        at = logs.NOON + 2 * logs.DAY + seconds
        chain.append(logs.events(at=at), at)
        found = logs.audit(evidence)
        assert found.faults.first == {}
        assert found.headless == missed


@pytest.mark.parametrize(("day", "missed"), [(20, []), (19, ["2026-11-18", "2026-11-19"])])
def test_a_day_of_which_the_time_cannot_be_read_makes_nothing_due(logs, evidence, day, missed):
    """It is a fault of its own."""
    (evidence / HEADS).unlink()
    at = logs.NOON + 2 * logs.DAY + 300
    logs.chain(evidence).append(logs.events(at=at), at)
    for writer in ("0", "1"):
        found = next(path(evidence, day, writer).parent.glob(f"2026-11-{day}.{writer}.log*"))
        edit(found, lambda lines: [line.replace(b'"time":"2026', b'"time":"yore') for line in lines])
    assert logs.audit(evidence).headless == missed


def test_days_without_heads_in_a_day_that_is_to_come_are_missed(logs, evidence):
    """The clock was a year ahead for a moment: no day gets a head before that one is over, and nobody would notice."""
    chain, heads = logs.chain(evidence), logs.heads(evidence)
    chain.append(logs.events(), logs.NOON + 400 * logs.DAY)
    heads.make(logs.NOON + 400 * logs.DAY)
    assert logs.audit(evidence).headless == []
    at = logs.NOON + 3 * logs.DAY
    chain.append(logs.events(at=at), at)
    chain.checkpoint(at)
    assert logs.audit(evidence).headless == ["2027-12-23"]
    assert logs.audit(evidence, today="2026-11-21").headless == ["2027-12-23"]
    heads.make(logs.NOON + 401 * logs.DAY)
    assert logs.audit(evidence).headless == []


def test_commands_on_a_gateway_that_does_not_run_make_no_heads(logs, evidence):
    logs.chain(evidence, "admin").append(logs.events(), logs.NOON + 5 * logs.DAY)
    assert logs.good(evidence).headless == []


def test_a_file_that_was_emptied_is_missed(logs, evidence):
    path(evidence, 20).unlink()
    path(evidence).write_bytes(b"")
    assert faults(logs, evidence) == {K.REMOVED: (SECOND, 0)}


def test_a_log_written_anew_with_another_key_is_found(logs, evidence, tmp_path):
    forged = tmp_path / "forged"
    chain = logs.chain(forged, signer=logs.signer.__class__("ab" * 32, lambda _: bytes(64)))
    chain.append(logs.events(), logs.NOON)
    chain.checkpoint(logs.NOON)
    assert set(faults(logs, forged)) == {K.KEY}


def test_some_days_alone(logs, evidence):
    found = logs.audit(evidence, days=("2026-11-19", "2026-11-19"))
    assert (found.faults.first, found.files, found.entries) == ({}, 2, 10)
    path(evidence).unlink()
    assert faults(logs, evidence, days=("2026-11-20", "9999")) == {}
    edit(path(evidence, 20), lambda lines: lines[1:])
    assert K.FILE in faults(logs, evidence, days=("2026-11-20", "9999"))
    edit(path(evidence, 20), lambda lines: [])
    assert faults(logs, evidence, days=("2026-11-20", "9999")) == {}


def test_files_alone(logs, evidence):
    check = signature_check([logs.pem])
    files = day_files(evidence, "0")
    found = audit_files(files[::-1], check)
    assert (found.faults.first, found.entries, found.heads) == ({}, 15, 0)
    edit(path(evidence), lambda lines: lines[:2] + lines[3:])
    found = audit_files(files, check, noted=["ab" * 32])
    assert set(found.faults.first) == {K.REMOVED, K.REWRITTEN}


def test_what_is_being_written_is_no_fault_of_a_running_gateway(logs, evidence):
    file = path(evidence, 20)
    file.write_bytes(file.read_bytes()[:-10])
    assert set(faults(logs, evidence)) == {K.TRUNCATED, K.CHANGED}
    assert faults(logs, evidence, live=True) == {}
    path(evidence).write_bytes(path(evidence).read_bytes()[:-10])
    assert K.TRUNCATED in faults(logs, evidence, live=True)


def test_a_log_that_nobody_signed_proves_nothing(logs, tmp_path):
    logs.chain(tmp_path, signer=None).append(logs.events(), logs.NOON)
    found = logs.good(tmp_path)
    assert not found.proven
    assert found.unsigned == {"0": 2}


def test_what_cannot_be_read_is_said(logs, evidence):
    path(evidence, 18, end=".gz").write_bytes(b"no gzip")
    with pytest.raises(StoreFailure, match="2026-11-18"):
        logs.audit(evidence)
