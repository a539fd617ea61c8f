"""Proves that every page of the admin centre is accessible in each language, light, dark and on a telephone.

The pages are those that are measured (`bench/admin_cases.py`), of a gateway made as that one. Chromium asks the
application of this process: what it shows, with its scripts and parts that come later, is what a gateway serves.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import COLOUR_RULES, DESKTOP, PHONE, axe, axe_rules, context, overflow, shot
from support.debian import need

from gatepost.manage.pages.routes import HANDLERS, ROUTES
from gatepost.manage.web.application import application
from gatepost.manage.web.identity import COOKIE

BENCH = Path(__file__).parents[2] / "bench"
FORM = "/-form/"  # no path of the centre: the answer to a form, opened as if it were a page
NO_PAGES = ("/static/", "/docs/pictures/")
LOOKS = [(axe, "light", DESKTOP), (partial(axe_rules, rules=COLOUR_RULES), "dark", DESKTOP), (axe, "light", PHONE)]
# Colours are the same in each language; names, labels and what has room are not. Colours take most of the time.
TRANSLATED = [(partial(axe, but=COLOUR_RULES), "light", size) for size in (DESKTOP, PHONE)]
# A table that is wider than its box; days by domain are many columns, and are scrolled beside a column that stays.
WIDE = """() => [...document.querySelectorAll("main .table-wrap:not(.heat)")]
    .filter((wrap) => wrap.scrollWidth > wrap.clientWidth)
    .map((wrap) => `${wrap.ariaLabel}: ${wrap.scrollWidth - wrap.clientWidth}`)"""
WITH_CHARTS = ("/overview", "/reports")
LOCALES = {"en": "en-GB", "sv": "sv-SE", "de": "de-DE"}


class Pages:
    """The application of a made gateway, on an event loop of its own. forms: what pages send, by number."""

    def __init__(self, scene: Any, forms: list[Any]) -> None:
        self._scene, self._forms = scene, forms
        self._app = application(scene.gateway, scene.accounts, list(ROUTES), HANDLERS)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="pages", daemon=True)
        self._thread.start()

        handler = partial(Connection, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._served = Thread(target=self._server.serve_forever, name="connections", daemon=True)
        self._served.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def end(self) -> None:
        """Join its threads."""
        self._server.shutdown()
        self._server.server_close()
        self._served.join(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def answer(self, method: str, target: str, sent: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """What the application says to a request of the browser."""
        parts, body = urlsplit(target), b""
        path, query = parts.path, parts.query
        if path.startswith(FORM):
            form = self._forms[int(path.removeprefix(FORM))]
            path, _, query = form.path.format_map(self._scene.names).partition("?")
            fields = {name: text or "x" for name, text in form.form.items()} | {"csrf": self._scene.csrf}
            method, body = "POST", urlencode(fields).encode()
            sent |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(body))}
        headers = sent | {
            "host": "localhost",
            "cookie": f"{COOKIE}={self._scene.cookie}",
            "accept-encoding": "identity",
            "sec-fetch-site": "same-origin",
        }
        status, answered, content = self._answer(method, path, query, headers, body)
        if "location" in answered:  # what a form leads to is its page
            path, _, query = answered["location"].partition("?")
            status, answered, content = self._answer("GET", path, query, headers, b"")
        return status, answered, content

    def _answer(self, *asked: Any) -> tuple[int, dict[str, str], bytes]:
        return asyncio.run_coroutine_threadsafe(self._ask(*asked), self._loop).result(60)

    async def _ask(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        got: list[Any] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if not given:
                await asyncio.Event().wait()
            return given.pop()

        async def send(message: Any) -> None:
            got.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 443),
        }
        await self._app(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in got[0]["headers"]}
        return got[0]["status"], answered, b"".join(one.get("body", b"") for one in got)


class Connection(BaseHTTPRequestHandler):
    """Of the browser to `Pages`: it keeps scripts and styles from page to page, as it would not if a test answered."""

    protocol_version = "HTTP/1.1"

    def __init__(self, pages: Pages, *connection: Any) -> None:
        self._pages = pages
        super().__init__(*connection)

    def do_GET(self) -> None:
        sent = {name.lower(): value for name, value in self.headers.items()}
        status, answered, content = self._pages.answer(self.command, self.path, sent)
        self.send_response_only(status)
        for name, value in (answered | {"content-length": str(len(content))}).items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # the browser has gone on to another page
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: a test tells what went wrong."""


