from __future__ import annotations

import shlex

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
    search_command,
    search_messages,
    search_trace_events,
    show_trace,
    shown_sender,
)
from gatepost.store.sqlite import message_trace
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
    parts = ({"words": text.strip()},) if text else ()
    assert meanings(text) == (*expected, *parts)


@pytest.mark.parametrize("text", ["bob invoice", "ann@a.example bob@b.example", "bob*", "*@a.example", '"new mail"'])
def test_several_words_and_wildcards_are_parts_of_names_and_subjects_alone(text):
    assert meanings(text) == ({"words": text},)


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


@pytest.fixture
def mail(gateway):
    """Two messages with several recipients, of two organizations, beside what is there."""
    ann, subject = {"sender": "ann.lee@contoso.example", "message": "0a"}, "Quarterly Invoice 77"
    rows = [
        row(10, "contoso", **ann, subject=subject, message_id="<q77@contoso.example>"),
        row(11, "contoso", **ann, event="SEND", subject=subject, message_id="<q77@contoso.example>"),
        row(10, "contoso", **ann, event="DEFER", subject=subject, message_id="<q77@contoso.example>"),
        row(12, "fabrikam", message="0b", sender="bob@fabrikam.example", subject="invoice of fabrikam"),
    ]
    write_events(gateway.data / "trace", "0", rows)
    return gateway


# who, filter -> the messages, each with its recipients
PARTS = [
    (OWNER, {"words": "INVOICE"}, [("0b", "12"), ("0a", "11 10")]),
    (CONTOSO, {"words": "invoice"}, [("0a", "11 10")]),
    (NOBODY, {"words": "invoice"}, []),
    (OWNER, {"words": "ann.lee 11@x"}, [("0a", "11")]),
    (OWNER, {"words": '"quarterly invoice"'}, [("0a", "11 10")]),
    (OWNER, {"words": '"invoice quarterly"'}, []),
    (OWNER, {"subject": "quart*77"}, [("0a", "11 10")]),
    (OWNER, {"subject": "fabrikam"}, [("0b", "12")]),
    (OWNER, {"sender": "ann*", "recipient": "10@*"}, [("0a", "10")]),
    (OWNER, {"sender": "*@FABRIKAM.example"}, [("0b", "12")]),
    (OWNER, {"sender": "@*.example", "event": "DEFER"}, [("0a", "10")]),
    (OWNER, {"domain": "*rikam.example"}, [("0b", "12")]),
    (OWNER, {"address": "bob@*"}, [("0b", "12")]),
    (OWNER, {"message_id": "*q77*"}, [("0a", "11 10")]),
    (CONTOSO, {"sender": "ANN.LEE@contoso.example"}, [("0a", "11 10")]),
    (CONTOSO, {"sender": "bob@fabrikam.example"}, []),
    (CONTOSO, {"domain": "contoso.example"}, [("0a", "11 10")]),
    (CONTOSO, {"domain": "ontoso.example"}, []),
    (OWNER, {"words": "* **"}, "all"),
]


@pytest.mark.parametrize(("who", "wanted", "expected"), PARTS)
def test_messages_are_found_by_parts_of_names_and_subjects(mail, who, wanted, expected):
    found = execute(search_messages, Context(mail, who, lambda: None), SearchTrace(**wanted))
    if expected == "all":
        assert sum(one.rows for one in found.items) == len(search(mail, who).items) == 9
        return
    shown = [(one.message, " ".join(each.recipient.partition("@")[0] for each in one.events)) for one in found.items]
    assert (shown, found.after) == (expected, None)


def test_a_message_has_the_newest_row_of_each_recipient(mail):
    found = execute(search_messages, Context(mail, OWNER, lambda: None), SearchTrace(words="quarterly")).items
    assert [(one.rows, [event.event for event in one.events]) for one in found] == [(3, ["SEND", "DEFER"])]


def test_pages_of_messages_have_no_more_than_was_asked_for_and_leave_none_out(mail):
    seen, after = [], ""
    for _ in range(9):
        page = execute(search_messages, Context(mail, OWNER, lambda: None), SearchTrace(limit=2, after=after))
        assert 0 < len(page.items) <= 2
        seen += [one.message or one.session for one in page.items]
        if page.after is None:
            break
        after = page.after
    assert dict.fromkeys(seen) == dict.fromkeys(["0b", "0a", MESSAGE, "5e55"])


def test_a_tenant_is_never_looked_up_in_an_index_of_all(mail, monkeypatch):
    asked = []
    real = message_trace.trace_page

    def page(directory, wanted, *more):
        asked.append(wanted)
        return real(directory, wanted, *more)

    monkeypatch.setattr(message_trace, "trace_page", page)
    given = {"sender": "a@b.example", "recipient": "@c.example", "address": "d@e.example", "domain": "f.example"}
    search(mail, CONTOSO, **given)
    search(mail, OWNER, **given)
    tenants, owners = asked
    assert (tenants.sender, tenants.recipient, tenants.address, tenants.domain) == ("", "", "", "")
    assert len(tenants.patterns) == 4
    assert (owners.sender, owners.patterns) == ("a@b.example", ())


def test_too_many_words_are_refused(gateway):
    with pytest.raises(Refusal) as refused:
        search(gateway, OWNER, words=" ".join("abcdefghijk"))
    assert [error.path for error in refused.value.errors] == ["words"]


def test_a_search_as_a_command():
    wanted = SearchTrace(words="bob's mail", message_id="<a@b>", since="24h", limit=5)
    words = ["gatepost", "trace", "search", "--since", "24h", "--message-id", "<a@b>", "--words", "bob's mail"]
    assert shlex.split(search_command(wanted)) == words
    assert search_command(wanted, since="") == search_command(wanted).replace(" --since 24h", "")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"sender": "a@x.example"}, "<a@x.example>"),
        ({}, "<>"),
        ({"event": "TLSFAIL", "peer_address": "192.0.2.1"}, "192.0.2.1"),
    ],
)
def test_a_client_stands_where_nobody_named_a_sender(fields, shown):
    assert shown_sender(row(0, "", **fields)) == shown
