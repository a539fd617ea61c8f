from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.hybrid.powershell import comment, listed, quoted

QUOTES = "'\u2018\u2019\u201a\u201b"


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", "''"),
        ("contoso.example", "'contoso.example'"),
        ("O'Brien", "'O''Brien'"),
        ("a'; Remove-Item C:\\ -Recurse #", "'a''; Remove-Item C:\\ -Recurse #'"),
        ("$(calc) `n $env:x", "'$(calc) `n $env:x'"),
        ("\u2019; calc", "'\u2019\u2019; calc'"),
        ("a\r\nb\x00\u2028c", "'a??b??c'"),
    ],
)
def test_a_verbatim_string(text: str, literal: str) -> None:
    assert quoted(text) == literal


@given(st.text())
def test_nothing_gets_out_of_its_quotes(text: str) -> None:
    """As PowerShell reads a verbatim string: any two of its quotes stand for one, a single one ends it."""
    inner = quoted(text)[1:-1]
    at = 0
    while at < len(inner):
        if inner[at] in QUOTES:
            assert inner[at + 1] in QUOTES
            at += 1
        at += 1
    assert inner.isprintable()


def test_lists_and_comments() -> None:
    assert listed(["a", "b'c"]) == "'a', 'b''c'"
    assert comment("one\nRemove-Item x") == "# one?Remove-Item x"
