"""A value of either kind is replaced by one that differs in the named fields, or copied into one of another kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from types import MappingProxyType

import msgspec
import pytest

from gatepost.values import RedactedStruct, copy_fields, replace


class _Kind(StrEnum):
    ONE = "one"


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


class _Shown(msgspec.Struct):
    name: str
    sizes: list[int]
    facts: dict[str, int]
    kind: _Kind | None
    text: str = "none"


@dataclass(frozen=True, slots=True)
class _Stored:
    name: _Kind
    sizes: tuple[int, ...]
    facts: MappingProxyType[str, int]
    kind: _Kind


@dataclass(frozen=True, slots=True)
class _Pair:
    first: int
    sizes: tuple[int, ...] = ()


def test_fields_are_those_that_are_named_else_of_the_first_source_that_has_them_in_the_form_of_the_kind():
    stored = _Stored(_Kind.ONE, (1, 2), MappingProxyType({"a": 1}), _Kind.ONE)
    shown = copy_fields(_Shown, _Struct("other"), stored)
    assert shown == _Shown("other", [1, 2], {"a": 1}, _Kind.ONE)
    assert type(copy_fields(_Shown, stored).name) is str
    assert type(shown.kind) is _Kind
    assert copy_fields(_Shown, stored, kind=None, text="said") == _Shown("one", [1, 2], {"a": 1}, None, "said")
    assert copy_fields(_Pair, _Shown("", [3], {}, None), first=1) == _Pair(1, (3,))


def test_a_field_that_no_source_has_is_an_error():
    with pytest.raises(TypeError, match="first"):
        copy_fields(_Pair, _Struct("a"))


class _Secret(RedactedStruct, frozen=True):
    REDACTED = ("password",)

    name: str
    password: str = ""
    size: int = 0


def test_no_text_of_a_value_has_what_is_redacted():
    value = _Secret("ann", "hunter2", 3)
    assert repr(value) == str(value) == f"{value}" == "_Secret(name='ann', size=3)"
    assert repr([value]) == "[_Secret(name='ann', size=3)]"
    assert value.__rich_repr__() == [("name", "ann"), ("size", 3)], "as rich shows it, also in a traceback"
    assert value != _Secret("ann", "other", 3), "it is part of the value all the same"
    assert replace(value, size=4) == _Secret("ann", "hunter2", 4)


def kinds(base):
    return [kind for child in base.__subclasses__() for kind in (child, *kinds(child))]


def test_what_values_of_the_gateway_redact_are_fields_of_theirs():
    for module in ("net.identity", "net.lookups.access_tokens", "protocols.message.srs", "protocols.smtp.scram"):
        import_module(f"gatepost.{module}")
    redacted = {kind.__name__: kind for kind in kinds(RedactedStruct)}
    assert {"Credentials", "TokenRequest", "SrsKeys", "Verifier"} <= set(redacted)
    for name, kind in redacted.items():
        assert kind.REDACTED, name
        assert set(kind.REDACTED) <= set(kind.__struct_fields__), name
