from __future__ import annotations

import contextlib

import apsw
import pytest

from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.store.interface import StoreFailure
from gatepost.store.received_reports import RECEIVED_FILE, StoredReport, forget_reports, keep_report, read_reports

DAY = 86_400.0
FAILED = ReceivedFailure("certificate-expired", 3, "192.0.2.1", "mx1.contoso.example", "", "192.0.2.9", "x", "y")


def kept(name="1", organization="Google Inc.", begin=DAY, policies=None):
    policies = (ReceivedPolicy("sts", "contoso.example", 10, 3, ("mode: enforce",), ("*.contoso.example",), (FAILED,)),
                ReceivedPolicy("tlsa", "contoso.example", 5, 0)) if policies is None else policies  # fmt: skip
    return StoredReport(
        2.5, "mail x", ReceivedReport(organization, "a@b.example", name, begin, begin + DAY - 1, policies, 2)
    )


def test_what_is_kept_comes_back_once(tmp_path):
    assert list(read_reports(tmp_path, 0, 9 * DAY)) == []
    assert keep_report(tmp_path, kept())
    assert not keep_report(tmp_path, kept(begin=5 * DAY))
    assert not keep_report(tmp_path, kept(organization="GOOGLE INC."))
    assert keep_report(tmp_path, kept(organization="Microsoft Corporation", policies=()))
    assert list(read_reports(tmp_path, 0, 9 * DAY)) == [kept(), kept(organization="Microsoft Corporation", policies=())]
    assert (tmp_path / RECEIVED_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("since", "until", "names"),
    [(0, 9, "123"), (1.5, 1.6, "1"), (2, 9, "23"), (0, 2.5, "12"), (4.5, 9, ""), (0, 0.5, "")],
)  # fmt: skip
def test_by_the_time_they_are_about(tmp_path, since, until, names):
    for day in (3, 1, 2):
        keep_report(tmp_path, kept(str(day), begin=day * DAY))
    assert "".join(one.report.report_id for one in read_reports(tmp_path, since * DAY, until * DAY)) == names


def test_old_ones_are_forgotten_with_all_that_they_said(tmp_path):
    assert forget_reports(tmp_path, 9 * DAY) == 0
    for day in (1, 2, 3):
        keep_report(tmp_path, kept(str(day), begin=day * DAY))
    assert forget_reports(tmp_path, 3 * DAY) == 2
    assert [one.report.report_id for one in read_reports(tmp_path, 0, 9 * DAY)] == ["3"]
    assert keep_report(tmp_path, kept("1"))


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / RECEIVED_FILE).write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreFailure, match=RECEIVED_FILE):
        list(read_reports(tmp_path, 0, DAY))
    with pytest.raises(StoreFailure, match=RECEIVED_FILE):
        keep_report(tmp_path, kept())


def test_a_file_of_other_tables(tmp_path):
    with contextlib.closing(apsw.Connection(str(tmp_path / RECEIVED_FILE))) as connection:
        connection.execute("CREATE TABLE report (something)")
    with pytest.raises(StoreFailure, match=RECEIVED_FILE):
        keep_report(tmp_path, kept())
