from __future__ import annotations

import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail, PolicyType, applied, detail
from gatepost.store import session_counts as module
from gatepost.store.interface import StoreFailure
from gatepost.store.session_counts import MOST_FAILURES, MOST_POLICIES, SessionFiles

if TYPE_CHECKING:
    from pathlib import Path

DAY, DOMAIN = "2026-11-24", "b.example"
TLSA = applied(PolicyType.TLSA, "mx.b.example", ["3 1 1 aa", "3 1 1 bb"])
STS = applied(PolicyType.STS, DOMAIN, ["version: STSv1", "mode: enforce"], ["*.b.example"])
NONE = applied(PolicyType.NONE, DOMAIN)
EXPIRED = detail(
    ResultType.CERTIFICATE_EXPIRED,
    mx_host="mx.b.example",
    address="192.0.2.1",
    helo="helo.example",
    sending_address="198.51.100.7",
    reason="CertificateExpired",
)
NO_TLS = detail(ResultType.STARTTLS_NOT_SUPPORTED)


def count(
    policy: AppliedPolicy = STS, failure: FailureDetail | None = None, sessions: int = 1, domain: str = DOMAIN
) -> Count:
    return Count(DAY, domain, policy, failure, sessions)


def test_everything_comes_back_and_is_added_up(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "sessions"
    first = [count(TLSA, None, 3), count(STS, EXPIRED, 2), count(STS, NO_TLS), count(NONE, None, 1, "a.example")]
    assert SessionFiles(directory).write(DAY, first) == 0
    assert [path.name for path in directory.iterdir()] == [f"{DAY}.db"]
    assert SessionFiles(directory).read(DAY) == [first[3], first[0], first[1], first[2]]
    SessionFiles(directory).write(DAY, [count(TLSA, None, 4), count(STS, EXPIRED), count(STS, None)])
    assert set(SessionFiles(directory).read(DAY, DOMAIN)) == {
        count(TLSA, None, 7),
        count(STS, None, 1),
        count(STS, EXPIRED, 3),
        count(STS, NO_TLS, 1),
    }
    assert stat.S_IMODE((directory / f"{DAY}.db").stat().st_mode) == 0o600


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert SessionFiles(tmp_path / "nowhere").read(DAY) == []
    assert SessionFiles(tmp_path / "nowhere").days() == []
    (tmp_path / f"{DAY}.db").touch()  # another process is about to make it
    assert SessionFiles(tmp_path).read(DAY) == []


def test_failures_beyond_the_bound_are_counted_by_their_result(tmp_path: Path) -> None:
    many = [count(STS, detail(ResultType.VALIDATION_FAILURE, address=f"a{n}"), 2) for n in range(MOST_FAILURES + 40)]
    other = count(STS, detail(ResultType.CERTIFICATE_EXPIRED, address="x"), 5)
    elsewhere = count(STS, EXPIRED, 1, "c.example")
    SessionFiles(tmp_path).write(DAY, [*many, other, elsewhere])
    SessionFiles(tmp_path).write(DAY, [many[0], many[-1]])
    found = SessionFiles(tmp_path).read(DAY)
    assert len(found) == MOST_FAILURES + 3
    assert count(STS, FailureDetail(ResultType.VALIDATION_FAILURE), 2 * 41) in found
    assert count(STS, FailureDetail(ResultType.CERTIFICATE_EXPIRED), 5) in found
    assert count(STS, detail(ResultType.VALIDATION_FAILURE, address="a0"), 4) in found
    assert elsewhere in found
    assert sum(one.sessions for one in found) == 2 * (MOST_FAILURES + 42) + 5 + 1


def test_policies_beyond_the_bound_are_counted_without_what_they_say(tmp_path: Path) -> None:
    many = [count(applied(PolicyType.STS, DOMAIN, [f"id: {n}"])) for n in range(MOST_POLICIES + 5)]
    SessionFiles(tmp_path).write(DAY, [*many, many[-1], count(NONE)])
    found = SessionFiles(tmp_path).read(DAY)
    assert len(found) == MOST_POLICIES + 2
    assert count(AppliedPolicy(PolicyType.STS, DOMAIN), None, 6) in found
    assert count(NONE) in found


def test_a_full_file_takes_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAGES", 40)
    many = [
        count(applied(PolicyType.STS, f"d{n}.example", [f"mx: {n} {'x' * 1000}"] * 4), NO_TLS, 2) for n in range(50)
    ]
    left_out = SessionFiles(tmp_path).write(DAY, many)
    assert 0 < left_out < 100
    assert SessionFiles(tmp_path).write(DAY, [many[0], many[-1], count(many[0].policy, EXPIRED, 5)]) == 2 + 5
    found = SessionFiles(tmp_path).read(DAY)
    assert sum(one.sessions for one in found) == 100 - left_out + 2
    assert (tmp_path / f"{DAY}.db").stat().st_size <= 46 * 4096


def test_what_cannot_be_written_is_said_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(StoreFailure, match=f"{DAY}.db"):
        SessionFiles(tmp_path / "file").write(DAY, [count()])
    (tmp_path / f"{DAY}.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreFailure):
        SessionFiles(tmp_path).write(DAY, [count()])
    with pytest.raises(StoreFailure, match=f"{DAY}.db"):
        SessionFiles(tmp_path).read(DAY)

    def broken() -> Any:
        yield count(TLSA)
        raise OSError("the disk is full")

    with pytest.raises(StoreFailure, match="full"):
        SessionFiles(tmp_path / "other").write(DAY, broken())
    assert SessionFiles(tmp_path / "other").read(DAY) == []


def test_old_days_are_forgotten(tmp_path: Path) -> None:
    for day in ("2026-11-09", "2026-11-10", DAY):
        SessionFiles(tmp_path).write(day, [count()._replace(day=day)])
    (tmp_path / "2026-11-09.db-wal").touch()
    (tmp_path / "notes.db").touch()
    assert SessionFiles(tmp_path).days() == ["2026-11-09", "2026-11-10", DAY]
    assert SessionFiles(tmp_path).prune("2026-11-10") == ["2026-11-09"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-11-10.db", f"{DAY}.db", "notes.db"]


ROUNDS, WRITERS = 20, 4


# As `mail.outbound.sessions` does: after a failure nothing was written, and the counts are still there.
WRITER = """
import sys, time
from pathlib import Path
from gatepost.store.interface import StoreFailure
from gatepost.store.session_counts import SessionFiles
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, FailureDetail, PolicyType, applied

directory, day, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sts, none = applied(PolicyType.STS, "b.example", ["mode: enforce"]), applied(PolicyType.NONE, "b.example")
failure = FailureDetail(ResultType.CERTIFICATE_EXPIRED, "mx.b.example")
for number in range(rounds):
    counts = [
        Count(day, "b.example", sts, None, 1),
        Count(day, "b.example", sts, failure, 2),
        Count(day, f"d{number}.example", none, None, 1),
    ]
    for _ in range(20):
        try:
            SessionFiles(directory).write(day, counts)
        except StoreFailure:
            time.sleep(0.05)
            continue
        break
"""


def test_processes_write_one_day_together(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "sessions"), DAY, str(ROUNDS)]
    writers = [subprocess.Popen(command) for _ in range(WRITERS)]
    assert [writer.wait(50) for writer in writers] == [0] * WRITERS
    found = SessionFiles(tmp_path / "sessions").read(DAY)
    policy = applied(PolicyType.STS, DOMAIN, ["mode: enforce"])
    assert count(policy, None, ROUNDS * WRITERS) in found
    assert count(policy, FailureDetail(ResultType.CERTIFICATE_EXPIRED, "mx.b.example"), 2 * ROUNDS * WRITERS) in found
    assert count(NONE, None, WRITERS, "d0.example") in found
    assert len(found) == 2 + ROUNDS


def test_the_policy_domains_of_a_day(tmp_path: Path) -> None:
    SessionFiles(tmp_path).write(DAY, [count(TLSA, None), count(STS, EXPIRED), count(NONE, None, 1, "a.example")])
    assert list(SessionFiles(tmp_path).domains(DAY)) == ["a.example", DOMAIN]
    (tmp_path / "2026-11-25.db").touch()
    assert list(SessionFiles(tmp_path).domains("2026-11-25")) == []
    (tmp_path / "2026-11-26.db").write_bytes(b"no database" * 1000)
    for day in ("2026-11-26", "2026-11-27"):
        with pytest.raises(StoreFailure, match=day):
            list(SessionFiles(tmp_path).domains(day))


def test_all_of_it_goes_by_one_object(tmp_path: Path) -> None:
    counts = SessionFiles(tmp_path)
    assert counts.write(DAY, [count(TLSA, None, 3)]) == 0
    assert counts.read(DAY, DOMAIN) == [count(TLSA, None, 3)]
    assert counts.days() == [DAY]
    assert list(counts.domains(DAY)) == [DOMAIN]
    assert counts.prune("2026-11-25") == [DAY]
