from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from gatepost.policy.connectors.fields import (
    Access,
    FilePath,
    Label,
    Owned,
    Range,
    SmartHostField,
    Text,
    TrustAnchorsText,
    Whole,
)
from gatepost.policy.connectors.record_base import Record, form_of, keys, known_keys, owned_marker, record_in
from gatepost.policy.connectors.values import Mode


class Inner(Record):
    depth: Whole = 0


class Keyed(Record):
    key: Annotated[FilePath, Owned(lambda _: None, "write none")] = ""


class Sample(Record):
    domain: Text = ""
    text: Text = ""
    path: FilePath = ""
    host: SmartHostField | None = None
    inner: Inner | None = None
    anchors: TrustAnchorsText = ""
    hosts: tuple[SmartHostField, ...] = ()
    parts: tuple[Inner, ...] = Field(default=(), alias="part")


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Sample().domain = "c.example"


def test_documents_use_the_alias_and_code_may_use_the_name() -> None:
    assert Sample(parts=(Inner(depth=1),)).parts[0].depth == 1
    assert list(keys(Sample))[-1] == "part"
    with pytest.raises(ValidationError):
        Sample.model_validate({"parts": []}, by_alias=True, by_name=False)


def test_tables_inside_tables_are_found() -> None:
    assert record_in(Inner | None) is Inner
    assert record_in(tuple[Inner, ...]) is Inner
    assert record_in(int) is None


@pytest.mark.parametrize(
    ("location", "known"),
    [((), tuple(keys(Sample))), (("inner",), ("depth",)), (("part", 0), ("depth",)), (("domain",), ()), (("no",), ())],
)
def test_the_keys_known_at_a_place(location: tuple[int | str, ...], known: tuple[str, ...]) -> None:
    assert known_keys(Sample, location) == known


@pytest.mark.parametrize(
    ("key", "value", "access"),
    [
        ("path", "", None),
        ("path", "/etc/passwd", Access.MACHINE),
        ("anchors", "", None),
        ("anchors", "system", None),
        ("anchors", "-----BEGIN CERTIFICATE-----", None),
        ("anchors", "/etc/roots", Access.MACHINE),
        ("host", "10.0.0.1", Access.NETWORK),
        ("hosts", "10.0.0.1", Access.NETWORK),
    ],
)
def test_a_value_that_needs_a_grant_is_known_by_the_type_of_its_field(key, value, access):
    assert owned_marker(keys(Sample)[key]).access(value) is access


def test_who_uses_a_type_may_say_more_of_it():
    assert owned_marker(keys(Keyed)["key"]).instead == "write none"
    assert owned_marker(keys(Inner)["depth"]) is None


def test_what_is_not_granted_is_noted_beside_the_fields():
    before = Sample(text="a")
    after = before.with_ungranted(frozenset({("text", "b")}), {"text": "b"})
    assert (after.text, after.ungranted) == ("b", {("text", "b")})
    assert (before.text, before.ungranted) == ("a", frozenset())
    assert after.model_dump() == before.model_dump() | {"text": "b"}
    assert after.model_copy().ungranted == after.ungranted


@pytest.mark.parametrize(
    ("annotation", "form"),
    [
        (Mode, '"enforce", "rehearse"'),
        (Mode | None, '"enforce", "rehearse"'),
        (tuple[Label, ...], "list of: text of 1 to 64 characters"),
        (Annotated[Whole, Range(0, 5)], "whole number, 0 to 5"),
        (Inner | None, "table: depth"),
    ],
)
def test_what_a_type_takes(annotation: object, form: str) -> None:
    assert form_of(annotation) == form
