"""Documents become pages: links stay among them, nothing of Markdown becomes code, and anchors are GitHub's."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from shutil import copyfile

import pytest

from gatepost.manage.pages import document_text
from gatepost.manage.pages.document_text import address, document, pictures, programs, reply_help, sections, texts

DOCS = Path(__file__).parents[4] / "docs"
FORBIDDEN = re.compile(r"<(?:script|style|iframe|form)|\son\w+=|\sstyle=|javascript:", re.IGNORECASE)


@pytest.fixture
def written(monkeypatch):
    """Documents of a test, by name."""

    def write(**pages: str):
        for kept in (document, sections):
            kept.cache_clear()
        monkeypatch.setattr(document_text, "texts", lambda: pages)

    yield write
    for kept in (document, sections):
        kept.cache_clear()


def test_every_document_is_there():
    assert texts().keys() == {path.stem for path in DOCS.glob("*.md")}
    assert pictures().keys() == {path.name for path in (DOCS / "pictures").glob("*.png")}


def test_an_installed_package_has_all_that_a_working_copy_shows(monkeypatch, tmp_path):
    """The wheel as hatchling would fill it, without building one."""
    root, shown = DOCS.parent, (texts.__wrapped__(), pictures.__wrapped__(), programs.__wrapped__())
    builder = import_module("hatchling.builders.wheel").WheelBuilder(str(root))
    for file in builder.recurse_included_files():
        place = tmp_path / file.distribution_path
        if DOCS in Path(file.path).parents:
            place.parent.mkdir(parents=True, exist_ok=True)
            copyfile(file.path, place)
    monkeypatch.setattr(document_text, "files", lambda package: tmp_path / package.replace(".", "/"))
    monkeypatch.setattr(document_text, "Path", lambda *_: pytest.fail("a package has no working copy"))
    assert (texts.__wrapped__(), pictures.__wrapped__(), programs.__wrapped__()) == shown


@pytest.mark.parametrize("name", sorted(path.stem for path in DOCS.glob("*.md")))
def test_every_document_becomes_a_page(name):
    page = document(name)
    assert page.title
    assert "<h1" not in page.html
    assert not FORBIDDEN.search(re.sub(r"<code>.*?</code>", "", page.html, flags=re.DOTALL))
    assert "<!--" not in page.html
    assert "&lt;!--" not in page.html
    anchors = re.findall(r'<h[2-4] id="([^"]*)"', page.html)
    assert anchors == [section.anchor for section in page.sections[1:]]
    assert len(set(anchors)) == len(anchors)


def test_every_link_leads_to_a_heading():
    dead = []
    for name in texts():
        for target in re.findall(r'href="([^"]+)"', document(name).html):
            path, _, anchor = target.partition("#")
            if path.startswith("https://"):
                continue
            other = path.removeprefix("/docs").removeprefix("/") or ("README" if path else name)
            known = {""} if other in programs() else {section.anchor for section in sections(other)} | {""}
            if anchor not in known:
                dead.append(f"{name}: {target}")
    assert dead == []


def test_html_in_a_document_stays_text(written):
    written(a="# A\n\n<script>alert(1)</script> <b>bold</b>\n\n[x](javascript:alert(1)) [y](data:text/html,x)\n")
    html = document("a").html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<a" not in html


def test_links_are_addresses_here_or_text(written):
    written(
        a="# A\n\n[b](b.md) [c](b.md#x-y) [i](README.md) [here](#z) [code](../src/x.py) [web](https://example.org) "
        "[gone](gone.md) **[code `x`](../y.py)**\n",
        b="# B\n",
        README="# Start\n",
    )
    html = document("a").html
    assert re.findall(r'href="([^"]+)"', html) == ["/docs/b", "/docs/b#x-y", "/docs", "#z", "https://example.org"]
    assert "code" in html
    assert "gone" in html
    assert "<strong>code <code>x</code></strong>" in html
    assert html.count("<a ") == html.count("</a>")


def test_pictures_come_from_the_package(written):
    written(
        a="# A\n\n![The overview](pictures/overview.png) ![no](pictures/none.png) ![no](https://example.org/x.png)\n"
    )
    assert re.findall(r'src="([^"]+)"', document("a").html) == ["/docs/pictures/overview.png"]


def test_anchors_are_those_of_github(written):
    written(
        a="# A `b`\n\n## `[organization.NAME]`\n\n## Twice\n\n```\n## not one\n```\n\n## Twice\n\n### [Link](x.md)\n"
    )
    parts = sections("a")
    assert [part.anchor for part in parts] == ["a-b", "organizationname", "twice", "twice-1", "link"]
    assert [part.title for part in parts] == ["A b", "[organization.NAME]", "Twice", "Twice", "Link"]
    assert "## not one" in parts[2].text
    assert [part.title for part in document("a").contents] == ["[organization.NAME]", "Twice", "Twice", "Link"]


def test_tables_and_code_can_be_scrolled_by_keyboard(written):
    written(a="# A\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n    code & <more>\n")
    html = document("a").html
    assert '<div class="table-wrap stacked" role="region" tabindex="0" aria-label="Table"><table>' in html
    assert '<pre class="lines" tabindex="0"><code>code &amp; &lt;more&gt;\n</code></pre>' in html
    assert "style=" not in html


def test_cells_bring_the_headings_of_their_columns(written):
    written(a="# A\n\n| a `b` | | c |\n|---|---|---|\n| 1 | 2 | 3 |\n| 4 | | |\n\n| | |\n|---|---|\n| 5 | 6 |\n")
    cells = re.findall(r"<td( data-label=\"[^\"]*\")?><div>(\d?)</div></td>", document("a").html)
    first, last = ' data-label="a b"', ' data-label="c"'
    assert cells == [(first, "1"), ("", "2"), (last, "3"), (first, "4"), ("", ""), (last, ""), ("", "5"), ("", "6")]


def test_a_table_without_a_head_has_none(written):
    written(a="# A\n\n| | |\n|---|---|\n| 1 | 2 |\n\n| x | |\n|---|---|\n| 3 | 4 |\n")
    html = document("a").html
    assert html.count("<table>") == 2
    assert html.count("<thead>") == 1
    assert "<th>x</th>" in html


@pytest.mark.parametrize(
    ("reply", "help_address"),
    [
        ("550 5.7.64 TenantAttribution; Relay Access Denied [mx 0af1]", "/docs/reply-codes#550-5764"),
        ("530 5.7.0 Must issue a STARTTLS command first", "/docs/reply-codes#530-570"),
        (
            "450 4.7.320 Certificate validation failed [Message=UntrustedRoot …]",
            "/docs/reply-codes#tls-requirements-that-were-not-met",
        ),
        ("550 5.9.9 something of others", ""),
        ("250 2.0.0 OK", ""),
        ("550 no status", ""),
        ("", ""),
    ],
)
def test_the_cause_of_a_reply_has_an_address(reply, help_address):
    assert reply_help(reply) == help_address


@pytest.mark.parametrize(
    ("reply", "heading"),
    [
        ("450 4.4.316 Connection refused [LastAttemptedServerName=mx.b.example]", "450-44316"),
        ("550 5.4.316 Connection refused", "450-44316"),
        ("450 4.4.318 Connection was closed abruptly while waiting for the reply to DATA", "450-44318"),
        ("450 4.4.315 The next hop did not answer a moment ago", "450-4xy"),
        ("450 4.4.316 Go away", ""),
        ("450 4.7.1 Greylisted, try again later", ""),
        ("452 4.2.2 Over quota of theirs", ""),
        ("550 5.7.1 Spam", ""),
        ("550 5.3.0 Not here", ""),
        ("", ""),
    ],
)
def test_a_reply_to_a_delivery_has_one_where_the_words_are_ours(reply, heading):
    assert reply_help(reply, is_ours=False) == (f"/docs/reply-codes#{heading}" if heading else "")


def test_addresses():
    assert address("README") == "/docs"
    assert address("tls", "x") == "/docs/tls#x"


def test_a_name_that_is_not_there():
    with pytest.raises(KeyError):
        document("../../etc/passwd")
