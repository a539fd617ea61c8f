from __future__ import annotations

import pytest

from gatepost.analysis.reports.pictures import Blocked, PictureCounter
from gatepost.analysis.reports.tls import Direction, Protection, Ready, Wanted
from gatepost.manage.pages.report_charts import ReportView, by_protection
from gatepost.manage.pages.report_tables import TABLES, ReportTable, chart_table
from gatepost.manage.use_cases.reports import Period
from gatepost.values import replace

DAYS = Period("2026-11-23", "2026-11-24")
VIEW = ReportView(DAYS, "", DAYS.last)
CLEAR = {"achieved": "none", "tls_version": "", "tls_group": ""}
IN = {"event": "RECEIVE", "direction": "incoming", "achieved": "encrypted"}


@pytest.fixture
def counted(hop_kind):
    """counted({day: {kind: rows}}): the pictures."""

    def count(days):
        counter = PictureCounter(Wanted(), *DAYS)
        for day, kinds in days.items():
            counter.add(day, {hop_kind(**dict(fields)): rows for fields, rows in kinds})
        return counter.pictures()

    return count


def records(name, pictures, view=VIEW):
    return list(TABLES[name](pictures, view).records())


@pytest.mark.parametrize("name", TABLES)
def test_without_mail_a_table_has_its_columns(counted, name):
    table = TABLES[name](counted({}), VIEW)
    rows = list(table.rows)
    assert len(set(table.columns)) == len(table.columns) > 1
    assert not [row for row in rows if any(isinstance(cell, int) and cell for cell in row)]
    assert all("" not in (column, column.strip()) for column in table.columns)


def test_a_row_of_another_length_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="zip"):
        list(ReportTable(("a", "b"), [(1,)]).records())


def test_a_chart_has_a_row_for_each_part_of_the_time(counted):
    pictures = counted({DAYS.last: [({}, 3), (CLEAR, 10**12)]})
    table = chart_table(by_protection(pictures, VIEW, Direction.OUTBOUND))
    assert list(table.records()) == [
        dict(first=day, last=day, dane=0, **{"mta-sts": 0}, verified_name=0, encrypted_only=encrypted, cleartext=clear)
        for day, encrypted, clear in ((DAYS.first, 0, 0), (DAYS.last, 3, 10**12))
    ]


def test_partners_and_connectors(counted):
    failed = {"event": "DEFER", "result_type": "certificate-expired"}
    pictures = counted({DAYS.first: [({}, 4), (CLEAR, 1), (failed, 2), (failed | {"result_type": "b"}, 1)]})
    (row,) = records("partners", pictures)
    assert (row["partner"], row["direction"], row["carried"], row["cleartext"]) == ("lab.example", "outbound", 5, 1)
    assert (row["post_quantum"], row["tls_failures"], row["failures"]) == (4, 3, "certificate-expired 2; b 1")
    assert [row[one.value.replace("-", "_")] for one in Protection] == [0, 0, 0, 4, 1]
    (row,) = records("connectors", pictures)
    assert (row["connector"], row["carried"]) == ("", 5)


def test_who_was_in_clear_and_the_worst_of_each_day(counted):
    pictures = counted({DAYS.first: [({}, 4)], DAYS.last: [(CLEAR, 2), (IN | CLEAR, 7)]})
    assert records("cleartext", pictures) == [
        {"partner": "lab.example", "direction": "inbound", "cleartext": 7, "carried": 7},
        {"partner": "lab.example", "direction": "outbound", "cleartext": 2, "carried": 6},
    ]
    (row,) = records("heat-outbound", pictures)
    assert row == {"partner": "lab.example", "carried": 6, DAYS.first: "encrypted", DAYS.last: "cleartext"}
    (row,) = records("heat-inbound", pictures)
    assert (row[DAYS.first], row[DAYS.last]) == ("no-mail", "cleartext")


def test_what_was_blocked_never_had_tls_or_is_ready(counted):
    blocked = Blocked("b.example", ("dane", "connector:x"), 9, 2, (("a", 7), ("b", 2)), DAYS.last)
    nobody = Blocked("c.example", (), 1, 0, (), DAYS.first)
    ready = (
        Ready("i.example", inbound=True, messages=3, demand="require_tls"),
        Ready("o.example", inbound=False, messages=4, demand="domain-validation", names=("mx1", "mx2")),
    )
    pictures = replace(counted({}), blocked=(blocked, nobody), never_tls=(("n.example", 5),), ready=ready)
    first, second = records("blocked", pictures)
    assert first == {
        "domain": "b.example", "demanded_by": "dane; connector:x", "attempts": 9, "returned": 2,
        "distinct_errors": 2, "errors": "a 7; b 2", "last_day": DAYS.last,
    }  # fmt: skip
    assert (second["demanded_by"], second["errors"], second["distinct_errors"]) == ("", "", 0)
    assert records("never-tls", pictures) == [{"partner": "n.example", "messages": 5}]
    assert [(one["direction"], one["demand"], one["names"]) for one in records("ready", pictures)] == [
        ("inbound", "require_tls", ""),
        ("outbound", "domain-validation", "mx1; mx2"),
    ]


def test_suites_are_those_of_what_came_the_most_used_first(counted):
    pictures = counted({DAYS.first: [(IN | {"suite": "A"}, 1), (IN | {"suite": "B"}, 5), ({"suite": "C"}, 9)]})
    assert records("suites", pictures) == [{"suite": "B", "rows": 5}, {"suite": "A", "rows": 1}]


def test_a_long_time_is_told_in_parts(hop_kind):
    days = Period("2025-11-01", "2026-11-24")
    counter = PictureCounter(Wanted(), *days)
    counter.add("2026-11-24", {hop_kind(): 2})
    rows = records("outbound", counter.pictures(), ReportView(days, "", days.last))
    assert (rows[0]["first"], rows[-1]["last"]) == days
    assert (rows[-1]["encrypted_only"], sum(row["encrypted_only"] for row in rows)) == (2, 2)
