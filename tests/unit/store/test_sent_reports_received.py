from __future__ import annotations

import contextlib

import apsw
import pytest

from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure, StoreFull
from gatepost.store.sent_reports import RECEIVED, StoredReport
from gatepost.store.storage import Storage

DAY = 86_400.0
FAILED = ReceivedFailure("certificate-expired", 3, "192.0.2.1", "mx1.contoso.example", "", "192.0.2.9", "x", "y")


def kept(name="1", organization="Google Inc.", begin=DAY, policies=None):
    policies = (ReceivedPolicy("sts", "contoso.example", 10, 3, ("mode: enforce",), ("*.contoso.example",), (FAILED,)),
                ReceivedPolicy("tlsa", "contoso.example", 5, 0)) if policies is None else policies  # fmt: skip
    return StoredReport(
        begin + 2 * DAY,
        "mail x",
        ReceivedReport(organization, "a@b.example", name, begin, begin + DAY - 1, policies, 2),
    )


def test_what_is_kept_comes_back_once(tmp_path):
    assert list(Storage(SQLITE, tmp_path).received_reports().read(0, 9 * DAY)) == []
    assert Storage(SQLITE, tmp_path).received_reports().keep(kept())
    assert not Storage(SQLITE, tmp_path).received_reports().keep(kept(begin=5 * DAY))
    assert not Storage(SQLITE, tmp_path).received_reports().keep(kept(organization="GOOGLE INC."))
    assert Storage(SQLITE, tmp_path).received_reports().keep(kept(organization="Microsoft Corporation", policies=()))
    assert list(Storage(SQLITE, tmp_path).received_reports().read(0, 9 * DAY)) == [
        kept(),
        kept(organization="Microsoft Corporation", policies=()),
    ]
    assert (tmp_path / RECEIVED.file).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("since", "until", "names"),
    [(0, 9, "123"), (1.5, 1.6, "1"), (2, 9, "23"), (0, 2.5, "12"), (4.5, 9, ""), (0, 0.5, "")],
)  # fmt: skip
def test_by_the_time_they_are_about(tmp_path, since, until, names):
    for day in (3, 1, 2):
        Storage(SQLITE, tmp_path).received_reports().keep(kept(str(day), begin=day * DAY))
    assert (
        "".join(
            one.report.report_id for one in Storage(SQLITE, tmp_path).received_reports().read(since * DAY, until * DAY)
        )
        == names
    )


def test_old_ones_are_forgotten_with_all_that_they_said(tmp_path):
    assert Storage(SQLITE, tmp_path).received_reports().forget(9 * DAY) == 0
    for day in (1, 2, 3):
        Storage(SQLITE, tmp_path).received_reports().keep(kept(str(day), begin=day * DAY))
    assert Storage(SQLITE, tmp_path).received_reports().forget(3 * DAY) == 2
    assert [one.report.report_id for one in Storage(SQLITE, tmp_path).received_reports().read(0, 9 * DAY)] == ["3"]
    assert Storage(SQLITE, tmp_path).received_reports().keep(kept("1"))


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / RECEIVED.file).write_bytes(b"this is not a database" * 1000)
    with pytest.raises(StoreFailure, match=RECEIVED.file):
        list(Storage(SQLITE, tmp_path).received_reports().read(0, DAY))
    with pytest.raises(StoreFailure, match=RECEIVED.file):
        Storage(SQLITE, tmp_path).received_reports().keep(kept())


def test_a_file_of_other_tables(tmp_path):
    with contextlib.closing(apsw.Connection(str(tmp_path / RECEIVED.file))) as connection:
        connection.execute("CREATE TABLE report (something)")
    with pytest.raises(StoreFailure, match=RECEIVED.file):
        Storage(SQLITE, tmp_path).received_reports().keep(kept())


