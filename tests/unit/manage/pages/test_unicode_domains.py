# ruff: noqa: RUF001 - letters that look like others are what it is about
from __future__ import annotations

import time

import idna
import pytest

from gatepost.manage.pages.unicode_domains import unicode_form, with_unicode


def ascii_of(text):
    return ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in text.split(".")
    )


@pytest.mark.parametrize(
    "text",
    [
        "bücher.example", "räksmörgås.example", "straße.example", "mail.łódź.example", "điện-tử.example",
        "română.example",
        "παράδειγμα.example", "пример.example", "почта.рф", "דוגמה.example", "مثال.example", "उदाहरण.example",
        "例え.example", "日本語abc.example", "データ1.example",
        "ノート1.example", "一番abc.example", "一.example", "例子.中国", "한국어.example", "123ü.example",
    ],
)  # fmt: skip
def test_a_name_of_one_script_is_shown(text):
    assert idna.encode(text).decode() == ascii_of(text)
    assert unicode_form(ascii_of(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "аррӏе.example",  # Cyrillic letters that Latin ones could have written
        "раураӏ.example", "хсео.example", "οικ.example",
        "pаypal.example",  # one of them among Latin ones
        "bücherа.example", "παράbücher.example", "한国ひ.example", "latinабв.example",
        "bücher.аррӏе",  # one label is enough
        "gıt.example", "ɡoogle.example", "kļǃü.example",  # Latin, of no living language's alphabet, or like another
        "example.comノlogin.bank", "bank一login.example", "aー1.example", "丿-a.example",  # like a slash, or a hyphen
        "bü٣cher.example", "٣.example", "ᏣᎳᎩ.example", "i♥ny.example", "ŀ.example",
    ],
)  # fmt: skip
def test_a_name_that_could_be_taken_for_another_stays_as_it_is(text):
    assert unicode_form(ascii_of(text)) == ""
    page = f"<p>{ascii_of(text)}</p>"
    assert with_unicode(page) == page


@pytest.mark.parametrize(
    "domain",
    [
        "a.example", "xn--.example", "xn--a.example", "xn--\x00.example", "xn--bcher-kva-.example", "xn--bcher-kva",
        "xn--BCHER-KVA.example", f"xn--{'9' * 59}.example", "xn--abc-.example",
    ],
)  # fmt: skip
def test_what_is_no_a_label_has_no_other_form(domain):
    assert unicode_form(domain) == ""


SHOWN = "xn--bcher-kva.example (\u2068bücher.example\u2069)"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<td>xn--bcher-kva.example</td>", f"<td>{SHOWN}</td>"),
        ("<p>ann@xn--bcher-kva.example, bob@b.example</p>", f"<p>ann@{SHOWN}, bob@b.example</p>"),
        ("Mail for xn--bcher-kva.example.", f"Mail for {SHOWN}."),
        ("<code>a</code>xn--bcher-kva.example<pre>b</pre>", f"<code>a</code>{SHOWN}<pre>b</pre>"),
        (
            "<p>xn--bcher-kva.example: gatepost domain set xn--bcher-kva.example mta_sts=testing</p>",
            f"<p>{SHOWN}: gatepost domain set xn--bcher-kva.example mta_sts=testing</p>",
        ),
        ("<i>*.xn--bcher-kva.example</i>", f"<i>*.{SHOWN}</i>"),
        ("<b>mx.xn--bcher-kva.example:25</b>", f"<b>mx.{SHOWN.replace('(\u2068', '(\u2068mx.')}:25</b>"),
    ],
)
def test_it_stands_beside_the_name_in_text(page, expected):
    assert with_unicode(page) == expected


@pytest.mark.parametrize(
    "page",
    [
        '<a href="/domains/xn--bcher-kva.example" title="xn--bcher-kva.example">x</a>',
        '<input value="xn--bcher-kva.example">', "<textarea>\nxn--bcher-kva.example</textarea>",
        "<option selected>xn--bcher-kva.example</option>", "<code>xn--bcher-kva.example</code>",
        '<pre class="x"><b>xn--bcher-kva.example</b></pre>', "<script>xn--bcher-kva.example</script>",
        "<svg><text>xn--bcher-kva.example</text></svg>", "<p>xn--bcher-kv…</p>", "<p>xn--bcher-kva.exam…</p>",
        "<p>a-xn--bcher</p>", "<p>xn--bcher-kva</p>", "<p>xn--bcher-kva.exampleü</p>",
        "<p>_xn--bcher-kva</p>", "xn--", "",
    ],
)  # fmt: skip
def test_nothing_that_is_copied_sent_or_cut_is_changed(page):
    assert with_unicode(page) == page


def test_it_takes_no_longer_than_the_page_is_long():
    pages = (
        "xn--" * 50_000,
        "<code>xn--" * 50_000,
        "a." * 100_000 + "xn--",
        "<" * 100_000 + "xn--",
        "a-" * 90_000 + "xn--a.b",
    )
    begun = time.process_time()
    for page in pages:
        assert with_unicode(page) == page
    assert time.process_time() - begun < 10, "each in milliseconds"
