"""A chart is a file of its own: what is looked at is what a reader of the file finds in it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from gatepost.analysis.reports.pictures import span
from gatepost.analysis.reports.tls import Direction, TlsCounter, Wanted
from gatepost.manage.cli.chart import chart_of
from gatepost.manage.cli.output import speak
from gatepost.manage.pages.report_charts import PROTECTIONS

DAY = "2026-11-24"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report(hop_kind):
    """report("2026-11-24", "2026-11-25", 5): so much mail on each day."""

    def build(first=DAY, last=DAY, count=1):
        counter = TlsCounter(Wanted())
        for day in span(first, last) if count else ():
            counter.add(day, {hop_kind(): count, hop_kind(event="RECEIVE", direction="incoming"): 1})
        return counter.report(first, last)

    return build


def texts(drawn):
    return [one.text for one in ET.fromstring(drawn).iter(f"{SVG}text")]  # noqa: S314 - we have just made it


def dates(drawn):
    """The days that are named below the columns, of both directions."""
    return [one for one in texts(drawn) if one[:4] in {"2026", "2027"}]


def test_both_directions_and_every_protection_are_named(report):
    found = texts(chart_of(report()))
    assert found[0] == "Mail by protection, 2026-11-24 to 2026-11-24 (UTC)"
    assert found[1:6] == [name for name, _ in PROTECTIONS.values()]
    assert {f"{one}: messages by recipient" for one in Direction} <= set(found)


def test_a_picture_of_the_same_is_the_same_file_and_whole(report):
    first = chart_of(report())
    assert first == chart_of(report())
    assert first.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    tones = {one.get("class") for one in ET.fromstring(first).iter(f"{SVG}rect")} - {None}  # noqa: S314 - as above
    assert all(f".{tone}{{fill:#" in first for tone in tones), "it needs no style sheet beside it"


@pytest.mark.parametrize(("last", "count"), [(DAY, 0), ("2026-11-30", 0), (DAY, 10**12), ("2027-12-28", 3)])
def test_no_mail_very_much_of_it_and_a_long_time(report, last, count):
    whole = span(DAY, last)
    assert dates(chart_of(report(DAY, last, count))) == whole[:: -(-len(whole) // 8)] * 2, (
        "eight days are named at most"
    )


def test_a_day_without_mail_has_its_place(hop_kind):
    """Else the days before and after a weekend would stand side by side."""
    counter = TlsCounter(Wanted())
    for day in ("2026-11-20", "2026-11-23"):
        counter.add(day, {hop_kind(): 1})
    assert dates(chart_of(counter.report("2026-11-20", DAY))) == span("2026-11-20", DAY) * 2


def test_it_is_in_the_language_of_the_terminal(report, monkeypatch):
    monkeypatch.delenv("LANGUAGE", raising=False)
    drawn = {}
    for locale in ("C", "sv_SE.UTF-8", "de_DE.UTF-8"):
        monkeypatch.setenv("LC_ALL", locale)
        speak()
        drawn[locale] = texts(chart_of(report()))
    assert drawn["sv_SE.UTF-8"][0] == "E-post efter skydd, 2026-11-24 till 2026-11-24 (UTC)"
    assert drawn["de_DE.UTF-8"][5] == "Unverschlüsselt"
    english = {one for one in drawn["C"] if one.isalpha() or ": " in one} - {"DANE"}
    assert english & {*drawn["sv_SE.UTF-8"], *drawn["de_DE.UTF-8"]} == set()
