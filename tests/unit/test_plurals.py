"""Tests of gatepost.plurals, and that no text leaves the plural to its reader."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gatepost.plurals import amount

SOURCE = Path(__file__).resolve().parents[2] / "src" / "gatepost"
_EITHER = re.compile(r"\w\(s\)")


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("message",), "0 messages"),
        (1, ("message",), "1 message"),
        (1204, ("message",), "1,204 messages"),
        (1, ("delivery", "deliveries"), "1 delivery"),
        (2, ("delivery", "deliveries"), "2 deliveries"),
        (1, ("delivery waits", "deliveries wait"), "1 delivery waits"),
    ],
)
def test_amount(number, nouns, text):
    assert amount(number, *nouns) == text


def test_no_text_says_noun_or_nouns():
    python = {
        path.name: [
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        for path in SOURCE.rglob("*.py")
    }
    templates = {path.name: [path.read_text()] for path in SOURCE.rglob("*.html")}
    found = {name for name, texts in (python | templates).items() if any(map(_EITHER.search, texts))}
    assert found == set(), "write it with `amount`"
