from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost.analysis.reports.pictures import PictureCounter, TlsPictures
from gatepost.analysis.reports.tls import Direction, Wanted
from gatepost.language import in_language
from gatepost.manage.pages import report_charts, report_tables
from gatepost.manage.pages.report_charts import ReportView
from gatepost.manage.use_cases.reports import Period
from gatepost.store.trace import HopKind

DAYS = Period("2025-11-23", "2025-11-24")
VIEW = ReportView(DAYS, "", DAYS.last)


CLEAR = {"achieved": "none", "tls_version": "", "tls_group": ""}
IN = {"event": "RECEIVE", "direction": "incoming", "achieved": "encrypted"}


@pytest.fixture
def pictures(hop_kind: Callable[..., HopKind]) -> TlsPictures:
    kind = hop_kind
    counter = PictureCounter(Wanted(), *DAYS)
    groups = ["X25519", "prime256v1", "secp384r1", "secp521r1"]
    counter.add(DAYS.first, {kind(): 5, kind(**CLEAR): 2, kind(**IN, tls_version="TLSv1.2"): 4})
    counter.add(DAYS.last, {kind(tls_group=name): at + 1 for at, name in enumerate(groups)} | {kind(**(IN | CLEAR)): 3})
    return counter.pictures()


def columns(chart: report_charts.Chart) -> dict[str, tuple[int, ...]]:
    return {one.name: one.values for one in chart.columns}


def test_days_are_in_the_language_of_the_page() -> None:
    (week, *_) = ReportView(Period("2025-05-09", "2025-08-31"), "", "2025-08-31").parts
    (day,) = ReportView(Period("2025-12-01", "2025-12-01"), "", "2025-12-01").parts
    assert (week.label, week.title, day.label) == ("9 May", "2025-05-09 to 2025-05-15", "1 Dec")
    with in_language("de"):
        assert (week.label, week.title, day.label) == ("9. Mai", "2025-05-09 bis 2025-05-15", "1. Dez.")
    with in_language("sv"):
        assert (week.label, week.title, day.label) == ("9 maj", "2025-05-09 till 2025-05-15", "1 dec.")


def test_protection(pictures: TlsPictures) -> None:
    chart = report_charts.by_protection(pictures, VIEW, Direction.OUTBOUND)
    assert columns(chart) == {
        "DANE": (0, 0), "MTA-STS": (0, 0), "Verified name": (0, 0), "Encrypted only": (5, 10), "Unencrypted": (2, 0)
    }  # fmt: skip
    clear = chart.columns[-1]
    assert clear.tone == "fail"
    assert "protection=cleartext" in clear.links[0]
    assert clear.links[1] == "", "nothing leads nowhere"
    assert chart.share(clear) == 2 / 17
    assert list(columns(report_charts.by_protection(pictures, VIEW, Direction.INBOUND))) == [
        "Verified name", "Encrypted only", "Unencrypted"
    ]  # fmt: skip


def test_versions_and_certificates(pictures: TlsPictures) -> None:
    assert columns(report_charts.by_version(pictures, VIEW)) == {"TLSv1.2": (4, 0), "Unencrypted": (0, 3)}
    found = columns(report_charts.by_certificate(pictures, VIEW))
    assert (found["No certificate"], found["Unencrypted"]) == ((4, 0), (0, 3))


def test_key_exchange(pictures: TlsPictures) -> None:
    chart = report_charts.by_group(pictures, VIEW, Direction.OUTBOUND)
    assert columns(chart) == {
        "X25519MLKEM768": (5, 0), "secp521r1": (0, 4), "secp384r1": (0, 3), "Others (2)": (0, 3),
        "None (unencrypted)": (2, 0),
    }  # fmt: skip
    assert chart.columns[-1].tone == "fail"
    assert "tls_group=X25519MLKEM768" in chart.columns[0].links[0]


def test_charts_are_sums_of_all(pictures: TlsPictures) -> None:
    for direction in Direction:
        carried = pictures.hops[direction].carried
        assert report_charts.by_group(pictures, VIEW, direction).total == carried
        assert report_charts.by_protection(pictures, VIEW, direction).total == carried
    assert report_charts.by_version(pictures, VIEW).total == report_charts.by_certificate(pictures, VIEW).total == 7


@pytest.mark.parametrize("name", report_tables.TABLES)
def test_tables_have_a_cell_for_each_column(pictures: TlsPictures, name: str) -> None:
    table = report_tables.TABLES[name](pictures, VIEW)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert len(list(table.records())) == len(list(table.rows))


def test_a_bar_of_a_connector(pictures: TlsPictures) -> None:
    drawn = report_charts.share_bar(pictures.connectors[0])
    assert 'aria-label="Encrypted only 15, Unencrypted 2"' in drawn
