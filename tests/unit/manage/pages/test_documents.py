"""The pages under /docs."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_the_start_page_leads_to_every_section(centre):
    page = centre.get("/docs")
    assert page.status == 200
    assert "Start here" in page.words
    assert "Reply codes and reasons" in page.words


def test_a_document_with_its_contents(centre):
    page = centre.get("/docs/reply-codes")
    assert page.status == 200
    assert "TenantAttribution; Relay Access Denied" in page.words
    assert "On this page" in page.words


@pytest.mark.parametrize("path", ["/docs/none", "/docs/README", "/docs/tls.md", "/docs/pictures/none.png"])
def test_what_is_not_there(centre, path):
    assert centre.get(path).status == 404


def test_a_search(centre):
    page = centre.get("/docs/search?q=4.7.320")
    assert page.status == 200
    assert "450 4.7.320" in page.words or "4.7.320" in page.words
    assert "No section has all of these words" in centre.get("/docs/search?q=zebrafish").words


def test_a_search_says_nothing_without_a_question(centre):
    assert "No section" not in centre.get("/docs/search").words


@pytest.mark.parametrize(
    "path", ["/docs", "/docs/tls", "/docs/search?q=tls", "/docs/pictures/overview.png", "/docs/none"]
)
def test_strangers_are_led_to_the_log_in(centre, path):
    answer = centre.get(path, authorization="")
    assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/login")


def test_whoever_may_read_reads_the_documents(centre):
    assert [centre.get("/docs/tls", who).status for who in ("owner", "reader", "tenant")] == [200, 200, 200]


def test_an_auditor_takes_along_what_verifies_evidence(centre):
    answer = centre.get("/docs/verify_evidence.py", "reader")
    assert answer.headers["content-disposition"] == 'attachment; filename="verify_evidence.py"'
    assert answer.text == (Path(__file__).parents[4] / "docs" / "verify_evidence.py").read_text()
    assert 'href="/docs/verify_evidence.py"' in centre.get("/docs/evidence").text


def test_a_picture(centre):
    answer = centre.get("/docs/pictures/overview.png")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
