"""Proves the keyboard of the admin centre, and that the overview renews itself and says when, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route
from support.admin import AdminCentre, served
from support.browser import axe, shot
from support.gateway import Gateway
from support.scenes import connector, contoso, send

from gatepost.testing.process import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def centre(gateway: Callable[..., Gateway]) -> AdminCentre:
    return served(
        gateway, contoso(outbound=[connector("bank.example", "127.0.0.1:9"), connector("away.example", "127.0.0.1:9")])
    )


def test_any_page_is_two_words_away(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    page.keyboard.press("Control+k")
    palette = page.get_by_role("combobox", name="Go to")
    palette.fill("certif")
    assert page.locator("#palette [role=option]").first.inner_text() == "Certificates"
    axe(page)
    shot(page, "keys-palette")
    page.keyboard.press("Enter")
    page.wait_for_url("**/certificates")
    held: list[Route] = []
    page.route("**/find?q=bank.example", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks what it is given
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to").fill("bank.example")
    options = page.locator("#palette [role=option]")
    assert options.all_inner_texts()[:2] == [
        "Message trace: search for “bank.example”",
        "Queue: search for “bank.example”",
    ], "at once, whatever the server finds"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.locator("#palette-2[aria-selected=true]").wait_for()
    while not held:
        page.wait_for_timeout(20)
    held.pop().continue_()  # what the server finds comes when something is chosen
    options.get_by_text("Outbound connector, contoso").wait_for()
    assert page.locator("#palette [aria-selected=true]").inner_text().startswith("Connectors"), "it stays chosen"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/connectors\?q=bank\.example$"))
    assert page.locator("main table tbody tr").count() == 1


def test_what_has_a_name_is_opened_from_the_keyboard(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    options = page.locator("#palette [role=option]")
    send(centre.gateway.port, "bob@away.example")
    (event, *_) = wait_until(
        lambda: centre.gateway.cli("trace", "search", "--recipient", "bob@away.example", json=True, expect=None).data,
        "the trace has the message",
    )
    queue_id = event["message"]
    for typed, kind, path in (
        ("away.ex", "Outbound connector, contoso", "**/connectors/contoso/outbound/away.example"),
        ("contoso.ex", "Domain, contoso", "**/domains/view/contoso/contoso.example"),
        (queue_id, "Message", f"**/trace/{queue_id}"),
    ):
        page.keyboard.press("Control+k")
        page.keyboard.type(typed)
        options.first.get_by_text(kind, exact=True).wait_for()
        if kind == "Message":
            axe(page)
            shot(page, "keys-found")
        page.keyboard.press("Enter")
        page.wait_for_url(path)


def test_keys_are_listed_and_rows_are_walked(centre: AdminCentre, page: Page) -> None:
    centre.log_in(page)
    page.goto(f"{centre.url}/connectors")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    axe(page)
    shot(page, "keys-help")
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    names = page.locator("main table tbody tr th a").all_inner_texts()
    walked = []
    for key in ("j", "j", "k"):
        page.keyboard.press(key)
        walked.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert walked == [names[0], names[1], names[0]]
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/connectors/contoso/"))
    page.keyboard.press("/")
    page.keyboard.type("?jk")
    assert page.locator("[data-search]").input_value() == "?jk"


def test_the_overview_renews_itself_while_somebody_is_there(centre: AdminCentre, page: Page) -> None:
    page.clock.install()
    centre.log_in(page)
    page.goto(centre.url)
    tile = page.get_by_role("link", name=re.compile("^Waiting"))
    assert "0" in tile.inner_text()
    before = page.locator("#now time").last.get_attribute("datetime")
    send(centre.gateway.port, "bob@away.example")
    page.mouse.move(10, 10)
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        page.clock.fast_forward(31_000)
    now = page.locator("#now time").last
    wait_until(lambda: now.get_attribute("datetime") != before, "figures of a later moment")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(3):  # nobody moves the mouse: after ten minutes it asks no more
        page.clock.fast_forward(900_000)
        page.wait_for_timeout(1500)
    assert len(asked) <= 1
