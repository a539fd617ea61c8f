from __future__ import annotations

import time
from contextlib import closing

import pytest

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditFilter
from gatepost.manage.use_cases import quarantine as module
from gatepost.manage.use_cases.client import LocalClient, all_items
from gatepost.manage.use_cases.quarantine import (
    GetQuarantined,
    ListQuarantine,
    QuarantineAction,
    QuarantineActions,
    act_on_quarantine,
    get_quarantined,
    list_quarantine,
    read_quarantined,
    read_quarantined_header,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.sqlite.message_trace import search_trace
from gatepost.store.sqlite.quarantine import SqliteQuarantine
from gatepost.store.storage import Storage

OWNER = Principal("ann", frozenset(Scope))
CONTOSO = Principal("con", frozenset(Scope) - {Scope.OWNER}, frozenset({"contoso"}))
FABRIKAM = Principal("fab", frozenset(Scope) - {Scope.OWNER}, frozenset({"fabrikam"}))
READER = Principal("rea", frozenset({Scope.READ}), frozenset({"contoso"}))
NO_ID = "0000000000000001"
HEADER = b"Subject: Offer\r\nX: y\r\n"


@pytest.fixture
def gateway(gateway, quarantined):
    with gateway.config() as store:
        organizations = {
            "contoso": {"accepted_domain": [{"name": "contoso.example"}]},
            "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}], "quarantine_release": "gateway"},
        }
        store.apply({"organization": organizations}, author="ann")
    gateway.ids = quarantined(
        gateway.data,
        {"contoso": ["a@contoso.example", "b@contoso.example"], "subject": "Offer", "body": HEADER + b"\r\nbody\r\n"},
        {"fabrikam": ["f@fabrikam.example"], "sender": "", "days": 7},
        {"contoso": ["c@contoso.example"], "then": "fabrikam", "sender": "joe@other.example"},
    )
    return gateway


def client(gateway, who):
    return LocalClient(gateway, who)


def recorded(gateway):
    """The audit, the newest first."""
    with closing(Accounts(Storage(SQLITE, gateway.data))) as accounts:
        return accounts.audit_events(OWNER, AuditFilter())


def names(gateway, who, **wanted):
    found = all_items(client(gateway, who).call, list_quarantine, ListQuarantine(**wanted))
    return " ".join(one.recipient[0] for one in found)


def act(gateway, who, action, *messages, dry_run=False, reason="seen", **given):
    named = {"messages": list(messages)} if messages else {}
    request = QuarantineActions(action=action, reason=reason, **named, **given)
    return client(gateway, who).call(act_on_quarantine, request, dry_run=dry_run)


def get(gateway, who, message):
    return client(gateway, who).call(get_quarantined, GetQuarantined(message=message))


def refused(kind, call, *given, **more):
    with pytest.raises(Refusal) as caught:
        call(*given, **more)
    assert caught.value.kind is kind
    return caught.value


def events(gateway):
    return [(row.event, row.recipient[:1], row.detail) for row in search_trace(gateway.data / "trace", TraceFilter())]


@pytest.mark.parametrize(
    ("who", "wanted", "expected"),
    [
        (OWNER, {}, "c f b a"),
        (CONTOSO, {}, "c b a"),
        (FABRIKAM, {}, "f"),
        (READER, {}, "c b a"),
        (CONTOSO, {"organization": "fabrikam"}, ""),
        (OWNER, {"organization": "FABRIKAM"}, "f"),
        (OWNER, {"sender": "@other.example"}, "c"),
        (OWNER, {"recipient": "@fabrikam.example"}, "f"),
        (OWNER, {"subject": "off"}, "b a"),
        (OWNER, {"reason": "eicar"}, "c f b a"),
        (OWNER, {"since": "1h"}, "c f b a"),
        (OWNER, {"until": "1h"}, ""),
        (OWNER, {"limit": 1}, "c f b a"),  # page by page
    ],
)
def test_everybody_finds_what_is_theirs(gateway, who, wanted, expected):
    assert names(gateway, who, **wanted) == expected


def test_a_message_is_shown_as_its_holders_may_see_it(gateway):
    first, second, third = gateway.ids
    shown = get(gateway, OWNER, first)
    one = shown.items[-1]
    assert (one.recipient, one.by, one.reason) == ("a@contoso.example", "content hook 'av'", "clamav: Eicar")
    assert one.deleted_at == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert (shown.readable, shown.releasable) == (True, True)
    assert [one.next for one in get(gateway, OWNER, third).items] == ["fabrikam"]
    assert "fabrikam" not in str(get(gateway, CONTOSO, third))
    reader = get(gateway, READER, first)
    assert (reader.readable, reader.releasable) == (False, False)
    theirs = get(gateway, FABRIKAM, second)
    assert (theirs.readable, theirs.releasable) == (True, False)


def test_anothers_message_is_not_there(gateway):
    mine, theirs, _ = gateway.ids
    calls = [
        (use, GetQuarantined(message=mine)) for use in (get_quarantined, read_quarantined, read_quarantined_header)
    ]
    for use, request in calls:
        told = refused(RefusalKind.MISSING, client(gateway, FABRIKAM).call, use, request)
        missing = refused(RefusalKind.MISSING, client(gateway, FABRIKAM).call, use, GetQuarantined(message=NO_ID))
        assert told.text.replace(mine, NO_ID) == missing.text
    for action in QuarantineAction:
        assert act(gateway, FABRIKAM, action, mine).changed == 0
        assert act(gateway, CONTOSO, action, theirs, organization="fabrikam").changed == 0
    assert names(gateway, OWNER) == "c f b a"


def test_what_is_released_or_deleted_is_on_record_with_who_and_why(gateway):
    first, _, third = gateway.ids
    planned = act(gateway, CONTOSO, "release", first, third, dry_run=True, reason="")
    assert (planned.changed, planned.messages, planned.dry_run) == (3, 2, True)
    assert names(gateway, OWNER) == "c f b a"
    request = QuarantineActions(
        action=QuarantineAction.RELEASE, messages=[first], recipient="A@contoso.example", reason="known"
    )
    done = client(gateway, CONTOSO).call(act_on_quarantine, request)
    assert [(one.message, one.recipient) for one in done.items] == [(first, "a@contoso.example")]
    assert act(gateway, CONTOSO, "delete", first).changed == 1
    assert act(gateway, CONTOSO, "release", third).items[0].next == ""
    assert names(gateway, OWNER) == "c f"
    assert names(gateway, CONTOSO) == ""
    assert names(gateway, FABRIKAM) == "c f"  # it has to release it, too
    assert [event[:2] for event in reversed(events(gateway))] == [("RELEASE", "a"), ("DROP", "b"), ("RELEASE", "c")]
    assert events(gateway)[-1][2]["author"] == "con"
    assert events(gateway)[-1][2]["why"] == "known"
    event = recorded(gateway)[-1]
    assert (event.action, event.organization, event.subject) == ("quarantine-release", "contoso", first)
    assert (event.detail["reason"], event.detail["deliveries"]) == ("known", 1)
    assert [event.action for event in recorded(gateway)] == [
        "quarantine-release",
        "quarantine-delete",
        "quarantine-release",
    ]


def test_where_only_the_gateway_releases_others_may_only_delete(gateway):
    _, theirs, _ = gateway.ids
    told = refused(RefusalKind.FORBIDDEN, act, gateway, FABRIKAM, "release", theirs)
    assert "from the quarantine of fabrikam" in told.text
    refused(RefusalKind.FORBIDDEN, act, gateway, FABRIKAM, "release", theirs, dry_run=True)
    assert act(gateway, FABRIKAM, "delete", theirs, dry_run=True).changed == 1
    assert act(gateway, OWNER, "release", theirs).changed == 1


@pytest.mark.parametrize(
    ("given", "path", "text"),
    [
        ({"messages": ["nothing"]}, "messages[0]", "is not a queue id"),
        ({"reason": ""}, "reason", "give a reason"),
        ({"reason": "  "}, "reason", "give a reason"),
        ({"reason": "a\nb"}, "reason", "one line"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_done(gateway, given, path, text):
    messages = given.pop("messages", gateway.ids[:1])
    told = refused(RefusalKind.INPUT, act, gateway, OWNER, "delete", *messages, **given)
    assert [error.path for error in told.errors] == [path]
    assert text in told.errors[0].message
    assert names(gateway, OWNER) == "c f b a"


@pytest.mark.parametrize(
    ("who", "wanted", "left"),
    [
        (OWNER, {"all": True}, "c"),  # now in the quarantine of fabrikam
        (CONTOSO, {"all": True}, "c f"),
        (OWNER, {"sender": "@other.example"}, "c f b a"),  # released by contoso, and held by fabrikam
        (OWNER, {"recipient": "b@contoso.example"}, "c f a"),
        (OWNER, {"subject": "off"}, "c f"),
        (OWNER, {"held_because": "EICAR"}, "c"),
        (OWNER, {"organization": "fabrikam", "all": True}, "c b a"),
        (OWNER, {"since": "1h", "recipient": "b@contoso.example"}, "c f a"),
        (OWNER, {"until": "1h"}, "c f b a"),
        (CONTOSO, {"organization": "fabrikam", "all": True}, "c f b a"),
    ],
)
def test_all_that_match_are_released(gateway, who, wanted, left):
    planned = act(gateway, who, "release", dry_run=True, reason="", **wanted)
    assert act(gateway, who, "release", **wanted).changed == planned.changed
    assert names(gateway, OWNER) == left


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"organization": "contoso"},
        {"messages": [], "recipient": "a@contoso.example"},
        {"messages": [], "sender": "@other.example"},
    ],
)
def test_nobody_acts_on_all_by_leaving_something_out(gateway, wanted):
    told = refused(RefusalKind.INPUT, act, gateway, OWNER, "delete", **wanted)
    assert "choose at least one message" in told.errors[0].message
    assert names(gateway, OWNER) == "c f b a"


def test_all_of_one_who_may_not_release_some_is_refused(gateway):
    both = Principal("two", frozenset({Scope.QUEUE}), frozenset({"contoso", "fabrikam"}))
    refused(RefusalKind.FORBIDDEN, act, gateway, both, "release", all=True)
    assert names(gateway, OWNER) == "c f b a"


def test_what_comes_in_since_is_of_the_organizations_that_were_judged(gateway, quarantined, monkeypatch):
    both = Principal("two", frozenset({Scope.READ, Scope.QUEUE}), frozenset({"contoso", "fabrikam"}))
    act(gateway, OWNER, "delete", organization="fabrikam", all=True)
    judged = module._gateway_only

    def meanwhile(*given):
        quarantined(gateway.data, {"fabrikam": ["late@fabrikam.example"]})
        return judged(*given)

    monkeypatch.setattr(module, "_gateway_only", meanwhile)
    assert act(gateway, both, "release", all=True).changed == 3
    assert names(gateway, OWNER).startswith("l ")


def test_the_audit_has_the_filters_of_what_was_done(gateway):
    act(gateway, OWNER, "release", subject="off", since="1h")
    act(gateway, CONTOSO, "delete", all=True)
    assert [event.subject for event in recorded(gateway)] == ["all", "subject off, since 1h"]


def test_the_audit_says_that_the_second_of_two_administrators_changed_nothing(gateway):
    for _ in range(2):
        act(gateway, OWNER, "release", gateway.ids[0])
    assert [event.detail["deliveries"] for event in recorded(gateway)] == [0, 2]


def test_more_than_a_number_is_refused(gateway, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
    told = refused(RefusalKind.INPUT, act, gateway, OWNER, "delete", all=True)
    assert "more than 3 match" in told.text
    assert act(gateway, CONTOSO, "delete", all=True).changed == 3
    assert act(gateway, OWNER, "delete", *gateway.ids, dry_run=True).changed == 1


def test_content_and_header_are_read_and_that_is_on_record(gateway):
    first = gateway.ids[0]
    file = client(gateway, OWNER).call(read_quarantined, GetQuarantined(message=first))
    assert file.name == f"{first}.eml"
    assert b"".join(file.chunks) == HEADER + b"\r\nbody\r\n"
    header = client(gateway, OWNER).call(read_quarantined_header, GetQuarantined(message=first))
    assert header.text == "Subject: Offer\nX: y"
    assert [(event.action, event.organization) for event in recorded(gateway)] == [
        ("quarantine-header", "contoso"),
        ("quarantine-content", "contoso"),
    ]
    refused(RefusalKind.FORBIDDEN, client(gateway, READER).call, read_quarantined, GetQuarantined(message=first))


def test_a_header_without_end_is_cut(gateway, quarantined):
    (long,) = quarantined(gateway.data, {"contoso": ["l@contoso.example"], "body": b"X: y\r\n" * 20_000})
    header = client(gateway, OWNER).call(read_quarantined_header, GetQuarantined(message=long))
    assert len(header.text) < 64 * 1024


@pytest.mark.parametrize("method", ["page", "release", "body"])
def test_a_store_that_cannot_be_read_is_told(gateway, monkeypatch, method):
    def fail(*_):
        raise StoreFailure("the disk is broken")

    monkeypatch.setattr(SqliteQuarantine, method, fail)
    first = gateway.ids[0]
    calls = {
        "page": lambda: names(gateway, OWNER),
        "release": lambda: act(gateway, OWNER, "release", first),
        "body": lambda: client(gateway, OWNER).call(read_quarantined, GetQuarantined(message=first)),
    }
    assert refused(RefusalKind.UNREADABLE, calls[method]).text.endswith("the disk is broken")


def test_a_message_that_goes_while_it_is_read_is_missing(gateway, monkeypatch):
    def gone(*_):
        raise LookupError("it is gone")

    monkeypatch.setattr(SqliteQuarantine, "body", gone)
    request = GetQuarantined(message=gateway.ids[0])
    assert refused(RefusalKind.MISSING, client(gateway, OWNER).call, read_quarantined, request).text == "it is gone"


def test_what_belongs_to_an_organization_that_is_gone_is_for_the_gateway_to_release(gateway, quarantined):
    (left,) = quarantined(gateway.data, {"former": ["x@former.example"]})
    former = Principal("for", frozenset({Scope.READ, Scope.QUEUE}), frozenset({"former"}))
    assert get(gateway, former, left).releasable is False
    assert get(gateway, OWNER, left).releasable is True
