"""Proves that the admin centre can be read and used in the languages it offers: nothing sticks out, axe is content."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.admin import OWNER, PASSWORD, AdminCentre
from support.admin_scenes import centre_with_waiting_mail
from support.browser import COLOUR_RULES, PHONE, axe, context, overflow, shot
from support.debian import need

from gatepost.manage.pages.navigation import NAVIGATION
from gatepost.testing.pki import Pki

LANGUAGES = {"sv": ("sv-SE", "Logga in", "Kö"), "de": ("de-DE", "Anmelden", "Warteschlange")}
NARROW = {"width": 1024, "height": 768}
PORTRAIT, LANDSCAPE = 688, 1016  # pixels of A4 between margins of 1.4 cm
LISTS = [entry.path for group in NAVIGATION for entry in group.entries]
FORMS = [
    "/connectors/contoso/outbound/bank",
    "/connectors/new",
    "/queue/destinations",
    "/reports/partners",
    "/reports/tls-rpt",
    "/certificates/add",
    "/certificates/requests",
    "/quickstart",
    "/account",
    "/tokens/-/add",
    "/users/-/add",
]


@pytest.fixture(scope="module")
def centre(pki: Pki) -> Iterator[AdminCentre]:
    need("chromium")
    with centre_with_waiting_mail(pki) as made:
        yield made


def entered(centre: AdminCentre, opened: BrowserContext, button: str) -> Page:
    """A page of the owner, who logs in with the words of the browser's language."""
    page = opened.new_page()
    page.goto(f"{centre.url}/login")
    page.locator('input[name="name"]').fill(OWNER)
    page.locator('input[name="password"]').fill(PASSWORD)
    page.get_by_role("button", name=button).click()
    page.wait_for_url(f"{centre.url}/")
    return page


def wide(page: Page) -> list[str]:
    """What sticks out."""
    script = """[...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right
        > document.documentElement.clientWidth).map((one) => one.outerHTML.slice(0, 120))"""
    return list(page.evaluate(script))[:8]


def cut(page: Page) -> list[str]:
    """What the navigation has no room for."""
    script = """[...document.querySelectorAll("nav.side a")].filter((one) => one.offsetParent
        && one.scrollWidth > one.clientWidth).map((one) => one.textContent.trim())"""
    return list(page.evaluate(script))


def fits_on_paper(page: Page) -> None:
    """Printed on A4, upright, or across where a list has many columns, nothing is beyond the margin."""
    page.emulate_media(media="print")
    across = page.locator(".stacked th:nth-child(7)").count() > 0
    page.set_viewport_size({"width": LANDSCAPE if across else PORTRAIT, "height": 900})
    assert overflow(page) == 0, f"{page.url} is too wide for paper: {wide(page)}"
    page.emulate_media(media="screen")


def read(centre: AdminCentre, page: Page, language: str, paths: list[str]) -> None:
    """Open each page at 1024 pixels, on a telephone and on paper."""
    for path in paths:
        page.set_viewport_size(NARROW)  # with the navigation open, which a script does as the page is loaded
        response = page.goto(f"{centre.url}{path}")
        assert response is not None
        assert response.status == 200, path
        assert page.locator("html").get_attribute("lang") == language, path
        for size in (NARROW, PHONE):
            page.set_viewport_size(size)
            assert cut(page) == [], f"the navigation has no room at {size['width']} pixels"
            assert overflow(page) == 0, f"{path} must be scrolled sideways at {size['width']} pixels: {wide(page)}"
        fits_on_paper(page)
        axe(page, but=COLOUR_RULES)  # those are the same in each language
        shot(page, f"{language}{path.replace('/', '-')}")


@pytest.mark.short
def test_main_pages_fit_and_are_accessible(centre: AdminCentre, browser: Browser) -> None:
    """In German, which has the longer words."""
    locale, button, queue = LANGUAGES["de"]
    with context(browser, locale=locale) as (opened, _):
        page = entered(centre, opened, button)
        page.get_by_role("link", name=queue, exact=True).first.wait_for()
        read(centre, page, "de", ["/", "/connectors", "/queue", "/trace", "/account"])


def test_what_scripts_show_is_in_the_language_of_the_page(centre: AdminCentre, browser: Browser) -> None:
    with context(browser, locale="sv-SE") as (opened, _):
        page = entered(centre, opened, "Logga in")
        theme = page.locator("[data-theme-switch]")
        assert theme.get_attribute("title") == "Tema: system"
        theme.click()
        assert theme.get_attribute("aria-label") == "Tema: ljust"
        page.keyboard.press("?")
        assert "Kortkommandon" in page.locator("dialog#keys").inner_text()
        shot(page, "sv-keys")
        page.get_by_role("button", name="Stäng").click()
        page.keyboard.press("Control+k")
        page.keyboard.type("bank")
        second = page.locator("dialog#palette li").nth(1)  # once the server has named the connector
        second.get_by_text("Kö: sök efter ”bank”", exact=True).wait_for()
        page.goto(f"{centre.url}/queue")
        page.locator('.tick input[type="checkbox"]').first.check()
        assert page.locator("[data-picked]").inner_text() == "Markerade: 1."
        page.goto(f"{centre.url}/connectors")
        assert page.locator("details.columns summary").first.inner_text() == "Kolumner"


@pytest.mark.long
@pytest.mark.parametrize("language", LANGUAGES)
def test_all_pages_fit_and_are_accessible(centre: AdminCentre, browser: Browser, language: str) -> None:
    locale, button, queue = LANGUAGES[language]
    with context(browser, locale=locale) as (opened, _complaints):
        page = entered(centre, opened, button)
        page.get_by_role("link", name=queue, exact=True).first.wait_for()
        message = centre.gateway.cli("queue", "list", json=True).data[0]["message"]["id"]
        read(centre, page, language, [*LISTS, *FORMS, f"/queue/{message}"])


def test_a_user_chooses_a_language_that_counts_more_than_the_browsers(centre: AdminCentre, browser: Browser) -> None:
    with context(browser, locale="de-DE") as (opened, _):
        page = entered(centre, opened, "Anmelden")
        page.goto(f"{centre.url}/account")
        page.locator('select[name="language"]').select_option("sv")
        page.locator('form[action="/account/preferences"] button[type="submit"]').click()
        page.get_by_role("heading", name="Språk och tidszon").wait_for()
        page.locator('select[name="language"]').select_option("")
        page.locator('form[action="/account/preferences"] button[type="submit"]').click()
        page.get_by_role("heading", name="Sprache und Zeitzone").wait_for()
