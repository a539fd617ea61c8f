"""Counts on SQLite; the same in PostgreSQL is in tests/system/test_store_counts.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store import session_counts as module
from gatepost.store.interface import StoreFailure
from gatepost.store.session_counts import MOST_FAILURES, MOST_POLICIES
from gatepost.store.storage import Storage

DAY, DOMAIN = "2026-11-24", "b.example"
TLSA = applied(PolicyType.TLSA, "mx.b.example", ["3 1 1 aa", "3 1 1 bb"])
STS = applied(PolicyType.STS, DOMAIN, ["version: STSv1", "mode: enforce"], ["*.b.example"])
NONE = applied(PolicyType.NONE, DOMAIN)
EXPIRED = detail(ResultType.CERTIFICATE_EXPIRED, mx_host="mx.b.example", address="192.0.2.1", reason="x" * 100)
NO_TLS = detail(ResultType.STARTTLS_NOT_SUPPORTED)


def count(policy=STS, failure=None, sessions=1, domain=DOMAIN):
    return Count(DAY, domain, policy, failure, sessions)


@pytest.fixture
def counts(tmp_path):
    return Storage(SQLITE, tmp_path).session_counts()


def test_everything_comes_back_and_is_added_up(counts):
    first = [count(TLSA, None, 3), count(STS, EXPIRED, 2), count(STS, NO_TLS), count(NONE, None, 1, "a.example")]
    assert counts.write(DAY, first) == 0
    assert counts.read(DAY) == [first[3], first[0], first[1], first[2]]
    counts.write(DAY, [count(TLSA, None, 4), count(STS, EXPIRED), count(STS, None)])
    assert set(counts.read(DAY, DOMAIN)) == {
        count(TLSA, None, 7),
        count(STS, None, 1),
        count(STS, EXPIRED, 3),
        count(STS, NO_TLS, 1),
    }
    assert list(counts.domains(DAY)) == ["a.example", DOMAIN]
    assert counts.read("2026-11-25") == list(counts.domains("2026-11-25")) == []


def test_failures_beyond_the_bound_are_counted_by_their_result(counts):
    many = [count(STS, detail(ResultType.VALIDATION_FAILURE, address=f"a{n}"), 2) for n in range(MOST_FAILURES + 40)]
    counts.write(DAY, [*many, count(STS, EXPIRED, 1, "c.example")])
    counts.write(DAY, [many[0], many[-1]])
    found = counts.read(DAY)
    assert len(found) == MOST_FAILURES + 2
    assert count(STS, FailureDetail(ResultType.VALIDATION_FAILURE), 2 * 41) in found
    assert count(STS, detail(ResultType.VALIDATION_FAILURE, address="a0"), 4) in found
    assert sum(one.sessions for one in found) == 2 * (MOST_FAILURES + 42) + 1


def test_policies_beyond_the_bound_are_counted_without_what_they_say(counts):
    many = [count(applied(PolicyType.STS, DOMAIN, [f"id: {n}"])) for n in range(MOST_POLICIES + 5)]
    counts.write(DAY, [*many, many[-1], count(NONE)])
    found = counts.read(DAY)
    assert len(found) == MOST_POLICIES + 2
    assert count(AppliedPolicy(PolicyType.STS, DOMAIN), None, 6) in found
    assert count(NONE) in found


def test_where_all_room_is_taken_only_what_is_there_is_counted(counts, monkeypatch):
    counts.write(DAY, [count(STS, NO_TLS)])
    monkeypatch.setattr(module, "MOST_OCTETS", 1)
    assert counts.write(DAY, [count(STS, NO_TLS, 2), count(TLSA, None, 4), count(STS, EXPIRED, 8)]) == 12
    assert counts.read(DAY) == [count(STS, NO_TLS, 3)]


def test_room_that_old_days_took_is_had_again(counts, monkeypatch):
    for number in range(10):
        long = applied(PolicyType.STS, DOMAIN, [f"{number}" * 1000] * 8)
        assert counts.write("2026-11-08", [count(long, NO_TLS)]) == 0
    monkeypatch.setattr(module, "MOST_OCTETS", 50_000)
    for _ in range(2):
        assert counts.write(DAY, [count(STS, NO_TLS)]) == 1
    assert counts.prune("2026-11-10") == ["2026-11-08"]
    assert counts.write(DAY, [count(STS, NO_TLS)]) == 0


def test_old_days_are_forgotten(counts):
    for day in ("2026-11-08", "2026-11-09", "2026-11-10", DAY):
        counts.write(day, [count(STS, EXPIRED)._replace(day=day)])
    assert counts.days() == ["2026-11-08", "2026-11-09", "2026-11-10", DAY]
    assert counts.prune("2026-11-10") == ["2026-11-08", "2026-11-09"]
    assert counts.prune("2026-11-10") == []
    assert counts.days() == ["2026-11-10", DAY]
    assert counts.read("2026-11-09") == []


ROUNDS, WRITERS = 20, 4


# As `mail.outbound.sessions` does: after a failure nothing was written, and the counts are still there.
WRITER = """
import sys, time
from pathlib import Path
from gatepost.store.interface import StoreFailure
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, FailureDetail, PolicyType, applied

counts_of_site = Storage(SQLITE, Path(sys.argv[1])).session_counts()
day, rounds = sys.argv[2], int(sys.argv[3])
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
            counts_of_site.write(day, counts)
        except StoreFailure:
            time.sleep(0.05)
            continue
        break
"""


def test_processes_write_one_day_together(counts, tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path), DAY, str(ROUNDS)]
    writers = [subprocess.Popen(command) for _ in range(WRITERS)]
    assert [writer.wait(50) for writer in writers] == [0] * WRITERS
    found = counts.read(DAY)
    policy = applied(PolicyType.STS, DOMAIN, ["mode: enforce"])
    assert count(policy, None, ROUNDS * WRITERS) in found
    assert count(policy, FailureDetail(ResultType.CERTIFICATE_EXPIRED, "mx.b.example"), 2 * ROUNDS * WRITERS) in found
    assert count(NONE, None, WRITERS, "d0.example") in found
    assert len(found) == 2 + ROUNDS


def test_what_cannot_be_written_is_said_and_nothing_of_it_is_kept(counts, tmp_path):
    def broken():
        yield count(TLSA)
        raise StoreFailure("no more")

    with pytest.raises(StoreFailure, match="no more"):
        counts.write(DAY, broken())
    assert counts.days() == counts.read(DAY) == []
    counts.close()
    (tmp_path / "session-counts.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreFailure, match=r"session-counts\.db"):
        counts.write(DAY, [count()])
