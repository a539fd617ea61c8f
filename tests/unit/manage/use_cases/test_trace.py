from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.trace import event_record, events, events_of, events_page, meanings
from gatepost.store.interface import TraceFilter
from gatepost.store.trace import write_events

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
    (BOTH, {"event": "receive"}, "410"),
    (CONTOSO, {"domain": "x.example"}, "40"),
    (CONTOSO, {"session": "far"}, "4"),
    (NOBODY, {"session": "far"}, ""),
]


@pytest.mark.parametrize(("who", "wanted", "expected"), SEEN)
def test_everybody_finds_rows_of_theirs(gateway, who, wanted, expected):
    assert places(events(gateway, who, TraceFilter(**wanted))) == expected
    found, place = events_page(gateway, who, TraceFilter(**wanted), None)
    assert (places(found), place) == (expected, None)


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


@pytest.mark.parametrize(
    ("who", "identity"),
    [(OWNER, "nothing"), (OWNER, ""), (CONTOSO, "<1@fabrikam.example>"), (CONTOSO, "5e56"), (NOBODY, MESSAGE)],
)
def test_what_is_not_there(gateway, who, identity):
    with pytest.raises(Refusal) as caught:
        events_of(gateway, who, identity)
    assert (caught.value.kind, caught.value.text) == (Kind.MISSING, f"nothing in the trace has the id {identity}")


def test_pages(gateway):
    found, place = events_page(gateway, CONTOSO, TraceFilter(limit=1), None)
    assert places(found) == "4"
    found, place = events_page(gateway, CONTOSO, TraceFilter(limit=1), place)
    assert (places(found), place) == ("0", None)


@pytest.mark.parametrize("since", [1e300, -1e300, 1e15])
def test_times_that_no_day_has(gateway, since):
    with pytest.raises(Refusal) as caught:
        events(gateway, OWNER, TraceFilter(since=since))
    assert caught.value.kind is Kind.INPUT


def test_a_record_has_every_field():
    assert event_record(row(0, "contoso")).keys() == set(TraceEvent.__struct_fields__)


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
    found = places(events(gateway, OWNER, TraceFilter(address=address)))
    assert found == (expected if expected != "b" else "9b")
