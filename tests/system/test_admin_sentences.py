"""Proves that sentences with values, as use cases form them, are in the language of the page: none is left in English.

The same pages are read in English and in each other language: a text with words of English that is on both is one that
was not translated, unless it is code, a reply, or what an administrator named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from support.admin import OWNER, PASSWORD, AdminCentre
from support.admin_scenes import centre_with_waiting_mail
from support.browser import context, shot
from support.debian import need
from support.drills import drill

from gatepost.testing.pki import Pki

LOCALES = {"sv": ("sv-SE", "Logga in"), "de": ("de-DE", "Anmelden"), "en": ("en-US", "Log in")}
ENGLISH = re.compile(r"\b(?:the|which|does|and|its|with|is|are|not|of|must|this|that|until)\b")
RECORDED = re.compile(r"\d{3} \d\.\d|Expected Subject: |[a-z_-]+: (?!.*(?:must|Nobody))|.* answered SERVFAIL$")
"""Replies and details as they were recorded, and what a nameserver said."""
TEXTS = """() => {
    const texts = [], walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim();
        if (text && !walker.currentNode.parentElement.closest("code, pre, .reply, .lines, textarea, script, time"))
            texts.push(text.replace(/\\s+/g, " "));
    }
    return texts;
}"""
QUESTIONS = (
    "sender=eve%40elsewhere.example&recipient=alice%40contoso.example",
    "sender=alice%40contoso.example&recipient=teller%40bank.example&ip=127.0.0.1",
    "sender=x%40bank.example&recipient=y%40far.example",
)


@pytest.fixture(scope="module")
def centre(pki: Pki) -> Iterator[AdminCentre]:
    need("chromium")
    with centre_with_waiting_mail(pki) as made:
        yield made


def texts(centre: AdminCentre, browser: Browser, language: str, paths: list[str]) -> dict[str, list[str]]:
    """What each page says."""
    locale, button = LOCALES[language]
    with context(browser, locale=locale) as (opened, _):
        page: Page = opened.new_page()
        page.goto(f"{centre.url}/login")
        page.locator('input[name="name"]').fill(OWNER)
        page.locator('input[name="password"]').fill(PASSWORD)
        page.get_by_role("button", name=button).click()
        page.wait_for_url(f"{centre.url}/")
        said = {}
        for path in paths:
            page.goto(f"{centre.url}{path}")
            page.wait_for_load_state("networkidle")
            assert page.locator("html").get_attribute("lang") == language
            said[path] = page.evaluate(TEXTS)
            shot(page, f"sentences-{language}{re.sub('[^a-z]+', '-', path)}"[:60])
        return said


def is_english(text: str) -> bool:
    """Whether it is a sentence of ours in English."""
    return len(ENGLISH.findall(text)) > 1 and RECORDED.match(text) is None


def kept_pages(centre: AdminCentre) -> list[str]:
    """Pages of a drill, of published records and of a changeover, after each was looked at."""
    held = drill(centre.gateway, "bank", "--organization", "contoso", json=True, expect=0).data
    certificate = centre.gateway.cli("certificate", "list", json=True).data["certificates"][0]["id"]
    return [
        "/drills",
        f"/drills/{held['evidence'].rpartition('/')[2]}",
        "/domains/contoso.example/publish?organization=contoso&look=now",
        f"/certificates/{certificate}/changeover",
    ]


@pytest.mark.long
def test_no_sentence_is_left_in_english(centre: AdminCentre, browser: Browser) -> None:
    message = centre.gateway.cli("queue", "list", json=True).data[0]["message"]["id"]
    centre.gateway.cli("connector", "validate", "bank", "--organization", "contoso", expect=1)
    paths = ["/", "/alarms", "/doctor", f"/queue/{message}", f"/trace/{message}", "/connectors/contoso/outbound/bank"]
    paths += [f"/explain?{question}" for question in QUESTIONS]
    paths += kept_pages(centre)
    english = texts(centre, browser, "en", paths)
    assert any(text.lower().startswith("drill passed: ") for path in paths for text in english[path]), "no drill"
    assert any("DNSSEC" in text or "looked up" in text for text in english[paths[-2]]), "no published records"
    assert any("must present a certificate of an authority" in text for text in english[f"/queue/{message}"])
    for language in ("sv", "de"):
        translated = texts(centre, browser, language, paths)
        left = {
            path: sorted({text for text in said if text in english[path] and is_english(text)})
            for path, said in translated.items()
        }
        found = [f"{path}: {text}" for path, texts in left.items() for text in texts]
        assert not found, "\n".join(found)
