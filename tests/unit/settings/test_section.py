"""Sections are read as resources are: the same values, the same refusals, in the same words."""

from __future__ import annotations

import pickle
from typing import Annotated

import pytest
from pydantic import AfterValidator, Field

from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.fields import Domain, Duration, Form, Length, Range, Size, Switch, Text, Whole
from gatepost.policy.connectors.reader import read as read_resource
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.units import format_duration
from gatepost.policy.connectors.values import ProfileName
from gatepost.settings.model import Settings
from gatepost.settings.section import Checked, Section, SectionError, changed_keys, hints, read, section_in, setting


def shouted(value: str) -> str:
    if value != value.upper():
        raise ValueError(f"{value!r} is not shouted")
    return value


class Part(Section):
    name: Text = setting(description="Needed.")
    depth: Whole = setting(default=0, description="A number.")


class Sample(Section):
    """All that a section can hold."""

    domain: Domain = setting(description="Needed.")
    wait: Annotated[Duration, Range(1, 60, format_duration)] = setting(default=5, description="A time.")
    size: Size = setting(default=1, description="A size.")
    switch: Switch = setting(default=False, description="A switch.")
    count: Annotated[Whole, Range(0, 5)] = setting(default=1, description="A number.")
    text: Annotated[Text, Length(1, 5)] = setting(default="a", description="A text.")
    loud: Annotated[str, Checked(shouted), Form("TEXT")] = setting(default="", description="A text.")
    plain: str = setting(default="", description="A text.")
    profile: ProfileName = setting(default=ProfileName.DEFAULT, description="A choice.")
    names: Annotated[tuple[Domain, ...], Length(1, 2)] = setting(default=("a.example",), description="A list.")
    one: Part = setting(default=Part(name="x"), description="A table.")
    parts: tuple[Part, ...] = setting(default=(), alias="part", description="Tables.")


class PartRecord(Record):
    name: Text
    depth: Whole = 0


class SampleRecord(Record):
    """The same as a resource."""

    domain: Domain
    wait: Annotated[Duration, Range(1, 60, format_duration)] = 5
    size: Size = 1
    switch: Switch = False
    count: Annotated[Whole, Range(0, 5)] = 1
    text: Annotated[Text, Length(1, 5)] = "a"
    loud: Annotated[str, AfterValidator(shouted)] = ""
    plain: str = ""
    profile: ProfileName = ProfileName.DEFAULT
    names: Annotated[tuple[Domain, ...], Length(1, 2)] = ("a.example",)
    one: PartRecord = PartRecord(name="x")
    parts: tuple[PartRecord, ...] = Field(default=(), alias="part")


WRONG = [
    {},
    {"domain": 5},
    {"domain": "not a domain"},
    {"domain": None},
    {"wait": "soon"},
    {"wait": True},
    {"wait": float("nan")},
    {"wait": "2m"},
    {"size": -1},
    {"size": 1.5},
    {"switch": "true"},
    {"switch": 1},
    {"switch": None},
    {"count": True},
    {"count": 1.0},
    {"count": "1"},
    {"count": 6},
    {"count": 10**30},
    {"text": ""},
    {"text": "a" * 6},
    {"text": "a\nb"},
    {"text": ["a"]},
    {"loud": "a"},
    {"loud": 5},
    {"plain": 5},
    {"profile": "newest"},
    {"profile": 5},
    {"profile": []},
    {"names": "a.example"},
    {"names": []},
    {"names": ["a.example", "b.example", "c.example"]},
    {"names": ["a.example", 5, "-"]},
    {"names": [""]},
    {"names": {"a.example": 1}},
    {"one": "x"},
    {"one": []},
    {"one": {}},
    {"one": {"nmae": "x", "depth": "1"}},
    {"part": {"name": "x"}},
    {"part": [{"name": "x", "depth": 1.5}, "x", {"depth": 1}]},
    {"parts": []},
    {"swicth": True, "unlike anything": 1},
    {"wait": "soon", "switch": 1, "else": 2, "domain": ""},
]
RIGHT = [
    {"domain": "B.example."},
    {"wait": "1m", "size": "1KB", "switch": True, "count": 5},
    {"wait": 1, "text": "abcde", "loud": "A", "plain": "ü\n", "profile": "modern"},
    {"names": ["B.example"], "one": {"name": "y", "depth": 2}, "part": [{"name": "z"}, {"name": "y", "depth": 1}]},
]


