"""The components of the admin centre's pages in a real browser: what everybody can read, reach and use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Position
from support.browser import DESKTOP, EACH_LOOK, LOOKS, PHONE, axe, context, overflow, shot
from support.debian import need
from support.gallery import ENDED, Gallery

from gatepost.testing.process import wait_until

# What a keyboard must reach, numbered as `data-walk`; of radio buttons, only their group is a stop.
CONTROLS = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
    .filter((one) => one.checkVisibility({contentVisibilityAuto: true}) && !one.disabled && one.type !== "radio")
    .map((one, at) => { one.dataset.walk = at; return one.outerHTML.slice(0, 120); })"""
# Where the focus is: number, its outline, and whether it is within the window and not behind the bar at its top.
FOCUS = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect(), look = getComputedStyle(one);
    const bar = one.closest("main") ? document.querySelector(".bar").getBoundingClientRect().bottom : 0;
    return [one.dataset.walk ?? "", look.outlineStyle, parseFloat(look.outlineWidth),
        box.bottom > bar && box.top < innerHeight];
}"""
# Controls below 24 by 24 pixels, links within a text aside.
SMALL = """() => [...document.querySelectorAll("button, summary, select, input, .pick, nav a, .sort, a.button")]
    .filter((one) => !one.matches("[type=hidden], [type=checkbox], [type=radio]"))
    .filter((one) => one.checkVisibility({contentVisibilityAuto: true}) && !one.closest(".stacked thead"))
    .filter((one) => { const box = one.getBoundingClientRect(); return box.width < 24 || box.height < 24; })
    .map((one) => one.outerHTML.slice(0, 120))"""
SIZES = """() => [["page", performance.getEntriesByType("navigation")[0].transferSize],
    ...performance.getEntriesByType("resource").map((one) => [one.name.split("/").at(-1), one.transferSize])]"""
COUNT_SENT = """() => {
    window.sent = 0;
    addEventListener("submit", (event) => { window.sent += !event.defaultPrevented; event.preventDefault(); });
}"""
COUNT_CLICKS = """() => {
    window.clicks = 0;
    const button = document.querySelector("button.danger[data-confirm]");
    button.addEventListener("click", () => { window.clicks += 1; });
}"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    need("chromium")
    with Gallery() as gallery:
        yield f"{gallery.url}/gallery"


@pytest.mark.parametrize("look", EACH_LOOK)
def test_nobody_is_kept_out(browser: Browser, url: str, look: str) -> None:
    with context(browser, **LOOKS[look]) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        shot(page, f"gallery-{look}")
        assert overflow(page) == 0
        axe(page)
        page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
        axe(page)
        page.locator("[data-menu] > summary").first.click()
        axe(page, within="header")  # what the open menu lies over cannot be reached until it is closed
        assert overflow(page) == 0


def test_nobody_is_kept_out_of_dialogs_and_menus(page: Page, url: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(url)
    page.get_by_text("Menu", exact=True).click()
    page.get_by_role("link", name="Connectors").first.wait_for()
    axe(page)
    page.get_by_role("button", name="Return…").click()
    page.get_by_role("dialog", name="Return the message to its sender").wait_for()
    axe(page)
    shot(page, "gallery-dialog")


def test_a_page_before_login_is_for_everybody(browser: Browser, url: str) -> None:
    for look in ("light", "phone-dark"):
        with context(browser, **LOOKS[look]) as (opened, complaints):
            complaints.expected.append("404")
            page = opened.new_page()
            page.goto(url.replace("/gallery", "/bare"))
            axe(page)
            assert overflow(page) == 0
            shot(page, f"bare-{look}")


def test_every_control_can_be_reached_by_keyboard_and_is_seen(page: Page, url: str) -> None:
    page.goto(url)
    wanted = page.evaluate(CONTROLS)
    page.evaluate("document.activeElement.blur(); getSelection().setPosition(document.body, 0)")
    reached: set[int] = set()
    for _ in range(len(wanted) * 2):
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUS)
        if here[0]:
            assert here[1] == "solid", f"the focus is not seen on {wanted[int(here[0])]}"
            assert here[2] >= 2
            assert here[3], f"{wanted[int(here[0])]} has the focus and is out of sight"
            reached.add(int(here[0]))
    assert [text for at, text in enumerate(wanted) if at not in reached] == []