def test_a_file_of_an_earlier_version_goes_on(tmp_path):
    with contextlib.closing(apsw.Connection(str(tmp_path / RECEIVED.file))) as connection:
        connection.execute("""
            CREATE TABLE report (
                id INTEGER PRIMARY KEY, received REAL NOT NULL, source TEXT NOT NULL,
                organization TEXT NOT NULL COLLATE NOCASE, contact TEXT NOT NULL, report_id TEXT NOT NULL,
                begin REAL NOT NULL, finish REAL NOT NULL, left_out INTEGER NOT NULL, UNIQUE (organization, report_id)
            );
            CREATE INDEX by_begin ON report (begin);
            CREATE TABLE policy (
                report INTEGER NOT NULL REFERENCES report ON DELETE CASCADE, place INTEGER NOT NULL, type TEXT NOT NULL,
                domain TEXT NOT NULL, passed INTEGER NOT NULL, failed INTEGER NOT NULL, strings TEXT NOT NULL,
                mx_hosts TEXT NOT NULL, failures TEXT NOT NULL, PRIMARY KEY (report, place)
            ) WITHOUT ROWID;
            INSERT INTO report VALUES (7, 1, 'mail x', 'Google Inc.', 'c', 'a', 86400, 172800, 0);
            INSERT INTO policy VALUES (7, 0, 'sts', 'b.example', 1, 0, '[]', '[]', '[]');
        """)
    reports = Storage(SQLITE, tmp_path).received_reports()
    (one,) = reports.read(0, 9 * DAY)
    assert (one.report.organization, one.report.policies[0].domain) == ("Google Inc.", "b.example")
    assert reports.forget(9 * DAY) == 1
    assert list(reports.read(0, 9 * DAY)) == []
    reports.close()


def large(name, day, source="mail x", *, begin=DAY):
    """About 100 KB in the store."""
    policies = (ReceivedPolicy("sts", "contoso.example", 1, 0, ("x" * 1000,) * 100, ()),)
    report = ReceivedReport("Forger", "", name, begin, begin + DAY, policies, 0)
    return StoredReport(day * DAY, source, report)


def names(reports):
    return "".join(sorted(one.report.report_id for one in reports.read(0, 1e12)))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Room for sixteen times 250 KB."""
    monkeypatch.setattr("gatepost.store.sent_reports.MOST_OCTETS", 4_000_000)
    return lambda: Storage(SQLITE, tmp_path).received_reports()


def test_those_of_one_day_and_way_have_a_part_of_the_room(small):
    reports = small()
    for name in "ab":
        assert reports.keep(large(name, 20, "https x"))
    for fresh in (reports, small()):
        with pytest.raises(StoreFull, match="came by https today"):
            fresh.keep(large("c", 20.9, "https y"))
    assert reports.keep(large("d", 20))
    assert reports.keep(large("c", 21, "https y"))
    assert names(reports) == "abcd"


def test_where_all_room_is_taken_the_oldest_day_goes(small, monkeypatch):
    monkeypatch.setattr("gatepost.store.sent_reports._OF_A_DAY", 2)
    reports = small()
    for day in range(50):
        for number in range(3):
            assert reports.keep(large(f"{day:02}{number} ", day, begin=99999 * DAY))
    assert names(reports).split() == [f"{day:02}{number}" for day in range(37, 50) for number in range(3)]
    assert names(small()).split() == names(reports).split()


def test_room_that_was_taken_once_is_had_again(small, monkeypatch):
    monkeypatch.setattr("gatepost.store.sent_reports._OF_A_DAY", 1)
    reports = small()
    for number in range(39):
        assert reports.keep(large(str(number), 20))
    with pytest.raises(StoreFull):
        reports.keep(large("new", 20))
    assert reports.forget(21 * DAY) == 39
    assert reports.keep(large("new", 20))


def test_what_could_not_be_written_takes_no_room(small, monkeypatch):
    reports = small()
    assert reports.keep(large("a", 20))
    with monkeypatch.context() as patched:
        patched.setattr("gatepost.store.sent_reports._POLICY", "INSERT INTO nowhere VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        for _ in range(3):
            with pytest.raises(StoreFailure, match="nowhere"):
                reports.keep(large("b", 20))
    assert reports.keep(large("b", 20))
    assert names(reports) == "ab"


def test_one_about_a_time_to_come_is_forgotten_by_when_it_came(tmp_path):
    reports = Storage(SQLITE, tmp_path).received_reports()
    reports.keep(large("a", 20, begin=2_000_000 * DAY))
    assert (reports.forget(19 * DAY), names(reports)) == (0, "a")
    assert (reports.forget(21 * DAY), names(reports)) == (1, "")


def test_many_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("gatepost.store.sent_reports._CHUNK", 2)
    reports = Storage(SQLITE, tmp_path).received_reports()
    for name in "abcde":
        reports.keep(kept(name, policies=() if name == "c" else None))
    assert "".join(one.report.report_id for one in reports.read(0, 9 * DAY)) == "abcde"


def test_what_is_no_list_is_a_failure(tmp_path):
    reports = Storage(SQLITE, tmp_path).received_reports()
    reports.close()
    reports.keep(kept())
    with reports._database.changing() as change:
        change.execute("UPDATE received_policy SET strings = '{'")
    with pytest.raises(StoreFailure, match=RECEIVED.file):
        list(reports.read(0, 9 * DAY))
