from __future__ import annotations

import time

import pytest

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, Alarm, AlarmStatus, Memory, Severity, encoded
from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.manage.pages.overview import LEVELS


@pytest.fixture
def keep(centre):
    def kept(count, looked=None):
        words = ("", "Title", "=1+1", "Do <it>.")
        alarms = [Alarm(AlarmKind.PARTNER_FAILING, Severity.ERROR, *words, f"contoso/{at}") for at in range(count)]
        standing = tuple(AlarmStatus(one, 1) for one in alarms)
        memory = Memory(looked=looked or time.time(), standing=standing)
        with centre.gateway.config() as store:
            store.apply({}, author="test", content={ALARMS_CONTENT: encoded(memory)})
        return centre

    return kept


def test_every_severity_has_a_look():
    assert set(LEVELS) == set(Severity)


def test_nothing_is_wrong_or_nobody_looked(centre, keep):
    assert centre.get("/alarms").status == 200
    assert centre.get("/alarms?format=json").json == []
    assert keep(0).get("/alarms").status == 200


def test_a_page_has_so_many_and_a_file_has_all(keep):
    centre = keep(250)
    page = centre.get("/alarms")
    assert page.status == 200
    assert "250" in page.words
    assert page.text.count("Do &lt;it&gt;.") == 200
    assert len(page.text) < 400_000
    assert len(centre.get("/alarms?format=json").json) == 250


def test_a_file_for_a_spreadsheet_computes_nothing(keep):
    text = keep(1).get("/alarms?format=csv").text
    assert text.startswith("severity,kind,about,certificate,title,detail,fix,since")
    assert ",=1+1" not in text
