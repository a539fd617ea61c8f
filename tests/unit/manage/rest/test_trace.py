from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope

CONTOSO = Principal("token contoso", frozenset({Scope.READ}), frozenset({"contoso"}))


def senders(answer):
    return "".join(row["sender"][0] for row in answer.json["items"])


# query -> senders
SEARCHES = [
    ("", "lba"),
    ("?organization=contoso", "ba"),
    ("?sender=@contoso.example", "ba"),
    ("?recipient=kim@hidden.example", "l"),
    ("?domain=bank.example", "ba"),
    ("?session=5e51", "b"),
    ("?event=RECEIVE&limit=1", "l"),
    ("?event=SEND", ""),
    ("?since=2026-11-24T12:00:01Z", "lb"),
    ("?until=2026-11-24T12:00:01", "ba"),
    ("?since=2026-11-25", ""),
    ("?sort=time", "abl"),
    ("?sort=-time", "lba"),
    ("?connector=x", ""),
    ("?message_id=%3Cx%3E", ""),
    ("?tls_version=TLSv1.3&tls_group=x&achieved=none&result_type=x&peer=192.0.2.1", ""),
]


@pytest.mark.parametrize(("query", "expected"), SEARCHES)
def test_searches(api, query, expected):
    answer = api.call("GET", f"/trace{query}")
    assert answer.status == 200
    assert senders(answer) == expected


WRONG = [
    ("?since=yesterday", ["query.since"]),
    ("?event=EXPLODE", ["query.event"]),
    ("?limit=x&event=y", ["query.event", "query.limit"]),
    ("?after=x", ["query.after"]),
    ("?sort=size", ["query.sort"]),
    ("?form=x", ["query.form"]),
]


@pytest.mark.parametrize(("query", "paths"), WRONG)
def test_searches_that_are_none(api, query, paths):
    answer = api.call("GET", f"/trace{query}")
    assert answer.problem == "invalid"
    assert answer.paths == paths


def test_pages(api):
    found, url = [], "/trace?limit=2"
    while url:
        answer = api.call("GET", url)
        found.append(senders(answer))
        url = (answer.json["next"] or "").removeprefix("/api/v1")
    assert found == ["lb", "a"]


def test_totals_are_of_what_is_seen(api, monkeypatch):
    every = api.call("GET", "/trace/totals").json
    assert (every["rows"], every["exact"], sum(every["events"].values())) == (3, True, 3)
    assert api.call("GET", "/trace/totals?domain=bank.example").json["rows"] == 2
    monkeypatch.setattr("gatepost.manage.use_cases.trace.COUNTED", 2)
    least = api.call("GET", "/trace/totals").json
    assert (least["rows"], least["exact"]) == (2, False)
    api.who = CONTOSO
    assert api.call("GET", "/trace/totals").json == api.call("GET", "/trace/totals?organization=contoso").json


def test_pages_from_the_oldest_on(api):
    found, url = [], "/trace?limit=2&sort=time"
    while url:
        answer = api.call("GET", url)
        found.append(senders(answer))
        url = (answer.json["next"] or "").removeprefix("/api/v1")
    assert "".join(found) == "abl"
    assert [one["message"] for one in api.call("GET", "/messages?sort=time").json["items"]] == [
        one["message"] for one in api.call("GET", "/messages").json["items"]
    ][::-1]


def test_all_of_one(api):
    assert senders(api.call("GET", f"/trace/{api.ids[1]}")) == "b"
    assert senders(api.call("GET", "/trace/5e51")) == "b"
    assert api.call("GET", "/trace/nothing").problem == "missing"


def test_rows_of_another_are_not_there(api):
    api.who = CONTOSO
    assert senders(api.call("GET", "/trace")) == "ba"
    theirs, none = api.call("GET", f"/trace/{api.ids[2]}"), api.call("GET", "/trace/nothing")
    assert theirs.problem == none.problem == "missing"
    assert theirs.json["detail"].replace(api.ids[2], "nothing") == none.json["detail"]


def test_a_cursor_of_the_gateway_shows_a_tenant_nothing_more(api):
    behind = api.call("GET", "/trace?limit=1").json["next"].removeprefix("/api/v1")
    api.who = CONTOSO
    assert senders(api.call("GET", behind.replace("limit=1", "limit=9"))) == "ba"
