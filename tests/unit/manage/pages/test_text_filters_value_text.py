from __future__ import annotations

from hashlib import sha256

import pytest

from gatepost.manage.pages.text_filters import cut, in_words

DER = b"0\0\0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (5, "5"),
        ("a", "a"),
        (["a", "b"], "a, b"),
        ({"mode": "rehearse", "name": "x"}, "name = x; mode = rehearse"),
        ("-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n", f"SHA-256 {sha256(DER).hexdigest()}"),
        ([{"address": "a@b.example"}], "address = a@b.example"),
    ],
)
def test_a_value_is_written_as_people_do(value, text):
    assert in_words(value) == text


def test_a_long_value_is_cut():
    assert cut("x" * 501) == "x" * 500 + "…"
    assert cut("x" * 500) == "x" * 500
