from __future__ import annotations

import re

import pytest

from gatepost.manage.access.records import Actor
from gatepost.manage.pages import paging
from gatepost.manage.use_cases.audit import list_audit
from gatepost.manage.use_cases.client import LocalClient

_SUBJECT = re.compile(r'data-label="Subject"><span class="any">(of-\d+)')


@pytest.fixture
def told(centre):
    """Audit events of which the oldest has the greatest subject; the last one is of another organization."""
    for number in range(59, -1, -1):
        organization = "contoso" if number else "fabrikam"
        centre.accounts.record(Actor("kim"), "queue-drop", organization=organization, subject=f"of-{number:02d}")
    return centre


def subjects(centre, query, who="owner"):
    return _SUBJECT.findall(centre.get(f"/audit?action=queue-drop{query}", who).text)


def test_rows_of_a_store_are_sorted_page_by_page(told):
    first, second = subjects(told, "&sort=subject"), subjects(told, "&sort=subject&page=2")
    assert first + second == [f"of-{number:02d}" for number in range(60)]
    assert len(first) == 50
    page = told.get("/audit?action=queue-drop&sort=subject")
    assert "1 to 50 of 60 events" in page.words
    assert "Sorted" not in page.words.partition("of 60 events")[2].partition("CSV")[0]
    assert subjects(told, "&sort=time")[0] == "of-59", "the oldest first"
    assert subjects(told, "&sort=-time") == subjects(told, "")


def test_what_is_sorted_is_bounded_and_said(told, monkeypatch):
    monkeypatch.setattr(paging, "HELD", 10)
    page = told.get("/audit?action=queue-drop&sort=-subject")
    assert _SUBJECT.findall(page.text) == [f"of-{number:02d}" for number in range(9, -1, -1)], "of the newest"
    assert "Sorted: the newest 10 events that match. Filter to sort others." in page.words


def test_no_more_is_read_than_is_sorted(told, monkeypatch):
    read = []
    call = LocalClient.call

    def counted(self, case, request, *args, **more):
        if case is list_audit:
            read.append(request.limit)
        return call(self, case, request, *args, **more)

    monkeypatch.setattr(LocalClient, "call", counted)
    monkeypatch.setattr(paging, "HELD", 10)
    told.get("/audit?sort=user")
    assert sum(read) <= 11


def test_a_tenant_sorts_what_it_sees(told):
    assert subjects(told, "&sort=subject", "tenant") == ["of-00"]


def test_a_cursor_is_no_matter_to_an_order(told):
    assert subjects(told, "&sort=subject&before=nonsense")[0] == "of-00"
