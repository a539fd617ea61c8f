"""Proves the documents in the admin centre: help leads to the page about a page, a search finds, pictures are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from support.admin import AdminCentre, served
from support.browser import look
from support.gateway import Gateway
from support.scenes import contoso

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def centre(gateway: Callable[..., Gateway]) -> AdminCentre:
    return served(gateway, contoso())


def test_help_leads_to_the_page_about_a_page(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/doctor")
    page.get_by_role("link", name="Help about this page").click()
    page.get_by_role("heading", name="Doctor: what is wrong, and what to do next").wait_for()
    look(page, "documents-page")
    page.get_by_label("Search the documentation").fill("overview")
    page.get_by_role("button", name="Search").click()
    page.get_by_text("sections").wait_for()
    look(page, "documents-search")
    page.goto(f"{centre.url}/docs/admin-centre")
    shown = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert shown
    assert all(shown)


def test_tables_of_documents_fit_a_telephone(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page, "/docs/monitoring")
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("monitoring", "settings", "reply-codes"):
        page.goto(f"{centre.url}/docs/{name}")
        wide = "wraps => wraps.map((wrap) => wrap.scrollWidth - wrap.clientWidth).filter((pixels) => pixels > 0)"
        assert page.locator("main .table-wrap").evaluate_all(wide) == [], name
        assert page.locator("main td").first.evaluate("cell => getComputedStyle(cell, '::before').content") != '""'
