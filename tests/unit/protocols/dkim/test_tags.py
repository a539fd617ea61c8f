from __future__ import annotations

import pytest

from gatepost.protocols.dkim.tags import read_tags


def test_values_without_blanks_around_them() -> None:
    assert read_tags(" v=1; a = x y\r\n\t;b=;", "the field") == {"v": "1", "a": "x y", "b": ""}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", '"" in the field is not of the form tag=value'),
        ("a=1;b", '"b" in the field is not of the form tag=value'),
        ("1=2", "not of the form"),
        ("a=1;a=2", "the tag a= is twice in the field"),
    ],
)
def test_errors(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_tags(text, "the field")