def test_the_first_tab_skips_to_the_content(page: Page, url: str) -> None:
    page.goto(f"{url}?calm=yes")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_where_headings_are_not_shown_a_field_sorts(browser: Browser, url: str) -> None:
    with context(browser, viewport=PHONE, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        heading, field = page.locator("thead .sort").first, page.get_by_label("Sort by")
        assert (heading.is_visible(), field.input_value()) == (False, "name")
        page.get_by_text("Filter connectors").click()
        field.select_option("Validated, descending")
        page.get_by_role("button", name="Show", exact=True).click()
        page.wait_for_url("**sort=-validated*")
        page.set_viewport_size(DESKTOP)
        assert (heading.is_visible(), field.is_visible()) == (True, False)


@pytest.mark.parametrize("scripts", [True, False])
def test_filters_fold_on_a_telephone(browser: Browser, url: str, *, scripts: bool) -> None:
    with context(browser, viewport=PHONE, java_script_enabled=scripts) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        fold = page.locator(".filter-fold > summary", has_text="Filter connectors")
        fields = page.get_by_role("search", name="Filter connectors").locator("input, select")
        assert fold.is_visible()
        assert not any(field.is_visible() for field in fields.all())
        fold.click()
        fields.first.wait_for()
        page.goto(f"{url}?q=x")
        assert fields.first.is_visible(), "a filter that is in use is seen"
        page.set_viewport_size(DESKTOP)
        page.goto(url)
        assert fields.first.is_visible()
        assert not fold.is_visible()


def test_what_is_cut_shows_it_until_its_end(browser: Browser, url: str) -> None:
    """Without a script, too; and it is reached with the keyboard."""
    with context(browser, viewport={"width": 1024, "height": 800}, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        wide = page.get_by_role("region", name="Connectors, by name")
        wide.evaluate("element => { element.style.width = '400px'; }")
        mask = "element => getComputedStyle(element).maskImage"
        wait_until(lambda: "gradient" in wide.evaluate(mask), "the cut edge fades")
        wide.focus()
        for _ in range(60):
            page.keyboard.press("ArrowRight")
        wait_until(lambda: wide.evaluate(mask) == "none", "its end does not")


def test_controls_are_large_enough_to_hit(browser: Browser, url: str) -> None:
    """WCAG 2.2, 2.5.8: 24 by 24 pixels, but for links within a text."""
    with context(browser, **LOOKS["phone"]) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        assert page.evaluate(SMALL) == []


def test_the_theme_is_chosen_and_kept(page: Page, url: str) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    page.emulate_media(color_scheme="light")
    page.goto(url)
    light = ground()
    switch = page.locator("[data-theme-switch]")
    assert switch.get_attribute("aria-label") == "Theme: system"
    switch.click()
    assert (switch.get_attribute("aria-label"), ground()) == ("Theme: light", light)
    switch.click()
    dark = ground()
    assert (switch.get_attribute("aria-label"), dark == light) == ("Theme: dark", False)
    page.reload()
    assert (switch.get_attribute("aria-label"), ground()) == ("Theme: dark", dark)
    switch.click()
    assert ground() == light
    page.emulate_media(color_scheme="dark")
    assert ground() == dark


def test_a_text_is_copied(browser: Browser, url: str) -> None:
    with context(browser, permissions=["clipboard-read", "clipboard-write"]) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        page.get_by_role("button", name="Copy TLSA record").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()").startswith("3 1 1 c0ffee00")
        page.get_by_role("button", name="Copy zone lines").click()
        lines = "navigator.clipboard.readText().then((text) => text.split('\\n').length)"
        wait_until(lambda: page.evaluate(lines) == 2, "two lines")


def test_a_question_is_asked_before_a_form_goes(page: Page, url: str) -> None:
    page.goto(url)
    page.evaluate(COUNT_CLICKS)
    page.get_by_role("button", name="Drop", exact=True).click()
    dialog = page.get_by_role("dialog", name="Are you sure?")
    assert "Drop 3 messages? The gateway does not notify their senders." in dialog.inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("window.clicks") == 0
    page.get_by_role("button", name="Drop", exact=True).click()
    dialog.get_by_role("button", name="Cancel").click()
    assert page.evaluate("window.clicks") == 0
    page.get_by_role("button", name="Drop", exact=True).click()
    dialog.get_by_role("button", name="Drop 3 messages").click()
    wait_until(lambda: page.evaluate("window.clicks") == 1, "the form to go")
    assert not dialog.is_visible()


def test_a_form_ends_with_what_was_done(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Return…").click()
    page.get_by_role("button", name="Return", exact=True).click()
    said = page.locator("#said")
    said.get_by_text("Connector bank-out was saved.").wait_for()
    page.reload()
    assert said.inner_text() == ""


def test_a_form_is_sent_once_by_a_double_click(page: Page, url: str) -> None:
    """And again by who comes back from the answer."""
    page.goto(url)
    page.evaluate(COUNT_SENT)
    button = page.get_by_role("button", name="Continue")
    button.dblclick()
    assert page.evaluate("window.sent") == 1
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    button.click()
    assert page.evaluate("window.sent") == 2


def test_an_error_leads_to_its_field(page: Page, url: str) -> None:
    page.goto(url)
    assert page.evaluate("document.activeElement.getAttribute('role')") == "alert"
    page.get_by_role("link", name="Certificate name: must be").click()
    field = page.get_by_label("Certificate name")
    assert field.evaluate("(one) => one === document.activeElement")
    assert field.get_attribute("aria-invalid") == "true"
    described = field.get_attribute("aria-describedby") or ""
    assert [page.locator(f"#{one}").inner_text() for one in described.split()] == [
        "Name that the partner's certificate must have.",
        "must be a host name such as mx.partner.example",
    ]


def test_a_slash_leads_to_the_search(page: Page, url: str) -> None:
    page.goto(url)
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Search messages")
    assert search.evaluate("(one) => one === document.activeElement")
    page.keyboard.type("a/b")
    assert search.input_value() == "a/b"


def test_menus_close(page: Page, url: str) -> None:
    page.goto(url)
    menu = page.locator("[data-menu]").first
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.mouse.click(1000, 120)):
        menu.locator("summary").click()
        menu.get_by_role("link", name="contoso").wait_for()
        close()
        assert not menu.get_by_role("link", name="contoso").is_visible()
    menu.locator("summary").click()
    menu.get_by_role("link", name="contoso").click()
    page.wait_for_url("**/gallery?organization=contoso")
    assert menu.locator("summary").inner_text().endswith("contoso")


def _last_column(picture: Locator) -> Position:
    """The foot of the last column, where its first series is."""
    box = picture.bounding_box()
    assert box
    scale = min(box["width"] / 880, box["height"] / 220)
    left, top = (box["width"] - 880 * scale) / 2, (box["height"] - 220 * scale) / 2
    return {"x": left + scale * (880 - 828 / 14 / 2), "y": top + scale * 190}


def test_a_chart_leads_to_the_rows_of_its_table(page: Page, url: str) -> None:
    page.goto(url)
    picture = page.get_by_role("img", name="Messages by protection")
    assert [part.get_attribute("class") for part in picture.locator("path[class^=tone]").all()] == [
        "tone-pass-deep", "tone-pass", "tone-info", "tone-fail"
    ]  # fmt: skip
    rows = page.locator("[data-chart-table] tbody tr")
    last = rows.last.locator("th, td").all_text_contents()
    picture.hover(position=_last_column(picture))
    hint = picture.locator("xpath=..").get_attribute("title") or ""
    assert hint == f"{last[0]}: DANE {last[1]}, MTA-STS {last[2]}, Opportunistic {last[3]}, Unencrypted {last[4]}"
    picture.click(position=_last_column(picture))
    page.wait_for_url("**/gallery?*=14")  # of the cell, or of the row where the cell has none
    page.go_back()
    table = page.get_by_role("region", name="Messages by protection")
    assert not table.is_visible()
    page.get_by_text("Data table").first.click()
    table.wait_for()


def test_a_page_works_without_a_script(browser: Browser, url: str) -> None:
    with context(browser, java_script_enabled=False) as (opened, _):
        page = opened.new_page()
        page.goto(url)
        assert page.get_by_role("region", name="Messages by protection").is_visible()
        page.get_by_role("button", name="Return…").click()
        page.get_by_role("button", name="Return", exact=True).click()
        page.locator("#said").get_by_text("Connector bank-out was saved.").wait_for()
        shot(page, "gallery-without-script")


def test_a_part_is_shown_anew_without_the_page(page: Page, url: str) -> None:
    page.goto(url)
    page.evaluate("window.same = true; document.getElementById('rows').dataset.old = 'yes'")
    page.get_by_role("button", name="Refresh").click()
    page.locator("#rows:not([data-old])").wait_for()
    assert page.evaluate("window.same") is True
    assert page.locator("h1").count() == 1


def test_tasks_are_followed_live(page: Page, url: str) -> None:
    page.goto(f"{url}?live=yes")
    page.locator("#tasks .task.pass").nth(3).wait_for()
    wait_until(lambda: ENDED, "the stream was read to its end")
    axe(page, within="#live")
    assert page.locator("#tasks > .task").count() == 4


def test_it_can_be_printed(page: Page, url: str) -> None:
    page.goto(url)
    assert not page.locator(".on-paper").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".on-paper time").is_visible()
    assert not page.get_by_role("navigation", name="Main").is_visible()
    assert not page.get_by_role("searchbox", name="Search messages").is_visible()
    assert page.get_by_role("heading", name="Connectors", exact=True).is_visible()
    shot(page, "gallery-print")


def test_a_page_weighs_little(page: Page, url: str) -> None:
    """Everything, the first time: below 100 KB; again: the page alone, since the rest is kept for a year."""

    def sizes() -> dict[str, int]:
        return dict(page.evaluate(SIZES))

    page.goto(url)
    first = sizes()
    assert sum(first.values()) < 100_000, first
    assert sum(size for name, size in first.items() if "min" not in name) < 60_000, first
    page.goto(f"{url}?page=2")
    again = sizes()
    assert {name for name, size in again.items() if size > 0} == {"page"}


@pytest.mark.parametrize(
    "markup",
    [
        "<main><h1>x</h1><input></main>",
        "<main><h1>x</h1><p style='color:#999;background:#fff'>too pale</p></main>",
        "<main><h1>x</h1><svg role='img'></svg></main>",
    ],
    ids=["no label", "too pale", "no text"],
)
def test_what_keeps_somebody_out_is_found(page: Page, markup: str) -> None:
    page.set_content(f"<!doctype html><html lang=en><title>x</title>{markup}</html>")
    with pytest.raises(AssertionError, match=r"[Vv]iolation"):
        axe(page)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("console.error('it is wrong')", "it is wrong"),
        ("setTimeout(() => { throw new Error('thrown') })", "thrown"),
        ("document.body.insertAdjacentHTML('beforeend', '<b style=\"color: red\">x</b>')", "style"),
        ("document.head.append(Object.assign(document.createElement('script'), {textContent: '1'}))", "inline script"),
        ("fetch('http://127.0.0.2:9/').catch(() => 0)", "127.0.0.2:9"),
    ],
    ids=["console", "exception", "style", "script", "another host"],
)
def test_what_a_browser_complains_about_is_found(browser: Browser, url: str, script: str, complaint: str) -> None:
    def visit() -> None:
        with context(browser) as (opened, complaints):
            page = opened.new_page()
            page.goto(url)
            page.evaluate(script)
            for _ in range(200):
                if complaints.found:
                    break
                page.wait_for_timeout(50)

    with pytest.raises(AssertionError, match=complaint):
        visit()