@pytest.fixture(scope="module")
def every_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pages, list[str]]]:
    need("chromium")
    sys.path.insert(0, str(BENCH))
    try:
        from admin_cases import PAGES  # noqa: PLC0415 - it is no package
        from admin_pages import cases  # noqa: PLC0415
        from admin_world import Sizes, world  # noqa: PLC0415
    finally:
        sys.path.remove(str(BENCH))
    few = dict.fromkeys(("connectors", "rows", "deliveries", "events", "versions"), 24)
    sizes = Sizes(late=10, users=120, certificates=12, reports=5, days=2, **few)
    scene = world(tmp_path_factory.mktemp("pages") / "gateway", sizes, say=lambda _: None)
    forms = cases("forms")
    # Of each route the page itself, and each step of the wizard: the rest is the same with fewer rows.
    kinds = [path for route, paths in PAGES.items() for path in (paths if route == "/connectors/new" else paths[:1])]
    paths = [path.format_map(scene.names) for path in kinds if not path.startswith(NO_PAGES)]
    pages = Pages(scene, forms)
    yield (
        pages,
        [*(path for path in paths if not path.startswith(NO_PAGES)), *(f"{FORM}{at}" for at in range(len(forms)))],
    )
    pages.end()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("language", LOCALES)
def test_every_page_is_accessible_light_dark_and_on_a_telephone(
    every_page: tuple[Pages, list[str]], browser: Browser, language: str
) -> None:
    pages, paths = every_page
    assert len(paths) > 80
    with context(browser, locale=LOCALES[language]) as (opened, complaints):
        complaints.expected.append("status of 4")  # some pages are shown for what is not there
        page = opened.new_page()
        faults = [fault for path in paths for fault in faults_of(page, pages.url, path, language)]
    assert not faults, "\n".join(faults)


def faults_of(page: Page, url: str, path: str, language: str) -> Iterator[str]:
    """What keeps somebody out of a page."""
    page.set_viewport_size(DESKTOP)
    page.goto(f"{url}{path}")
    if not page.locator("main").count():
        return  # a file, or a part of a page
    expect(page.locator(".htmx-request")).to_have_count(0)  # `wait_for_function` evaluates text, which pages forbid
    if page.locator("html").get_attribute("lang") != language:
        yield f"{path} is in another language"
    shot(page, f"every-{language}{path.replace('/', '-')}"[:100])
    for check, scheme, size in LOOKS if language == "en" else TRANSLATED:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        try:
            check(page)
        except AssertionError as fault:
            yield f"{scheme}, {size['width']} pixels: {fault}"
    if wider := overflow(page):
        yield f"{path} is {wider} pixels wider than a telephone"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("language", LOCALES)
def test_tables_of_the_overview_and_of_reports_fit_a_telephone(
    every_page: tuple[Pages, list[str]], browser: Browser, language: str
) -> None:
    pages, paths = every_page
    shown = [path for path in paths if path == "/" or (path.startswith(WITH_CHARTS) and "/print" not in path)]
    assert len(shown) > 10
    with context(browser, locale=LOCALES[language], viewport={"width": 390, "height": 844}) as (opened, complaints):
        complaints.expected.append("status of 4")
        page = opened.new_page()
        wide = [fault for path in shown for fault in wide_tables(page, pages.url, path)]
    assert not wide, "\n".join(wide)


def wide_tables(page: Page, url: str, path: str) -> Iterator[str]:
    """Name each table of a page that is wider than its box, with the pixels too many."""
    page.goto(f"{url}{path}")
    expect(page.locator(".htmx-request")).to_have_count(0)
    page.evaluate("() => document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    yield from (f"{path}: {fault}" for fault in page.evaluate(WIDE))
