"""A real browser: Debian's Chromium without a window, driven through playwright.

A test that uses the fixture `page` fails on whatever the browser complains about: an error in the console, an exception
in a script, a violation of the content security policy, or a request to another host than the one that was opened. What
it looked like is kept where GATEPOST_SCREENSHOTS names a folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)
from support.debian import chromium_program
from support.postgres import on_postgres
from support.process import ROOT

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light"},
    "phone-dark": {"viewport": PHONE, "color_scheme": "dark"},
}
# For tests that load many pages: one look in `make browser`, all of them in `make test-all`.
EACH_LOOK = ["light", *(pytest.param(look, marks=pytest.mark.long) for look in LOOKS if look != "light")]
# A form that was refused is shown again with one of these statuses, which the browser thinks worth a line.
_REFUSED_FORM = tuple(f"the server responded with a status of {status}" for status in (409, 422, 429))
_PATIENCE = 90_000  # milliseconds, on a machine that has other things to do
expect.set_options(timeout=_PATIENCE)
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]  # the only ones that a theme can break
_every_look = True


def choose_looks(*, every: bool) -> None:
    """Whether axe is asked of each page in each theme and size, as `make test-all` does, or in one."""
    global _every_look  # noqa: PLW0603 - of the run
    _every_look = every


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, for as long as it is needed; contexts of it share nothing."""
    # What drives it is a program for Node, of which compiling is a third: 0.8 s of CPU a start, 0.55 with what is kept.
    os.environ.setdefault("NODE_COMPILE_CACHE", str(ROOT / ".pytest_cache" / "node"))
    with sync_playwright() as playwright:
        # As root, as which system tests often run, Chromium starts without its sandbox only; what it opens is ours.
        started = playwright.chromium.launch(
            executable_path=chromium_program(), args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        try:
            yield started
        finally:
            started.close()


class SharedBrowser:
    """One for all files of this process of the run that follow each other and use one: a start takes 0.7 s of CPU.

    While it is there, this thread can run no event loop of its own: a file that uses no browser ends it.
    """

    def __init__(self) -> None:
        self._running: ExitStack | None = None
        self._browser: Browser | None = None

    def get(self) -> Browser:
        """It, started if it is not there."""
        if self._browser is None or not self._browser.is_connected():
            self.end()
            self._running = ExitStack()
            self._browser = self._running.enter_context(chromium())
        return self._browser

    def end(self) -> None:
        """Harmless if it is not there."""
        if self._running is not None:
            self._running.close()
        self._running = self._browser = None


shared_browser = SharedBrowser()


class Complaints:
    """What the browser complained about in a context. hosts: that pages may come from, "127.0.0.1:8443".

    The first page that is opened says which host is ours. expected: parts of complaints that a test provokes.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.found: list[str] = []
        self.expected: list[str] = []
        self.hosts: set[str] = set()
        context.on("console", self._console)
        context.on("weberror", lambda error: self._add(str(error.error)))
        context.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._add(f"{message.text} {message.location.get('url', '')}".strip())

    def _add(self, text: str) -> None:
        if not any(part in text for part in _REFUSED_FORM):
            self.found.append(text)

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"data", "blob", "about"}:
            return
        if not self.hosts:
            self.hosts.add(parts.netloc)
        if parts.netloc not in self.hosts:
            self._add(f"a request to {request.url}")

    def unexpected(self) -> list[str]:
        """All of them that no test expects."""
        return [text for text in self.found if not any(part in text for part in self.expected)]


@contextmanager
def context(browser: Browser, **options: Any) -> Iterator[tuple[BrowserContext, Complaints]]:
    """A context of its own, as `browser.new_context` makes it, with what it complains about: in the end, a failure."""
    options.setdefault("viewport", DESKTOP)
    defaults = {"ignore_https_errors": True, "reduced_motion": "reduce", "timezone_id": "UTC"}
    opened = browser.new_context(**{**defaults, **options})
    opened.set_default_timeout(_PATIENCE)
    complaints = Complaints(opened)
    try:
        yield opened, complaints
    finally:
        opened.close()
    unexpected = complaints.unexpected()
    assert not unexpected, "the browser complains:\n" + "\n".join(unexpected)


def axe(page: Page, *, within: str | None = None, but: Sequence[str] = ()) -> None:
    """Fail on any violation of WCAG 2.2 A or AA that axe-core finds in the page as it is now.

    but: rules to leave out.
    """
    _axe(page, {"type": "tag", "values": _RULES}, within, but)


def axe_rules(page: Page, rules: list[str]) -> None:
    """The same of these rules alone."""
    _axe(page, {"type": "rule", "values": rules})


def _axe(page: Page, chosen: dict[str, Any], within: str | None = None, but: Sequence[str] = ()) -> None:
    """The script is given to a page once, and what went well is not told: both took longer than the rules."""
    if on_postgres():
        return  # whether a page can be read hangs on no database: a run on one looks at what pages do
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    rules = {rule: {"enabled": False} for rule in but}
    options = json.dumps({"runOnly": chosen, "rules": rules, "resultTypes": ["violations"]})
    command = f"axe.run({json.dumps(within) if within else 'document'}, {options})"
    violations = page.evaluate(f"{command}.then((result) => result.violations)")
    assert not violations, f"{page.url}\n{AxeResults({'violations': violations}).generate_report()}"


def look(page: Page, name: str) -> None:
    """Everybody can read the page: light, dark, and on a telephone, where nothing sticks out. Keeps what it looks like.

    See `choose_looks`.
    """
    axe(page)
    shot(page, f"{name}-light")
    if _every_look or _pictures():
        page.emulate_media(color_scheme="dark")
        if _every_look:
            axe_rules(page, COLOUR_RULES)
        shot(page, f"{name}-dark")
        page.emulate_media(color_scheme="light")
    desktop = page.viewport_size
    assert desktop
    page.set_viewport_size(PHONE)
    assert overflow(page) == 0, f"{page.url} must be scrolled sideways"
    if _every_look:
        page.evaluate("scrollTo(0, 0)")  # what lies half below the bar is measured as half as high
        axe(page)
    shot(page, f"{name}-phone")
    page.set_viewport_size(desktop)


def looks(page: Page) -> Iterator[str]:
    """Give a page each theme and size in turn, to load pages in it; see `choose_looks`."""
    for name, given in LOOKS.items() if _every_look else [("light", LOOKS["light"])]:
        page.emulate_media(color_scheme=given["color_scheme"])
        page.set_viewport_size(given["viewport"])
        yield name
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)


def shot(page: Page, name: str) -> None:
    """Keep what the whole page looks like, if GATEPOST_SCREENSHOTS names a folder."""
    if folder := _pictures():
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=Path(folder, f"{name}.png"), full_page=True, caret="initial")


def _pictures() -> str | None:
    return os.environ.get("GATEPOST_SCREENSHOTS")


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window; 0 where nothing must be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
