from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic import BaseModel, Field, ValidationError

from gatepost.policy.connectors.errors import (
    Draft,
    FieldError,
    ResourceErrors,
    dotted,
    explain,
    first_errors,
    misplaced_key,
    unknown_key,
)
from gatepost.policy.connectors.records import InboundConnector, Organization


def first_error(model: Any, **fields: Any) -> Any:
    with pytest.raises(ValidationError) as refused:
        model(**fields)
    return refused.value.errors()[0]


class Lists(BaseModel):
    few: tuple[int, ...] = Field(default=(), min_length=1, max_length=2)


@pytest.mark.parametrize(
    ("few", "text"), [([], "[] needs at least 1 entry"), ([1, 2, 3], "[1, 2, 3] may have at most 2 entries")]
)
def test_the_length_of_a_list_is_told(few: list[int], text: str) -> None:
    assert explain(first_error(Lists, few=few)) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "is required: it has no default"),
        ({"name": "x", "enabled": "yes"}, "'yes' must be true or false, without quotes"),
        ({"name": "x", "priority": "5"}, "'5' must be a whole number, without quotes"),
        ({"name": 5}, "5 must be a text in quotes"),
        ({"name": ""}, "'' must have at least 1 character"),
        ({"name": "x" * 65}, f"'{'x' * 65}' must have at most 64 characters"),
        ({"name": "x", "sender_domains": "a.example"}, "'a.example' must be a list in brackets, even for one value"),
        ({"name": "x", "mode": "off"}, "'off' is not possible here; choose one of 'enforce', 'rehearse'"),
        ({"name": "x", "priority": 1001}, "1001 is out of range: 0 to 1000"),
        ({"name": "x", "nam": 1}, "unknown key, it would have no effect; did you mean 'name'?"),
    ],
)
def test_findings_are_told_in_plain_words(fields: dict[str, Any], text: str) -> None:
    assert explain(first_error(InboundConnector, **fields), ["name", "mode"]).startswith(text)


def test_a_pattern_is_said_in_words_where_there_are_some() -> None:
    error = first_error(Organization, name="Contoso Ltd")
    assert explain(error).startswith("'Contoso Ltd' has the wrong form; write 1 to 63 lower-case letters, digits and ")
    error["ctx"]["pattern"] = "^x$"
    assert explain(error) == "'Contoso Ltd' has the wrong form; it must match ^x$"


def test_a_finding_without_words_of_ours_keeps_its_own() -> None:
    error = cast("Any", {"type": "strange", "loc": ("x",), "msg": "is strange", "input": 1})
    assert explain(error) == "1 is strange"


def test_a_long_value_is_cut() -> None:
    error = cast("Any", {"type": "bool_type", "loc": ("x",), "msg": "", "input": "y" * 500})
    assert len(explain(error)) < 130


def test_an_unknown_key_gets_the_nearest_or_all() -> None:
    assert "did you mean 'mode'?" in unknown_key("moed", ["name", "mode"])
    assert "known here: mode, name" in unknown_key("zzz", ["name", "mode"])


def test_a_misplaced_key_gets_the_headings_where_it_may_stand() -> None:
    assert misplaced_key(["[smtp]", "[tls]"]).endswith("no effect; write it under [smtp], [tls]")


def test_paths_are_dotted() -> None:
    assert dotted("a.b[0]", ("smart_hosts", 1)) == "a.b[0].smart_hosts[1]"
    assert dotted("", ("limits", "errors")) == "limits.errors"


def test_all_errors_are_told() -> None:
    errors = ResourceErrors([FieldError("a", "one"), FieldError("b", "two")])
    assert str(errors) == "a: one\nb: two"
    assert [error.path for error in errors.errors] == ["a", "b"]


def test_a_long_value_is_cut_in_a_rules_own_sentence_too() -> None:
    given = f"it's {'z' * 200_000}"
    error = cast(
        "Any", {"type": "value_error", "loc": ("x",), "ctx": {"error": f"{given!r} is not a domain"}, "input": given}
    )
    assert explain(error).endswith('zzz..." is not a domain')
    assert len(explain(error)) < 130
    error["ctx"] = {"error": "'a.example' is not a domain, as 'b.example' is"}
    assert explain(error) == "'a.example' is not a domain, as 'b.example' is"
    error["ctx"] = {"error": f'\'x\' is none; {"w" * 80} "a", {"w" * 110}, or "b"'}
    assert explain(error) == error["ctx"]["error"], "what is ours was cut"


def test_where_no_key_is_known_none_is_named() -> None:
    assert unknown_key("x", ()).endswith("; known here: none")


def test_a_draft_names_its_keys():
    assert Draft("a.b[0]", None).error("name", "no").path == "a.b[0].name"
    assert Draft("", None).error("name", "no").path == "name"


def wrong(field: str, count: int) -> list[FieldError]:
    """Errors of so many entries of a list."""
    return [FieldError(f"{field}[{place}]", "no") for place in range(count)]


MORE = "has more errors, which are not listed here: {}"
REST = "errors of this and other fields, which are not listed here: {}"


@pytest.mark.parametrize(
    ("errors", "listed", "summaries"),
    [
        ([], 0, []),
        (wrong("a", 106), 106, []),
        (wrong("a", 107), 19, [("a", MORE.format(88))]),
        (
            [*wrong("x[0].a", 48_000), FieldError("x[0].b", "no"), *wrong("x[1].a", 30)],
            39,
            [("x[0].a", MORE.format("47,981")), ("x[1].a", MORE.format(11))],
        ),
        ([FieldError(f"f{number}", "no") for number in range(500)], 100, [("f100", REST.format(400))]),
        (
            [error for letter in "abcdefg" for error in wrong(letter, 50)],
            100,
            [*((letter, MORE.format(31)) for letter in "abcde"), ("f", REST.format(45 + 50))],
        ),
    ],
)
def test_of_many_errors_some_are_listed_and_the_others_counted(
    errors: list[FieldError], listed: int, summaries: list[tuple[str, str]]
) -> None:
    said = first_errors(errors)
    assert len(said) == listed + len(summaries)
    assert all(error in errors for error in said[:listed])
    assert [(error.path, error.message) for error in said[listed:]] == summaries
    assert first_errors(said) == said, "a remote command tells what the gateway did"
