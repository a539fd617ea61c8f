from __future__ import annotations

import re
import time
from contextlib import closing
from datetime import datetime, timedelta
from urllib.parse import urlencode

import pytest
from tests.unit.manage.pages.conftest import Centre

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.pages.time_zones import place_names
from gatepost.store.sqlite.trace import write_events
from gatepost.times import named_zone

KOLKATA = {"cookie": "gatepost_zone=Asia/Kolkata"}


def test_every_choice_is_a_zone():
    names = [name for name, _ in place_names()]
    assert names[0] == "UTC"
    assert {"Europe/Stockholm", "America/Argentina/Buenos_Aires"} <= set(names)
    assert all(named_zone(name) for name in names)


def test_who_names_no_zone_sees_that_of_the_settings(tmp_path):
    with closing(Centre(tmp_path, '[admin]\ntime_zone = "America/Denver"\n')) as centre:
        page = centre.get("/history")
    assert re.search(r'title="[\d-]{10} [\d:]{8}Z, [^"]*">[\d-]{10} [\d:]{8}-0[67]</time>', page.text)


@pytest.mark.parametrize("path", ["/audit", "/history"])
def test_a_page_shows_times_in_the_zone_of_the_browser(centre, path):
    page = centre.get(path, **KOLKATA)
    assert re.search(r'title="[\d-]{10} [\d:]{8}Z, [^"]*">[\d-]{10} [\d:]{8}\+05:30</time>', page.text)
    assert "cookie" in page.headers["vary"].lower()
    assert page.headers["cache-control"] == "no-store"


def test_times_of_a_form_are_of_the_zone_that_is_shown(centre):
    """What a person reads on the page finds the row again; files stay in UTC."""
    row = r'<a href="/audit/[^"]+"><time [^>]+>([\d-]{10} [\d:]{8})\+05:30<'
    newest = datetime.fromisoformat(re.search(row, centre.get("/audit", **KOLKATA).text)[1])
    within = f"/audit?since={newest:%FT%T}&until={newest + timedelta(minutes=1):%FT%T}"
    assert re.search(row, centre.get(within, **KOLKATA).text)
    assert "+05:30" not in (file := centre.get(f"{within}&format=csv", **KOLKATA)).text
    assert file.text.count("\n") > 1
    assert centre.get(f"{within}&format=csv").text.count("\n") == 1  # in UTC, this minute is another one


@pytest.mark.parametrize("zone", [{}, KOLKATA], ids=["UTC", "Kolkata"])
@pytest.mark.parametrize("path", ["/audit", "/quarantine", "/trace"])
def test_a_time_that_was_copied_from_a_page_finds_its_row(centre, quarantined, path, zone):
    """As it stands there, to the second or minute, both as the first and as the last time."""
    (message,) = quarantined(centre.gateway.data, {"contoso": ["ann@contoso.example"]})
    event = TraceEvent(time.time(), "SEND", message, "contoso", "outgoing", "s", "a@x.example", "b@y.example")
    write_events(centre.gateway.data / "trace", "0", [event])
    row = r'<t[hd] [^>]+>(?:<[^>]+>|\w)*\s*<time [^>]*(?:title="|>)([\d-]{10} [\d:]{8})(Z|\+05:30)'
    shown = re.search(row, centre.get(f"{path}?since=1h", **zone).text)
    for text in (shown[1], shown[1] + shown[2], shown[1][:-3]):
        page = centre.get(f"{path}?{urlencode({'since': text, 'until': text})}", **zone)
        assert (page.status, bool(re.search(row, page.text))) == (200, True), text


@pytest.mark.parametrize("path", ["/audit", "/quarantine", "/trace"])
def test_a_time_that_is_none_is_said(centre, path):
    assert "neither" in centre.get(f"{path}?since=yesterday", **KOLKATA).words
