"""A value of either kind is replaced by one that differs in the named fields."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from gatepost.values import replace


class _Struct(msgspec.Struct, frozen=True):
    name: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Dataclass:
    name: str
    size: int = 0


@pytest.mark.parametrize("kind", [_Struct, _Dataclass])
def test_only_the_named_fields_differ(kind):
    value = kind("a", 1)
    assert replace(value, size=2) == kind("a", 2)
    assert value == kind("a", 1)
    assert replace(value) == value


@pytest.mark.parametrize("kind", [_Struct, _Dataclass])
def test_a_field_that_there_is_not_is_an_error(kind):
    with pytest.raises(TypeError, match="colour"):
        replace(kind("a"), colour="red")
