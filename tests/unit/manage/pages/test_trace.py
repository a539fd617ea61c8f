from __future__ import annotations

import re
import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor
from gatepost.manage.pages import trace
from gatepost.manage.pages.message_head import partner_of
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.sqlite import message_trace
from gatepost.store.sqlite.trace import write_events

from .conftest import OWNER

PARTIAL = {"hx_request": "true", "hx_request_type": "partial"}
SCRIPT = "<script>alert(1)</script>"
MESSAGE, THEIRS = "000000000000001a", "000000000000001b"


def row(ago, organization="contoso", message=MESSAGE, event="RECEIVE", **more):
    given = {"direction": "incoming", "session": "5e55", "sender": "x@bank.example", "recipient": "ann@contoso.example"}
    return TraceEvent(time.time() - ago, event, message, organization, **(given | more))


@pytest.fixture
def traced(centre):
    def keep(*rows):
        write_events(centre.gateway.data / "trace", "0", rows)
        return centre

    return keep


@pytest.fixture
def both(traced):
    """A message of each organization."""
    return traced(
        row(60, subject=f"kanarie {SCRIPT}", message_id="<1@bank.example>"),
        row(50, event="DELIVER", subject=f"kanarie {SCRIPT}"),
        row(40, "fabrikam", THEIRS, session="5e56", recipient="fay@fabrikam.example", subject="=1+1"),
    )


def test_a_message_that_is_not_in_the_trace_yet_is_shown_in_the_queue(centre, queued):
    (message,) = queued(centre.gateway.data, {"contoso": ["x@bank.example"]})
    answer = centre.get(f"/trace/{message}")
    assert (answer.status, answer.headers["location"]) == (303, f"/queue/{message}")
    assert centre.get(f"/trace/{message}", "tenant").status == 404, "another organization's"
    write_events(centre.gateway.data / "trace", "0", [row(1, message=message)])
    assert centre.get(f"/trace/{message}").status == 200


@pytest.mark.parametrize(
    ("event", "reply", "help_address"),
    [
        ("REFUSE", "550 5.7.64 TenantAttribution; Relay Access Denied", "#550-5764"),
        (
            "DEFER",
            "450 4.7.320 Certificate validation failed [Message=UntrustedRoot x]",
            "#tls-requirements-that-were-not",
        ),
        ("FAIL", "550 5.7.64 the same status of another server", ""),
    ],
)
def test_a_reply_of_ours_leads_to_its_cause_and_cure(traced, event, reply, help_address):
    page = traced(row(60), row(50, event=event, reply=reply)).get(f"/trace/{MESSAGE}")
    assert page.status == 200
    assert ("/docs/reply-codes" in page.text) is bool(help_address)
    assert f"/docs/reply-codes{help_address}" in page.text or not help_address


def test_everybody_finds_what_is_theirs(both):
    page = both.get("/trace")
    assert "kanarie" in page.words
    assert SCRIPT not in page.text
    tenant = both.get("/trace", "tenant")
    assert ("fay@fabrikam.example" in tenant.words, "contoso" in tenant.text) == (True, False)


def test_the_evidence_of_a_message_is_of_organizations_that_are_seen(both, logs):
    directory = evidence_directory(both.gateway.data)
    logs.keep_key(directory)
    chain = logs.chain(directory)
    write_events(both.gateway.data / "trace", "0", [row(55, "fabrikam"), row(54, "northwind")])
    for organization in ("contoso", "fabrikam", "northwind"):
        chain.append(logs.events(1, at=time.time() - 50, message=MESSAGE, organization=organization), time.time())
    here, seen = Actor("root", ""), ["contoso", "fabrikam"]
    both.tokens["two"] = both.accounts.add_token("two", [Scope.READ], actor=here, organizations=seen)
    for who, organizations in (("owner", {"contoso", "fabrikam", "northwind"}), ("two", set(seen))):
        answer = both.get(f"/trace/{MESSAGE}/evidence", who)
        shown = [one for segment in answer.json["segments"] for one in segment["entries"] if isinstance(one, dict)]
        assert {one["organization"] for one in shown if "organization" in one} == organizations
    actions = [one.action for one in both.accounts.audit_events(OWNER)]
    assert actions.count("evidence-export") == 2


@pytest.mark.parametrize(
    "path",
    [
        f"/trace/{MESSAGE}",
        f"/trace/{MESSAGE}?format=json",
        f"/trace/{MESSAGE}/evidence",
        "/trace/%3C1%40bank.example%3E",
        "/trace/5e55",
        "/trace/",
        "/trace/nothing",
        "/trace/" + "a" * 3000,
    ],
)
def test_what_is_anothers_is_as_if_it_were_not_there(both, path):
    answer = both.get(path, "tenant")
    assert answer.status == 404
    assert "kanarie" not in answer.text
    assert len(answer.text) < 20_000


@pytest.mark.parametrize("identity", [MESSAGE, MESSAGE.upper(), "%3C1%40bank.example%3E", "5e55"])
def test_all_of_one(both, identity):
    page = both.get(f"/trace/{identity}")
    assert page.status == 200
    assert "kanarie" in page.words
    assert SCRIPT not in page.text


def test_an_id_leads_to_its_message(both):
    answer = both.get(f"/trace?q={MESSAGE}")
    assert (answer.status, answer.headers["location"]) == (303, f"/trace/{MESSAGE}")
    assert both.get(f"/trace?q={MESSAGE}", "tenant").status == 200, "there is nothing of it to be led to"
    assert both.get(f"/trace?q={MESSAGE}&live=yes").status == 200


