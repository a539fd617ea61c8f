from __future__ import annotations

import re

import pytest

from gatepost.manage.access.actions import LABELS
from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.manage.pages.audit import _text

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def told(centre):
    """An audit event of each organization and one of the gateway, beside what the fixtures did."""
    by = Actor("kim", "192.0.2.7")
    for organization in ("contoso", "fabrikam", ""):
        detail = {"reason": f"kanarie {organization} {SCRIPT}", "before": {"a": 1}, "after": {"a": SCRIPT, "b": 2}}
        centre.accounts.record(by, "queue-drop", organization=organization, subject=f"of-{organization}", detail=detail)
    return centre


def numbers(centre, who="owner"):
    return {row["subject"]: row["event"] for row in centre.get("/audit?format=json&action=queue+drop", who).json}


def test_everybody_sees_what_was_done_to_theirs(told):
    assert set(numbers(told)) == {"of-contoso", "of-fabrikam", "of-"}
    assert set(numbers(told, "tenant")) == {"of-fabrikam"}
    page = told.get("/audit", "tenant")
    assert ("of-fabrikam" in page.text, "of-contoso" in page.text) == (True, False)
    assert told.get("/audit?organization=contoso&format=json", "tenant").json == []


def test_a_deed_with_what_was_before_and_after(told):
    number = numbers(told)["of-contoso"]
    page = told.get(f"/audit/events/{number}")
    assert page.status == 200
    assert "kanarie contoso" in page.words
    assert ">Drop mail</h1>" in page.text
    assert "queue-drop" in page.words
    assert SCRIPT not in page.text
    assert told.get(f"/audit/events/{number}?format=json").json["subject"] == "of-contoso"
    for form in ("", "?format=json"):
        assert told.get(f"/audit/events/{number}{form}", "tenant").status == 404


def test_an_action_that_was_killed_is_shown_without_an_outcome(told):
    number = told.accounts.record(Actor("kim"), "srs-rotate", outcome=AuditOutcome.BEGUN, subject="keys")
    assert "Outcome unknown" in told.get("/audit?outcome=begun").words
    assert "its outcome was not recorded" in told.get(f"/audit/events/{number}").words
    assert told.get(f"/audit/events/{number}?format=json").json["outcome"] == "begun"
    assert "its outcome was not recorded" not in told.get(f"/audit/events/{numbers(told)['of-contoso']}").words


@pytest.mark.parametrize("number", ["0", "-1", "x", "²", "9" * 18, "9" * 19, "9" * 5000, "1e3", ""])
@pytest.mark.parametrize("what", ["events", "versions"])
def test_what_is_not_there(told, what, number):
    assert told.get(f"/audit/{what}/{number}").status == 404


def test_a_version_for_who_sees_what_it_changed(told):
    page = told.get("/audit/versions/1")
    assert (page.status, "bank-out" in page.text) == (200, True)
    tenant = told.get("/audit/versions/1", "tenant")
    assert "bank-out" not in tenant.text


# query -> status of the page
QUERIES = [
    ("since=1h&until=2100-01-01", 200),
    ("since=yesterday", 422),
    ("until=x", 422),
    ("outcome=odd", 422),
    ("outcome=refused", 200),
    ("who=" + "a" * 500, 200),
    ("who=" + "a" * 5000, 422),
    ("action=%00", 422),
    ("since=0001-01-01&until=9999-12-31", 200),
]


@pytest.mark.parametrize("before", ["1-1", "9" * 40, "x"])
def test_where_no_page_begins(told, before):
    page = told.get(f"/audit?before={before}")
    assert (page.status, "is not a cursor of this list" in page.text) == (422, True)


@pytest.mark.parametrize(("query", "status"), QUERIES)
def test_whatever_is_asked_is_answered(told, query, status):
    for form in ("", "&format=json", "&format=csv"):
        assert told.get(f"/audit?{query}{form}").status == status


def test_pages_follow_each_other_and_none_is_twice(told, monkeypatch):
    monkeypatch.setattr("gatepost.manage.pages.audit._SIZE", 2)
    seen, address = [], "/audit"
    for _ in range(20):
        page = told.get(address)
        seen += re.findall(r'href="(/audit/(?:events|versions)/\d+)[^"]*"', page.text)
        following = re.search(r'rel="next" href="([^"]*)"', page.text)
        if following is None:
            break
        address = following[1]
    assert len(seen) == len(set(seen)) == len(told.get("/audit?format=json").json)


def test_a_file_for_a_spreadsheet_computes_nothing(centre):
    centre.accounts.record(Actor("=1+1", ""), "queue-drop", subject="@SUM(A1)")
    lines = centre.get("/audit?format=csv").text
    assert ",=1+1" not in lines
    assert ",@SUM" not in lines


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a", "a"), (1, "1"), ({"a": [1]}, '{"a":[1]}'), (None, "null"), ("a" * 501, "a" * 500 + "…")],
)
def test_a_value_as_text(value, shown):
    assert _text(value) == shown


def test_every_action_can_be_chosen_and_by_its_former_name_too(told):
    page = told.get("/audit?action=queue+drop")
    assert re.findall(r'<option value="([a-z-]+)"(?: selected)?>([^<]+)</option>', page.text)[: len(LABELS)] == [
        *LABELS.items()
    ]
    assert '<option value="queue-drop" selected>Drop mail<' in page.text
    assert "queue drop" not in page.text
    assert [row["action"] for row in told.get("/audit?format=json&action=queue+drop").json] == ["queue-drop"] * 3
