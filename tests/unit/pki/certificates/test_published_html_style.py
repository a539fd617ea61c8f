from __future__ import annotations

from gatepost.pki.certificates.published_html import STYLE


def test_it_ends_where_it_should_and_fetches_nothing():
    assert STYLE.count("{") == STYLE.count("}")
    for text in ("</", "url(", "@import", "//"):
        assert text not in STYLE
    for medium in ("prefers-color-scheme: dark", "@media print", "max-width"):
        assert medium in STYLE
