from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.trace import (
    ChooseSearch,
    SearchTrace,
    ShowTrace,
    choose_search,
    events_of,
    meanings,
    search_trace_events,
    show_trace,
)
from gatepost.store.sqlite.trace import write_events

OWNER = Principal("ann", frozenset(Scope))
CONTOSO = Principal("con", frozenset(Scope), frozenset({"contoso"}))
BOTH = Principal("both", frozenset(Scope), frozenset({"contoso", "fabrikam"}))
NOBODY = Principal("no", frozenset(Scope), frozenset())
AT = 1_795_528_800.0
MESSAGE = "000000000000001a"


def row(place, organization, **other):
    given = {"event": "RECEIVE", "message": MESSAGE, "direction": "incoming", "session": "5e55", "sender": ""}
    return TraceEvent(AT + place, organization=organization, recipient=f"{place}@x.example", **(given | other))


@pytest.fixture
def gateway(gateway):
    rows = [
        row(0, "contoso"),
        row(1, "fabrikam", message_id="<1@fabrikam.example>"),
        row(2, "", message="", event="REFUSE"),
        row(3, "Contoso", session="5e56"),
        row(4, "contoso", detail={"handover": {"message": "00000000000000ff", "session": "far"}}),
    ]
    write_events(gateway.data / "trace", "0", rows)
    return gateway


def search(gateway, who, **wanted):
    return execute(search_trace_events, Context(gateway, who, lambda: None), SearchTrace(**wanted))


def places(found):
    return "".join(one.recipient[0] for one in found)


# who, filter -> rows
SEEN = [
    (OWNER, {}, "43210"),
    (CONTOSO, {}, "40"),
    (BOTH, {}, "410"),
    (NOBODY, {}, ""),
    (CONTOSO, {"organization": "fabrikam"}, ""),
    (CONTOSO, {"organization": "contoso"}, "40"),
    (CONTOSO, {"organization": "CONTOSO"}, "40"),
    (BOTH, {"event": "RECEIVE"}, "410"),
    (CONTOSO, {"domain": "x.example"}, "40"),
    (CONTOSO, {"session": "far"}, "4"),
    (NOBODY, {"session": "far"}, ""),
]


@pytest.mark.parametrize(("who", "wanted", "expected"), SEEN)
def test_everybody_finds_rows_of_theirs(gateway, who, wanted, expected):
    found = search(gateway, who, **wanted)
    assert (places(found.items), found.after) == (expected, None)


# who, id -> rows, oldest first
IDS = [
    (OWNER, MESSAGE, "0134"),
    (OWNER, MESSAGE.upper(), "0134"),
    (CONTOSO, MESSAGE, "04"),
    (OWNER, "<1@fabrikam.example>", "1"),
    (BOTH, "5e55", "014"),
]


@pytest.mark.parametrize(("who", "identity", "expected"), IDS)
def test_all_of_one(gateway, who, identity, expected):
    assert places(events_of(gateway, who, identity)) == expected
    found = execute(show_trace, Context(gateway, who, lambda: None), ShowTrace(id=identity))
    assert places(found.items) == expected


@pytest.mark.parametrize(
    ("who", "identity"),
    [(OWNER, "nothing"), (OWNER, ""), (CONTOSO, "<1@fabrikam.example>"), (CONTOSO, "5e56"), (NOBODY, MESSAGE)],
)
def test_what_is_not_there(gateway, who, identity):
    with pytest.raises(Refusal) as caught:
        events_of(gateway, who, identity)
    assert (caught.value.kind, caught.value.text) == (
        RefusalKind.MISSING,
        f"the message trace has no message or session {identity}",
    )


def test_pages(gateway):
    found = search(gateway, CONTOSO, limit=1)
    assert places(found.items) == "4"
    found = search(gateway, CONTOSO, limit=1, after=found.after)
    assert (places(found.items), found.after) == ("0", None)


@pytest.mark.parametrize("since", ["999999999w", "yesterday"])
def test_times_that_no_day_has(gateway, since):
    with pytest.raises(Refusal) as caught:
        search(gateway, OWNER, since=since)
    assert caught.value.kind is RefusalKind.INPUT


# searches -> the place of the first that finds anything
CHOICES = [([{"message": "x"}, {"session": "5e55"}], 1), ([{}, {"session": "5e55"}], 0), ([{"message": "x"}], None)]


@pytest.mark.parametrize(("searches", "expected"), CHOICES)
def test_the_first_search_that_finds_anything_is_chosen(gateway, searches, expected):
    request = ChooseSearch(searches=[SearchTrace(**one) for one in searches])
    assert execute(choose_search, Context(gateway, OWNER, lambda: None), request) == expected
    assert execute(choose_search, Context(gateway, NOBODY, lambda: None), request) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" <1@a.example> ", ({"message_id": "<1@a.example>"},)),
        ("@a.example", ({"domain": "a.example"},)),
        ("ann@a.example", ({"address": "ann@a.example"}, {"message_id": "<ann@a.example>"})),
        ("192.0.2.1", ({"peer": "192.0.2.1"},)),
        ("a.example", ({"domain": "a.example"}, {"peer": "a.example"}, {"connector": "a.example"})),
        ("5e55", ({"message": "5e55"}, {"session": "5e55"}, {"connector": "5e55"})),
    ],
)
def test_words_may_mean_several_things(text, expected):
    assert meanings(text) == expected


# address -> rows where it is sender or recipient
@pytest.mark.parametrize(
    ("address", "expected"), [("3@x.example", "3"), ("3@X.EXAMPLE", "3"), ("both@x.example", "b"), ("x@y", "")]
)
def test_an_address_is_found_on_either_side_and_once(gateway, address, expected):
    write_events(gateway.data / "trace", "1", [row(9, "contoso", sender="both@x.example") for _ in "1"])
    both = TraceEvent(AT + 8, "SEND", MESSAGE, "contoso", "incoming", "5e55", "both@x.example", "both@x.example")
    write_events(gateway.data / "trace", "1", [both])
    found = places(search(gateway, OWNER, address=address).items)
    assert found == (expected if expected != "b" else "9b")
