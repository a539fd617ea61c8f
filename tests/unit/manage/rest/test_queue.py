from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.access.records import AuditOutcome

CONTOSO = Principal("token contoso", frozenset({Scope.READ, Scope.QUEUE}), frozenset({"contoso"}))


def senders(answer):
    return "".join(one["message"]["reverse_path"][0] for one in answer.json["items"])


# query -> senders
LISTS = [
    ("", "abl"),
    ("?organization=fabrikam", "l"),
    ("?domain=bank.example", "ab"),
    ("?sender=@contoso.example", "ab"),
    ("?recipient=kim@hidden.example", "l"),
    ("?held=true", ""),
    ("?held=false", "abl"),
    ("?state=deferred", "abl"),
    ("?state=held", ""),
    ("?sender=nobody@x.example", ""),
]


@pytest.mark.parametrize(("query", "expected"), LISTS)
def test_the_list(api, query, expected):
    assert senders(api.call("GET", f"/queue{query}")) == expected


def test_pages(api, queued):
    queued(api.gateway.data, {"contoso": ["x@bank.example"], "sender": "zoe@contoso.example"}, shard=1)
    found, url = [], "/queue?limit=2&domain=bank.example"
    while url:
        answer = api.call("GET", url)
        found.append(senders(answer))
        url = (answer.json["next"] or "").removeprefix("/api/v1")
    assert found == ["ab", "z"]


SORTED = {"received": "abl", "next_attempt": "abl", "size": "abl", "destination": "abl", "attempts": "abl"}


@pytest.mark.parametrize("sort", SORTED)
def test_pages_in_an_order(api, sort):
    for name, order in ((sort, SORTED[sort]), (f"-{sort}", SORTED[sort][::-1])):
        found, url = "", f"/queue?limit=1&sort={name}"
        while url:
            answer = api.call("GET", url)
            found += senders(answer)
            url = (answer.json["next"] or "").removeprefix("/api/v1")
        assert sorted(found) == sorted(order), "each once"
        assert found == senders(api.call("GET", f"/queue?sort={name}"))


def test_a_cursor_of_another_order_is_refused(api):
    url = api.call("GET", "/queue?limit=1&sort=destination").json["next"].removeprefix("/api/v1")
    assert api.call("GET", url.replace("sort=destination", "sort=size")).paths == ["query.after"]
    assert api.call("GET", "/queue?sort=colour").status == 422


def test_totals_are_of_what_is_seen(api):
    every = api.call("GET", "/queue/totals").json
    assert (every["deliveries"], every["messages"], every["exact"]) == (3, 3, True)
    assert api.call("GET", "/queue/totals?domain=bank.example").json["deliveries"] == 2
    api.who = CONTOSO
    assert api.call("GET", "/queue/totals").json["deliveries"] < 3


@pytest.mark.parametrize("after", ["x", "WyIwIiwtMSwwXQ", "WyIwIiw5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5LDBd"])
def test_places_that_no_page_gave(api, after):
    assert api.call("GET", f"/queue?after={after}").paths == ["query.after"]


def test_one_message(api):
    answer = api.call("GET", f"/queue/{api.ids[0]}")
    assert senders(answer) == "a"
    assert answer.json["items"][0]["message"]["id"] == api.ids[0]
    assert api.call("GET", "/queue/0000000000000001").problem == "missing"
    assert api.call("GET", "/queue/x").problem == "invalid"


def test_a_message_of_another_is_not_there(api):
    api.who = CONTOSO
    theirs, none = (api.call("GET", f"/queue/{one}") for one in (api.ids[2], "0000000000000001"))
    assert theirs.problem == none.problem == "missing"
    assert theirs.json["detail"].replace(api.ids[2], "") == none.json["detail"].replace("0000000000000001", "")


CONTENT = b"Subject: the merger\r\n\r\n" + b"secret line\r\n" * 30_000
OWNER = Principal("ann", frozenset({Scope.OWNER}))
READER = Principal("reader", frozenset({Scope.READ, Scope.CONNECTORS, Scope.CERTIFICATES}))
FABRIKAM = Principal("token fabrikam", frozenset({Scope.QUEUE}), frozenset({"fabrikam"}))


@pytest.fixture
def private(api, queued):
    """A message that came to two organizations, and is contoso's."""
    given = {"contoso": ["x@bank.example"], "fabrikam": ["y@hidden.example"], "body": CONTENT}
    (found,) = queued(api.gateway.data, given, shard=1)
    return found


def reads(api):
    return [one for one in api.accounts.audit_events(OWNER, limit=100) if one.action == "queue-content"]


