from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from gatepost.manage.use_cases.request_values import WrongFields, body_value, checked, limits, query_value


class Inner(msgspec.Struct):
    name: str


class Color(StrEnum):
    RED = "red"
    DEEP_BLUE = "deep-blue"


class Wanted(msgspec.Struct):
    name: str
    limit: Annotated[int, Meta(ge=1, le=9)] = 5
    held: bool | None = None
    tags: list[str] = []
    ids: tuple[int, ...] = ()
    inner: Inner | None = None
    kind: str = msgspec.field(name="type", default="")


QUERIES = [
    ([("name", "a")], Wanted("a")),
    ([("name", "5"), ("limit", "9"), ("held", "true")], Wanted("5", 9, True)),
    ([("name", ""), ("tags", "a"), ("tags", "b"), ("ids", "1")], Wanted("", tags=["a", "b"], ids=(1,))),
    ([("name", "a"), ("type", "x")], Wanted("a", kind="x")),
]


@pytest.mark.parametrize(("items", "expected"), QUERIES)
def test_queries(items, expected):
    assert query_value(Wanted, items) == expected


WRONG_QUERIES = [
    ([], {"query.name": "is required: it has no default"}),
    (
        [("name", "a"), ("limit", "10"), ("held", "x"), ("tag", "a"), ("ids", "1"), ("ids", "b")],
        {
            "query.tag": "unknown key, it would have no effect; did you mean 'tags'?",
            "query.limit": "must be at most 9",
            "query.held": "must be true or false",
            "query.ids[1]": "must be a whole number",
        },
    ),
    ([("name", "a"), ("name", "b")], {"query.name": "is given twice; give it once"}),
]


@pytest.mark.parametrize(("items", "errors"), WRONG_QUERIES)
def test_queries_with_errors(items, errors):
    with pytest.raises(WrongFields) as caught:
        query_value(Wanted, items)
    assert {error.path: error.message for error in caught.value.errors} == errors


def test_a_body():
    assert body_value(Wanted, {"name": "a", "inner": {"name": "b"}}) == Wanted("a", inner=Inner("b"))


def test_a_body_with_errors():
    with pytest.raises(WrongFields) as caught:
        body_value(Wanted, {"limit": "5", "inner": {"name": 5}, "tags": ["a", 1], "x": 1})
    assert [error.path for error in caught.value.errors] == ["x", "name", "limit", "tags[1]", "inner.name"]
    assert "limit: must be a whole number" in str(caught.value)


class Chosen(msgspec.Struct):
    color: Color = Color.RED
    others: list[Color] = []
    perhaps: Color | None = None
    size: Literal["small", "large", ""] = "small"
    event: Annotated[str, Meta(pattern="^(SEND|TRY-AGAIN)?$")] = ""
    day: Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    code: Annotated[str, Meta(pattern=r"^\d+x$")] = ""
    text: Annotated[str, Meta(max_length=3)] = ""
    few: Annotated[list[int], Meta(max_length=1)] = []
    wait: Annotated[float, Meta(ge=0, le=25)] = 0
    least: Annotated[int, Meta(gt=1)] = 2


COLORS = "is not possible here; choose one of red, deep-blue"
IN_WORDS = [
    ("color", "green", "color", f"'green' {COLORS}"),
    ("others", ["red", "pink"], "others[1]", f"'pink' {COLORS}"),
    ("perhaps", "x", "perhaps", f"'x' {COLORS}"),
    ("size", "tiny", "size", "'tiny' is not possible here; choose one of large, small"),
    ("event", "GO", "event", "is not possible here; choose one of SEND, TRY-AGAIN"),
    ("day", "7d", "day", "must be a day (UTC), written like 2026-11-24"),
    ("code", "x", "code", r"has the wrong form; it must match ^\d+x$"),
    ("text", "long", "text", "must have at most 3 characters"),
    ("few", [1, 2], "few", "must have at most 1 entry"),
    ("wait", 99.0, "wait", "must be at most 25"),
    ("wait", -1.0, "wait", "must be at least 0"),
    ("least", 1, "least", "must be at least 2"),
    ("others", "red", "others", "must be a list"),
    ("text", 5, "text", "must be a text"),
]


@pytest.mark.parametrize(("name", "given", "path", "message"), IN_WORDS)
def test_what_a_field_takes_is_said_in_words(name, given, path, message):
    with pytest.raises(WrongFields) as caught:
        body_value(Chosen, {name: given})
    assert [(error.path, error.message) for error in caught.value.errors] == [(path, message)]


def test_the_fields_of_a_type_are_looked_up_once(monkeypatch: pytest.MonkeyPatch):
    class Asked(msgspec.Struct):
        name: Annotated[str, Meta(max_length=9)] = ""

    looked_up = []
    fields = msgspec.structs.fields
    monkeypatch.setattr(msgspec.structs, "fields", lambda kind: looked_up.append(kind) or fields(kind))
    for _ in range(2):
        assert checked(Asked("x")) == Asked("x")
        assert limits(Asked) == {"name": 9}
    assert looked_up == [Asked]
