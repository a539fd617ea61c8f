"""A real browser: Debian's Chromium without a window, driven through playwright.

A test that uses the fixture `page` fails on whatever the browser complains about: an error in the console, an exception
in a script, a violation of the content security policy, or a request to another host than the one that was opened. What
it looked like is kept where GATEPOST_SCREENSHOTS names a folder.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from support.debian import chromium_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page, Request

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
# A form that was refused is shown again with one of these statuses, which the browser thinks worth a line.
_REFUSED_FORM = tuple(f"the server responded with a status of {status}" for status in (409, 422, 429))
_PATIENCE = 90_000  # milliseconds, on a machine that has other things to do
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, for as long as it is needed; contexts of it share nothing."""
    with sync_playwright() as playwright:
        # As root, as which system tests often run, Chromium starts without its sandbox only; what it opens is ours.
        started = playwright.chromium.launch(
            executable_path=chromium_program(), args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        try:
            yield started
        finally:
            started.close()


class Complaints:
    """What the browser complained about in a context. hosts: that pages may come from, "127.0.0.1:8443".

    The first page that is opened says which host is ours. expected: parts of complaints that a test provokes.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.found: list[str] = []
        self.expected: list[str] = []
        self.hosts: set[str] = set()
        context.on("console", lambda message: self._add(message.text) if message.type in {"error", "warning"} else None)
        context.on("weberror", lambda error: self._add(str(error.error)))
        context.on("request", self._request)

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
    opened = browser.new_context(**{"ignore_https_errors": True, "reduced_motion": "reduce", **options})
    opened.set_default_timeout(_PATIENCE)
    complaints = Complaints(opened)
    try:
        yield opened, complaints
    finally:
        opened.close()
    unexpected = complaints.unexpected()
    assert not unexpected, "the browser complains:\n" + "\n".join(unexpected)


def axe(page: Page, *, within: str | None = None) -> None:
    """Fail on any violation of WCAG 2.2 A or AA that axe-core finds in the page as it is now."""
    result = Axe().run(page, context=within, options={"runOnly": {"type": "tag", "values": _RULES}})
    assert not result.violations_count, f"{page.url}\n{result.generate_report()}"


def shot(page: Page, name: str) -> None:
    """Keep what the whole page looks like, if GATEPOST_SCREENSHOTS names a folder."""
    folder = os.environ.get("GATEPOST_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=Path(folder, f"{name}.png"), full_page=True, caret="initial")


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window; 0 where nothing must be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
