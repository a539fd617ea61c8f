from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response

from gatepost import language
from gatepost.manage.web import application
from gatepost.manage.web.application import COOKIE, LanguageMiddleware, preferred, remember


@pytest.fixture(autouse=True)
def _offered(monkeypatch):
    for module in (language, application):
        monkeypatch.setattr(module, "offered", lambda: ("en", "sv", "de"))


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", ""),
        ("sv", "sv"),
        ("sv-SE,sv;q=0.9,en;q=0.8", "sv"),
        ("fr-FR, de;q=0.5, en;q=0.4", "de"),
        ("en;q=0.4, DE ; q=0.5", "de"),
        ("sv;q=0, en", "en"),
        ("sv;q=x", ""),
        ("sv;q=nan", ""),
        ("sv;q=2", ""),
        ("sv;level=1", "sv"),
        ("*", ""),
        ("fr", ""),
        (";;,,=", ""),
        ("fr," * 1000 + "sv", ""),
    ],
)
def test_the_browser_prefers_a_language(header, chosen):
    assert preferred(header) == chosen


def seen(path="/queue", **headers):
    """The language in which a request is answered."""
    found = []

    async def app(_scope, _receive, _send):
        found.append(language.language())

    scope = {
        "type": "http",
        "path": path,
        "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()],
    }
    asyncio.run(LanguageMiddleware(app)(scope, None, None))
    return found[0]


def test_what_was_chosen_counts_more_than_what_the_browser_prefers():
    assert seen() == "en"
    assert seen(accept_language="de") == "de"
    assert seen(accept_language="de", cookie=f"{COOKIE}=sv") == "sv"
    assert seen(accept_language="de", cookie=f"{COOKIE}=xx") == "de"
    assert seen("/api/v1/queue", accept_language="de", cookie=f"{COOKIE}=sv") == "en", "programs read English"


def test_the_browser_keeps_what_was_chosen():
    response = Response()
    remember(response, "sv", secure=True)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=sv; HttpOnly")
    assert {"Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
