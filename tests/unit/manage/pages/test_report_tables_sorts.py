from __future__ import annotations

import re
import time
from contextlib import closing

import pytest

from gatepost.analysis.reports.pictures import Blocked, DayResult, HeatRow, PictureCounter, Sums
from gatepost.analysis.reports.tls import Direction, Ready
from gatepost.manage.pages.report_tables import ordered, report_order
from gatepost.manage.use_cases.jobs import BackgroundResult
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.values import replace

from .conftest import Centre

NAMES = ("b.example", "c.example", "a.example")
DAYS = (DayResult.NO_MAIL, DayResult.CLEARTEXT, DayResult.VERIFIED)  # of the first day
COUNTED = (("b.example", 3), ("c.example", 2), ("a.example", 1))
_HEADING = re.compile(r'<a class="sort" href="[^"]*sort=(-?[a-z-]+\.[a-z0-9-]+)')
_ROW = re.compile(r'<th scope="row"[^>]*>(.*?)(?:<br>|</th>|<td)', re.DOTALL)


def sums(name, count):
    return Sums(name, Direction.OUTBOUND, (count, 0, 0, 0, count), count, 0, ())


PICTURES = {
    "partners": tuple(sums(*pair) for pair in COUNTED),
    "connectors": tuple(sums(*pair) for pair in COUNTED),
    "blocked": tuple(Blocked(name, (), count, 0, (), "2026-11-24") for name, count in COUNTED),
    "ready": tuple(Ready(name, inbound=False, messages=10, demand="x", names=()) for name in NAMES),
    "never_tls": COUNTED,
    "heat": {
        direction: tuple(
            HeatRow(name, count, (worst, *[DayResult.VERIFIED] * 400))
            for (name, count), worst in zip(COUNTED, DAYS, strict=True)
        )
        for direction in Direction
    },
}  # fmt: skip


class Counts:
    """In place of what counts the trace."""

    def __init__(self, kind):
        self.kind = kind

    def of(self, user, question, wait):
        counter = PictureCounter(question.wanted, question.first, question.last)
        counter.add(question.last, {self.kind: 1})
        return BackgroundResult(replace(counter.pictures(), **PICTURES), time.time(), renewing=False)


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    with closing(Centre(tmp_path_factory.mktemp("sorts"))) as made:
        yield made


@pytest.fixture
def reports(centre, hop_kind):
    centre.gateway.instances._made[ReportCounts] = Counts(hop_kind())
    return centre


def names(answer):
    return [name for row in _ROW.findall(answer.text) if (name := re.sub(r"<[^>]+>", "", row).strip()) in NAMES]


@pytest.mark.parametrize(
    ("page", "sort", "begins"),
    [
        ("connectors", "connectors.name", sorted(NAMES)),
        ("connectors", "-connectors.carried", list(NAMES)),
        ("connectors", "connectors.cleartext", [*NAMES[::-1]]),
        ("blocked", "blocked.domain", sorted(NAMES)),
        ("blocked", "-blocked.attempts", list(NAMES)),
        ("partners", "never-tls.messages", [*NAMES[::-1]]),
        ("partners", "-ready.partner", [*NAMES, *sorted(NAMES, reverse=True), *NAMES]),
        ("domains", "heat.name", sorted(NAMES)),
        ("domains", "-heat.carried", list(NAMES)),
        ("domains", "heat.0", ["c.example", "a.example", "b.example"]),
        ("domains", "-heat.0", ["a.example", "c.example", "b.example"]),
        ("domains", "heat.1", list(NAMES)),
        ("domains", "heat.30", list(NAMES)),
        ("domains", "heat.31", list(NAMES)),
        ("connectors", "blocked.domain", list(NAMES)),
        ("connectors", "nonsense", list(NAMES)),
        ("connectors", "connectors.", list(NAMES)),
    ],
)
def test_one_table_is_sorted_and_the_others_stay(reports, page, sort, begins):
    assert names(reports.get(f"/reports/{page}?sort={sort}"))[: len(begins)] == begins


@pytest.mark.parametrize("page", ["connectors", "domains", "blocked", "partners", "incoming", "tls-rpt", "evidence"])
def test_each_heading_leads_to_an_order_that_there_is(reports, page):
    keys = _HEADING.findall(reports.get(f"/reports/{page}").text)
    assert keys or page in {"incoming", "tls-rpt", "evidence"}
    for key in keys:
        assert report_order(key) == key
        assert 'aria-sort="ascending"' in reports.get(f"/reports/{page}?sort={key}").text


def test_a_sum_without_mail_has_no_share_and_comes_last():
    none, some = sums("a", 0), sums("b", 1)
    assert [row.name for row in ordered("partners.share", "partners", [none, some])] == ["b", "a"]
    assert ordered("", "blocked", [2, 1]) == [2, 1]
