from __future__ import annotations

import pytest

from gatepost.manage.pages.trace_query import in_words, read_query, wider_searches


def wanted(question):
    return [search for _, search in question.searches]


# what is typed -> the meanings that are tried, and how far back
BOX = [
    ("ann@a.example", [{"address": "ann@a.example"}, {"message_id": "<ann@a.example>"}], "all"),
    ("<1@a.example>", [{"message_id": "<1@a.example>"}], "all"),
    ("@a.example", [{"domain": "a.example"}], "7d"),
    ("a.example", [{"domain": "a.example"}, {"peer": "a.example"}, {"connector": "a.example"}], "7d"),
    ("2001:db8::1", [{"peer": "2001:db8::1"}], "7d"),
    (" 0cac32df48800000 ", [{name: "0cac32df48800000"} for name in ("message", "session", "connector")], "all"),
    ("", [{}], "1h"),
]


@pytest.mark.parametrize(("text", "meanings", "since"), BOX)
def test_the_box_understands(text, meanings, since):
    question = read_query({"q": text}, "contoso", 50)
    parts = [{"words": text.strip()}] if text else []
    assert [meaning for meaning, _ in question.searches] == [*meanings, *parts]
    assert question.since == since
    assert {(one.organization, one.limit) for one in wanted(question)} == {("contoso", 50)}


def test_fields_and_times_are_taken_as_they_were_written():
    given = {"sender": " @a.example ", "event": "defer", "since": "2h", "until": "2026-11-24T16:00", "page": "7"}
    (found,) = wanted(read_query(given, "", 10))
    assert (found.sender, found.event) == ("@a.example", "DEFER")
    assert (found.since, found.until) == ("2h", "2026-11-24T16:00:59.999999"), (
        "of a page, until the minute that was written"
    )
    assert not read_query({"since": "all", "event": ""}, "", 10).searches[0][1].since


def test_what_is_wrong_is_said_by_field():
    question = read_query({"since": "x", "until": "y", "event": "EXPLODE"}, "", 10)
    assert set(question.errors) == {"since", "until", "event"}
    assert question.searches == ()


def test_an_id_alone_names_one_message():
    question = read_query({"q": "0cac32df48800000"}, "", 10)
    assert question.names_one({"message": "0cac32df48800000"})
    assert not question.names_one({"connector": "0cac32df48800000"})
    assert not read_query({"q": "0cac32df48800000", "event": "SEND"}, "", 10).names_one({"message": "x"})
    assert read_query({}, "", 10).is_plain


def test_a_search_has_a_name():
    assert in_words({}) == "all messages, last hour"
    given = {"recipient": "@a.example", "since": "24h", "organization": "contoso", "until": "1h"}
    assert in_words(given) == "to @a.example, in contoso, last 24 hours, until 1h"
    assert in_words({"q": "x", "since": "3h"}) == "x, since 3h"


def test_several_words_are_parts_of_names_and_subjects():
    question = read_query({"q": "bob invoice"}, "", 50)
    assert [meaning for meaning, _ in question.searches] == [{"words": "bob invoice"}]
    assert question.since == "7d"
    assert [one.words for one in wanted(read_query({"q": "bob", "words": "invoice"}, "", 50))][-1] == "invoice"


@pytest.mark.parametrize(
    ("since", "longer"), [("1h", ["24h", "7d", "30d", "all"]), ("30d", ["all"]), ("all", []), ("3d", ["all"])]
)
def test_what_is_not_found_is_looked_for_in_longer_times(since, longer):
    found = wider_searches(read_query({"words": "bob", "since": since}, "", 50))
    assert [value for value, _, _ in found] == longer
    assert [command for *_, command in found][-1:] == ["gatepost trace search --words bob"] * bool(longer)
    if len(found) > 1:
        assert found[0][-1] == "gatepost trace search --since 24h --words bob"


def test_what_is_wrong_is_not_looked_for_elsewhere():
    assert wider_searches(read_query({"event": "BURN"}, "", 50)) == ()