def test_the_content_is_a_file_and_who_read_it_is_on_record(api, private):
    api.who = CONTOSO
    answer = api.call("GET", f"/queue/{private}/content")
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.headers["content-disposition"] == f'attachment; filename="{private}.eml"'
    assert answer.headers["cache-control"] == "no-store"
    (event,) = reads(api)
    assert (event.who, event.organization, event.subject) == ("token contoso", "contoso", private)
    assert event.outcome is AuditOutcome.DONE
    assert "merger" not in str(event.detail)
    api.who = OWNER
    api.call("GET", f"/queue/{private.upper()}/content")
    assert {one.organization for one in reads(api)} == {"contoso", "fabrikam"}, "mail of both was read"


def test_its_head_has_no_body(api, private):
    answer = api.call("HEAD", f"/queue/{private}/content")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "message/rfc822")


@pytest.mark.parametrize(("who", "problem"), [(READER, "forbidden"), (FABRIKAM, "missing"), (None, "unauthenticated")])
def test_who_may_not_reads_nothing(api, private, who, problem):
    api.who = who
    answer = api.call("GET", f"/queue/{private}/content")
    assert answer.problem == problem
    assert b"merger" not in answer.body
    assert [one for one in reads(api) if one.outcome is AuditOutcome.DONE] == []


def test_content_that_is_not_there(api):
    assert api.call("GET", "/queue/0000000000000001/content").problem == "missing"
    assert api.call("GET", "/queue/x/content").problem == "invalid"
    assert [one.outcome for one in reads(api)] == [AuditOutcome.REFUSED] * 2


# body -> senders of what is changed
ACTIONS = [
    ({"action": "hold", "all": True}, "abl"),
    ({"action": "hold", "domain": "bank.example"}, "ab"),
    ({"action": "hold", "messages": [0, 2]}, "al"),
    ({"action": "hold", "messages": [0, 2], "sender": "@fabrikam.example"}, "l"),
    ({"action": "retry", "sender": "bob@contoso.example"}, "b"),
    ({"action": "release", "all": True}, ""),
    ({"action": "drop", "recipient": "kim@hidden.example", "reason": "a loop"}, "l"),
    ({"action": "hold", "state": "deferred"}, "abl"),
    ({"action": "hold", "state": "held"}, ""),
]


@pytest.mark.parametrize(("body", "expected"), ACTIONS)
def test_actions(api, body, expected):
    body = body | {"messages": [api.ids[place] for place in body.get("messages", ())]}
    tried = api.call("POST", "/queue/actions?dry_run=true", body)
    assert (senders(tried), tried.json["dry_run"]) == (expected, True)
    assert senders(api.call("GET", "/queue?held=false")) == "abl"
    done = api.call("POST", "/queue/actions", body)
    assert (senders(done), done.json["changed"], done.json["dry_run"]) == (expected, len(expected), False)
    held = senders(api.call("GET", "/queue?held=true"))
    left = senders(api.call("GET", "/queue"))
    assert held == (expected if body["action"] == "hold" else "")
    assert left == ("".join(one for one in "abl" if one not in expected) if body["action"] == "drop" else "abl")


# body -> paths of what is wrong
WRONG = [
    ({}, ["action"]),
    ({"action": "explode", "all": True}, ["action"]),
    ({"action": "hold"}, ["messages"]),
    ({"action": "drop", "all": False, "messages": []}, ["messages", "reason"]),
    ({"action": "drop", "all": True, "reason": " "}, ["reason"]),
    ({"action": "hold", "messages": ["x", "0000000000000001"]}, ["messages[0]"]),
    ({"action": "hold", "all": True, "state": "x"}, ["state"]),
    ({"action": "drop", "messages": "all"}, ["messages"]),
    ({"action": "drop", "messages": ["0000000000000001"] * 1001}, ["messages"]),
    ({"action": "drop", "al": True}, ["al"]),
]


@pytest.mark.parametrize(("body", "paths"), WRONG)
def test_actions_that_are_none(api, body, paths):
    answer = api.call("POST", "/queue/actions", body)
    assert answer.problem == "invalid"
    assert answer.paths == paths
    assert senders(api.call("GET", "/queue")) == "abl"


def test_what_is_done_is_traced_as_whose_it_was(api):
    api.who = CONTOSO
    assert senders(api.call("POST", "/queue/actions", {"action": "hold", "all": True})) == "ab"
    rows = api.call("GET", "/trace?event=HOLD").json["items"]
    assert {row["detail"]["author"] for row in rows} == {"token contoso"}
    assert len(rows) == 2