def of_section(table: dict[str, object]) -> tuple[Sample, list[FieldError], frozenset[str]]:
    errors: list[FieldError] = []
    draft = read(Sample, table, errors, {"domain": "instead.example"})
    return draft.value, errors, draft.bad


def of_resource(table: dict[str, object]) -> tuple[SampleRecord, list[FieldError], frozenset[str]]:
    errors: list[FieldError] = []
    draft = read_resource(SampleRecord, table, "", errors, {"domain": "instead.example"})
    assert draft is not None
    return draft.value, errors, draft.bad


def _plain(record: object) -> dict[str, object]:
    names = PartRecord.model_fields if isinstance(record, Part | PartRecord) else SampleRecord.model_fields
    return {name: _value(getattr(record, name)) for name in names}


def _value(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(map(_value, value))
    return _plain(value) if isinstance(value, Section | Record) else value


@pytest.mark.parametrize("table", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("domain", [{}, {"domain": "a.example"}], ids=["alone", "with what is needed"])
def test_what_is_wrong_is_said_as_of_resources(table: dict[str, object], domain: dict[str, object]) -> None:
    """Every finding, its path and its words; and what is used instead meanwhile."""
    section, errors, bad = of_section(domain | table)
    resource, expected, expected_bad = of_resource(domain | table)
    assert (sorted(map(str, errors)), bad) == (sorted(map(str, expected)), expected_bad)
    assert _plain(section) == _plain(resource)


@pytest.mark.parametrize("table", RIGHT, ids=range(len(RIGHT)))
def test_what_is_right_has_the_same_value(table: dict[str, object]) -> None:
    document = {"domain": "a.example"} | table
    section, errors, bad = of_section(document)
    assert (errors, bad) == ([], frozenset())
    assert _plain(section) == _plain(of_resource(document)[0])


def test_text_that_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(SectionError, match="must be a text in UTF-8"):
        Sample(domain="a.example", plain="\udcff")


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SectionError) as raised:
        Sample(wait="soon", one={"name": 5})
    assert [error.path for error in raised.value.errors] == ["domain", "wait", "one.name"]


def test_code_may_use_the_name_and_give_sections() -> None:
    part = Part(name="y")
    made = Sample(domain="a.example", parts=[part], one=part)
    assert made == Sample(domain="a.example", part=[{"name": "y"}], one={"name": "y"})
    assert made.written == {"domain", "parts", "one"}


def test_a_section_cannot_be_changed() -> None:
    made = Sample(domain="a.example")
    with pytest.raises(AttributeError):
        made.wait = 6
    with pytest.raises(AttributeError):
        del made.domain
    other = made.replaced(wait=6)
    assert (made.wait, other.wait, other.domain, other.written) == (5, 6, "a.example", {"domain", "wait"})


def test_sections_with_the_same_values_are_equal() -> None:
    made = Sample(domain="a.example")
    assert made == Sample(domain="a.example", wait=5)
    assert hash(made) == hash(Sample(domain="a.example", wait=5))
    assert made != Sample(domain="a.example", wait=6)
    assert Part(name="x") != made
    assert repr(Part(name="x")) == "Part(name='x', depth=0)"
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own


def test_what_a_section_declares() -> None:
    assert list(Part.settings) == ["name", "depth"]
    assert [one.is_required for one in Part.settings.values()] == [True, False]
    assert (Sample.settings["part"].name, Sample.settings["part"].key) == ("parts", "part")
    assert section_in(hints(Sample)["part"]) is Part
    assert section_in(hints(Sample)["one"]) is Part
    assert section_in(hints(Sample)["names"]) is None


USUAL = {"server": {"hostname": "mx1.contoso.example"}}
MX = {"role": "mx", "address": "127.0.0.1:25"}

# sections of the new file -> the keys that differ
DIFFERENCES = {
    "nothing": ({}, []),
    "a default that is written": ({"queue": {}, "log": {"level": "info"}}, []),
    "one key": ({"log": {"level": "debug"}}, ["log.level"]),
    "a key that a document writes otherwise": ({"dns": {"validate": "local"}}, ["dns.validate"]),
    "a list of tables": ({"listener": [MX]}, ["listener"]),
    "several": (
        {"server": {"hostname": "mx2.contoso.example", "drain": 5}, "admin": {"address": ""}},
        ["server.hostname", "server.drain", "admin.address"],
    ),
}


@pytest.mark.parametrize(("sections", "keys"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_keys_that_differ(sections, keys):
    assert changed_keys(Settings(**USUAL), Settings(**{**USUAL, **sections})) == keys
