from __future__ import annotations

import time

import pytest

from gatepost.manage.pages import documents
from gatepost.manage.pages.documents import MOST, search


def test_a_code_finds_its_section():
    first = search("5.7.64")[0]
    assert (first.address, first.page) == ("/docs/reply-codes#550-5764", "Reply codes and reasons")
    assert "<mark>" in search("tls_domain smart")[0].excerpt


def test_a_status_code_is_found_by_both_classes():
    assert search("5.7.320")[0].title == search("4.7.320")[0].title == "450 4.7.320"
    assert all("4.4.317" not in hit.title for hit in search("4.4.31"))


def test_every_word_must_be_there():
    assert search("smart host log-in")
    assert search("smart host zebrafish") == []


@pytest.mark.parametrize("question", ["", "   ", "\x00", "(", "[", "*" * 5000, "a" * 100_000])
def test_any_question_has_an_answer(question):
    assert len(search(question)) <= MOST


def test_headings_come_first():
    assert search("backup")[0].page == "Backup and restore"


def test_what_is_found_is_escaped(monkeypatch):
    monkeypatch.setattr(documents, "_all", lambda: [made("<b>x</b> & <script>y</script> word")])
    (hit,) = search("script word")
    assert "<script>" not in hit.excerpt
    assert "&lt;<mark>script</mark>&gt;" in hit.excerpt
    assert search("<b>")[0].excerpt.startswith("<mark>&lt;b&gt;</mark>")


def made(text):
    return documents._Searchable("/docs/a", "A", "A", text, "a", text.casefold())


def test_a_long_text_is_cut_around_the_word(monkeypatch):
    monkeypatch.setattr(documents, "_all", lambda: [made("a " * 500 + "needle" + " b" * 500)])
    (hit,) = search("needle")
    assert hit.excerpt.startswith("…")
    assert hit.excerpt.endswith("…")
    assert "<mark>needle</mark>" in hit.excerpt
    assert len(hit.excerpt) < 300


def test_a_search_takes_milliseconds():
    search("warm")
    began = time.process_time()
    search("the gateway tls certificate connector mail domain host")
    assert time.process_time() - began < 0.5