# query -> the status of the page and of its file
QUERIES = [
    ("", 200, 200),
    ("since=1h", 200, 200),
    ("since=yesterday", 422, 422),
    ("after=nonsense", 422, 200),
    ("after=" + "A" * 5000, 422, 200),
    ("q=%40", 200, 200),
    ("q=%3C", 200, 200),
    ("q=" + "a" * 3000, 200, 200),
    ("q=%00", 200, 200),
    ("event=explode", 422, 422),
    ("since=9999-12-31&until=0001-01-01", 200, 200),
    ("organization=nobody", 200, 200),
]


@pytest.mark.parametrize(("query", "page", "file"), QUERIES)
def test_whatever_is_asked_is_answered(both, query, page, file):
    for form, status in (("", page), ("&format=json", file), ("&format=csv", file)):
        assert both.get(f"/trace?{query}{form}").status == status, form
        answer = both.get(f"/trace?{query}{form}", "tenant")
        assert (answer.status, "kanarie" in answer.text) == (status, False), form


def test_a_file_has_every_row_and_column_and_computes_nothing(both, monkeypatch):
    monkeypatch.setattr("gatepost.manage.use_cases.client.MAX_ITEMS", 1)
    assert len(both.get("/trace?format=json").json) == 3
    lines = both.get("/trace?format=csv").text.splitlines()
    assert lines[0] == ",".join(trace.COLUMNS)
    assert len(lines) == 4
    assert not [line for line in lines if ",=1+1" in line]
    monkeypatch.setattr("gatepost.manage.use_cases.trace.MOST", 2)
    assert len(both.get("/trace?format=json").json) == 2


def test_pages_follow_each_other(traced, monkeypatch):
    monkeypatch.setattr(trace, "PAGE", 2)
    centre = traced(*(row(at, recipient=f"r{at}@contoso.example", message=f"{at:016x}") for at in range(5, 0, -1)))
    seen, address = [], "/trace"
    for _ in range(4):
        page = centre.get(address, **PARTIAL)
        seen += dict.fromkeys(re.findall(r"r\d@contoso\.example", page.words))
        following = re.search(r'href="([^"]*after=[^"]*)"', page.text)
        if following is None:
            break
        address = following[1].replace("&amp;", "&")
    assert seen == [f"r{at}@contoso.example" for at in range(1, 6)]


def test_a_search_that_takes_long_says_how_far_it_came_and_goes_on(traced, monkeypatch):
    monkeypatch.setattr(message_trace, "PATIENCE", -1.0)
    day = 86_400
    centre = traced(*(row(at * day, subject=f"report {at}", message=f"{at:016x}") for at in range(1, 4)))
    page = centre.get("/trace?words=report+3&since=all", **PARTIAL)
    assert "Nothing found yet" in page.words
    assert re.search(r"Searched back to \d{4}-\d\d-\d\d", page.words)
    assert 'hx-trigger="load" hx-target="#found"' in page.text
    while following := re.search(r'href="([^"]*after=[^"]*)"', page.text):
        page = centre.get(following[1].replace("&amp;", "&"), **PARTIAL)
    assert "report 3" in page.words


def test_the_oldest_first_and_the_totals(both):
    newest, oldest = (
        re.findall(r'href="/trace/([0-9a-f]{16})"', both.get(f"/trace{query}", **PARTIAL).text)
        for query in ("?since=all", "?since=all&sort=time")
    )
    assert oldest == newest[::-1]
    assert len(oldest) > 1
    assert (
        f"{len(both.get('/trace?since=all&format=json').json)} events" in both.get("/trace?since=all&part=totals").words
    )


# name, query -> what is said
@pytest.mark.parametrize(
    ("form", "location"),
    [
        ({"name": "failing", "query": "event=FAIL&since=1d"}, "/trace?"),
        ({"name": "", "query": "event=FAIL"}, "/trace"),
        ({"name": "x", "query": ""}, "/trace"),
        ({"forget": "failing"}, "/trace"),
        ({"name": SCRIPT, "query": "event=FAIL"}, "/trace?"),
        ({"name": "a" * 5000, "query": "q=" + "b" * 5000}, "/trace"),
        ({"name": "x", "query": "next=https://evil.example"}, "/trace"),
    ],
)
def test_a_search_is_kept_in_the_browser(centre, form, location):
    answer = centre.post("/trace/searches", **form)
    assert answer.status == 303
    assert answer.headers["location"].startswith(location)
    assert "evil" not in answer.headers["location"]
    assert len(answer.headers.get("set-cookie", "")) < 4096


# rows: event, direction, sender, recipient -> the domain at the other side
PARTNERS = [
    ([("RECEIVE", "incoming", "x@bank.example", "ann@contoso.example")], "bank.example"),
    ([("RECEIVE", "incoming", "", "ann@contoso.example")], ""),
    (
        [
            ("RECEIVE", "originating", "a@contoso.example", "b@shop.example"),
            ("SEND", "originating", "a", "b@shop.example"),
        ],
        "shop.example",
    ),
    ([("RECEIVE", "originating", "a@contoso.example", "b@contoso.example"), ("DELIVER", "", "", "b@c")], ""),
    ([("RECEIVE", "incoming", "", "a@contoso.example"), ("FAIL", "", "", "b@far.example")], "far.example"),
]


@pytest.mark.parametrize(("rows", "expected"), PARTNERS)
def test_who_is_at_the_other_side(rows, expected):
    found = [
        row(9 - at, event=event, direction=direction, sender=sender, recipient=recipient)
        for at, (event, direction, sender, recipient) in enumerate(rows)
    ]
    assert partner_of(found) == expected
