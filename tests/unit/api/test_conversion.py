from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from gatepost.api.conversion import WrongFields, body_value, query_value


class Inner(msgspec.Struct):
    name: str


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
    ([], {"query.name": "is missing: it has no default, so give it"}),
    (
        [("name", "a"), ("limit", "10"), ("held", "x"), ("tag", "a"), ("ids", "1"), ("ids", "b")],
        {
            "query.tag": "unknown key, it would have no effect; did you mean 'tags'?",
            "query.limit": "Expected `int` <= 9",
            "query.held": "Expected `bool | null`, got `str`",
            "query.ids[1]": "Expected `int`, got `str`",
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
    assert "limit: Expected `int`, got `str`" in str(caught.value)
