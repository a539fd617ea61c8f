from __future__ import annotations

import pytest

from gatepost.store.storable import storable, storable_json


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("a\0b", "a\ufffdb"), ("é\0", "é\ufffd"), ("half \ud800", "half ?"), ("müller", "müller")],
)
def test_text(text, expected):
    assert storable(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{"a\\u0000": ["\\u0000", 1, null]}', '{"a\ufffd":["\ufffd",1,null]}'),
    ],
)
def test_json(text, expected):
    assert storable_json(text) == expected
