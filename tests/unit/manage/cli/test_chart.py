"""Charts are drawn by matplotlib: what is looked at is what a reader of the file finds in it."""

from __future__ import annotations

import sys
from xml.etree import ElementTree as ET

import pytest

from gatepost.analysis.reports.pictures import span
from gatepost.analysis.reports.tls import Protection, TlsCounter, Wanted
from gatepost.manage.cli.chart import draw

pytest.importorskip("matplotlib")

DAY = "2026-11-24"


@pytest.fixture(scope="module")
def report(hop_kind):
    """report("2026-11-24", "2026-11-25", 5): so much mail on each day."""

    def build(first=DAY, last=DAY, count=1):
        counter = TlsCounter(Wanted())
        for day in span(first, last) if count else ():
            counter.add(day, {hop_kind(): count, hop_kind(event="RECEIVE", direction="incoming"): 1})
        return counter.report(first, last)

    return build


def words(path):
    """The comments that matplotlib sets before each text that it draws as outlines."""
    parser = ET.XMLPullParser(["comment"])
    parser.feed(path.read_text(encoding="utf-8"))
    return [(comment.text or "").strip() for _, comment in parser.read_events()]


def test_both_directions_and_every_protection_are_named(report, tmp_path):
    path = tmp_path / "chart.svg"
    draw(report(), path)
    found = words(path)
    assert "Mail by protection, 2026-11-24 to 2026-11-24 (UTC)" in found
    assert {"inbound", "outbound", DAY, *map(str, Protection)} <= set(found)
    legend = [one for one in found if one in set(Protection)]
    assert legend == list(Protection), "the best on top, as in the bars"


def test_a_picture_of_the_same_is_the_same_file(report, tmp_path):
    for suffix in ("svg", "png"):
        twice = [tmp_path / f"{name}.{suffix}" for name in ("a", "b")]
        for path in twice:
            draw(report(), path)
        first, second = (path.read_bytes() for path in twice)
        assert first.startswith(b"<?xml" if suffix == "svg" else b"\x89PNG")
        assert first == second


def dates(path):
    """The days that are named below the bars."""
    return [one for one in words(path) if one[:4] in {"2026", "2027"}]


@pytest.mark.parametrize(("last", "count"), [(DAY, 0), ("2026-11-30", 0), (DAY, 10**12), ("2027-12-28", 3)])
def test_no_mail_very_much_of_it_and_a_long_time(report, tmp_path, last, count):
    path = tmp_path / "chart.svg"
    draw(report(DAY, last, count), path)
    whole = span(DAY, last)
    assert dates(path) == whole[:: -(-len(whole) // 10)], "ten days are named at most"


def test_a_day_without_mail_has_its_place(hop_kind, tmp_path):
    """Else the days before and after a weekend would stand side by side."""
    counter = TlsCounter(Wanted())
    for day in ("2026-11-20", "2026-11-23"):
        counter.add(day, {hop_kind(): 1})
    draw(counter.report("2026-11-20", DAY), tmp_path / "chart.svg")
    assert dates(tmp_path / "chart.svg") == span("2026-11-20", DAY)


def test_without_the_extra_it_says_so_by_its_kind(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError):
        draw(report(), tmp_path / "chart.svg")
    assert list(tmp_path.iterdir()) == []


def test_where_it_cannot_be_written(report, tmp_path):
    with pytest.raises(OSError, match="missing"):
        draw(report(), tmp_path / "missing" / "chart.png")
