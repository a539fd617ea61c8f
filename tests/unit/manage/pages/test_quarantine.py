from __future__ import annotations

import time
from http.cookies import SimpleCookie

import pytest

from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.pages import signed_cookies
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.times import moment
from gatepost.times import second_text

from .conftest import BASE, MARKUP, OWNER


@pytest.fixture
def held(centre, quarantined):
    """Ids of a message to two recipients of contoso's, and of one of fabrikam's. Two more may ask: operators."""
    scopes = [Scope.READ, Scope.QUEUE]
    for name in ("contoso", "fabrikam"):
        token = centre.accounts.add_token(f"{name}-op", scopes, actor=Actor("", ""), organizations=[name])
        centre.tokens[f"{name} operator"] = token
    return quarantined(
        centre.gateway.data,
        {
            "contoso": ["ann@contoso.example", "joe@contoso.example"],
            "subject": MARKUP,
            "body": b"X: <b>\r\n\r\n<i>\r\n",
        },
        {"fabrikam": ["fay@fabrikam.example"], "sender": ""},
    )


def test_the_list_has_what_is_seen_and_markup_is_text(centre, held):
    page = centre.get("/quarantine")
    assert [one in page.text for one in held] == [True, True]
    assert MARKUP not in page.text
    assert "content hook 'av'" in page.words
    tenant = centre.get("/quarantine", "tenant")
    assert [one in tenant.text for one in held] == [False, True]
    assert "contoso" not in tenant.text
    assert 'name="messages"' not in tenant.text, "it may not act"
    assert 'name="messages"' in centre.get("/quarantine", "fabrikam operator").text
    assert [row["recipient"] for row in centre.get("/quarantine?format=json", "tenant").json] == [
        "fay@fabrikam.example"
    ]
    assert centre.get("/quarantine?format=csv").text.count("contoso.example") >= 2


def test_an_empty_list_says_why(centre, held):
    assert "No messages in quarantine found" in centre.get("/quarantine?subject=nothing").words
    centre.post("/quarantine/actions", action="delete", messages=held[1], reason="x")
    assert "The quarantine is empty" in centre.get("/quarantine", "tenant").words


def test_pages_go_on(centre, quarantined):
    quarantined(centre.gateway.data, *({"contoso": [f"u{number}@contoso.example"]} for number in range(51)))
    page = centre.get("/quarantine")
    assert "u0@contoso.example" not in page.text
    assert "more on the next page" in page.words


@pytest.mark.parametrize(
    ("query", "status"),
    [("after=nonsense", 422), ("since=soon", 422), ("subject=" + "a" * 5000, 422), ("sender=%00", 200)],
)
def test_whatever_is_asked_is_answered(centre, held, query, status):
    assert [centre.get(f"/quarantine?{query}", who).status for who in ("owner", "tenant")] == [status] * 2


def test_one_message(centre, held):
    mine, theirs = held
    page = centre.get(f"/quarantine/{mine}")
    assert "joe@contoso.example" in page.text
    assert "Release for this recipient" in page.words
    assert MARKUP not in page.text
    assert "<>" in centre.get(f"/quarantine/{theirs}").words
    reader = centre.get(f"/quarantine/{mine}", "reader")
    assert "You need the permission" in reader.words
    assert "Release" not in reader.words
    for who in ("tenant", "fabrikam operator"):
        assert centre.get(f"/quarantine/{mine}", who).status == 404
        assert centre.post(f"/quarantine/{mine}/content", who).status in {403, 404}


@pytest.mark.parametrize("message", ["nothing", "0" * 16, "..", "1a%00", "a" * 3000, "%3Cb%3E"])
def test_a_message_that_is_not_there(centre, held, message):
    answer = centre.get(f"/quarantine/{message}")
    assert answer.status == 404
    assert "<b>" not in answer.text
    assert centre.post(f"/quarantine/{message}/content").status == 404


def test_header_and_content_are_for_who_may_act_and_are_on_record(centre, held):
    mine = held[0]
    assert "X: <b>" in centre.get(f"/quarantine/{mine}?header=1").words
    assert "X: <b>" not in centre.get(f"/quarantine/{mine}?header=1", "reader").words
    file = centre.post(f"/quarantine/{mine}/content")
    assert file.text == "X: <b>\r\n\r\n<i>\r\n"
    assert file.headers["content-type"] == "message/rfc822"
    assert file.headers["content-disposition"] == f'attachment; filename="{mine}.eml"'
    assert centre.post(f"/quarantine/{mine}/content", "reader").status == 403
    for action in ("quarantine-header", "quarantine-content"):
        events = centre.accounts.audit_events(OWNER, AuditFilter(action=action, outcome=AuditOutcome.DONE))
        assert [event.subject for event in events] == [mine]


def test_an_action_is_confirmed_with_a_reason(centre, held):
    mine = held[0]
    page = centre.post("/quarantine/confirm", action="release", messages=mine, back=f"/quarantine/{mine}")
    assert "will be released for 2 recipients" in page.words
    assert "without another scan" in page.words
    assert page.value("messages") == mine
    assert "cannot undo" in centre.post("/quarantine/confirm", action="delete", messages=mine).words
    told = centre.post("/quarantine/actions", action="release", messages=mine, reason=" ")
    assert told.status == 422
    assert "give a reason" in told.words
    one = centre.post(
        "/quarantine/actions", action="release", messages=mine, recipient="joe@contoso.example", reason="known",
        back=f"/quarantine/{mine}",
    )  # fmt: skip
    assert (one.status, one.headers["location"]) == (303, f"/quarantine/{mine}"), "another recipient is held still"
    rest = centre.post("/quarantine/actions", action="delete", messages=mine, reason="x", back=f"/quarantine/{mine}")
    assert rest.headers["location"] == "/quarantine", "the page of the message is no more"
    gone = centre.post("/quarantine/actions", action="delete", messages=mine, reason="x")
    assert gone.headers["location"] == "/quarantine"
    assert "Nothing to do" in centre.post("/quarantine/confirm", action="delete", messages=mine).words


def test_all_that_match_the_filter_are_acted_on_as_far_as_they_were_seen(centre, held, quarantined):
    listed = centre.get("/quarantine?recipient=@contoso.example&reason=eicar")
    assert (listed.value("to"), listed.value("held_because")) == ("@contoso.example", "eicar")
    page = centre.post(
        "/quarantine/confirm", action="release", which="all", to="@contoso.example", held_because="eicar"
    )
    assert "will be released for 2 recipients" in page.words
    fields = {name: page.value(name) for name in ("action", "which", "to", "held_because", "until")}
    assert fields["until"]
    quarantined(centre.gateway.data, {"contoso": ["late@contoso.example"]})
    done = centre.post("/quarantine/actions", **fields, since="", reason="known")
    assert done.status == 303
    assert [row["recipient"] for row in centre.get("/quarantine?format=json").json] == [
        "late@contoso.example",
        "fay@fabrikam.example",
    ]


@pytest.mark.parametrize("ahead", [1, 3600])
def test_what_comes_after_the_question_is_not_acted_on_though_the_filter_goes_on(centre, held, ahead):
    """A minute that is not over is among them: *Until* includes all of it."""
    until = second_text(time.time() + ahead)
    page = centre.post("/quarantine/confirm", action="release", which="all", until=until)
    assert page.status == 200
    assert moment(page.value("until")) <= time.time()


def test_filters_of_the_list_do_not_narrow_what_is_selected(centre, held):
    page = centre.post(
        "/quarantine/confirm", action="release", which="ticked", messages=held[0], to="ann@contoso.example"
    )
    assert "will be released for 2 recipients" in page.words


def test_what_another_organization_holds_as_well_is_told(centre, quarantined):
    (both,) = quarantined(centre.gateway.data, {"contoso": ["ann@contoso.example"], "then": "fabrikam"})
    page = centre.get(f"/quarantine/{both}")
    assert "Then held by fabrikam" in page.words
    done = centre.post("/quarantine/actions", action="release", messages=both, reason="x", back=f"/quarantine/{both}")
    assert done.headers["location"] == f"/quarantine/{both}"
    said = signed_cookies.read(
        {signed_cookies.COOKIE: SimpleCookie(done.headers["set-cookie"])[signed_cookies.COOKIE].value}, "token owner"
    )
    assert "Also in quarantine of fabrikam, which has to release it, too." in said.text


@pytest.mark.parametrize("form", [{}, {"action": "explode", "messages": "1a"}, {"action": "release"}])
def test_what_is_not_said_is_not_done(centre, held, form):
    assert centre.post("/quarantine/confirm", **form).status == 422
    assert centre.post("/quarantine/actions", **form, reason="x").status == 422


def test_the_way_back_stays_here(centre, held):
    done = centre.post(
        "/quarantine/actions", action="delete", messages=held[0], reason="x", back="https://evil.example/"
    )
    assert done.headers["location"].startswith("/")


def test_nobody_acts_on_what_is_anothers(centre, held):
    mine = held[0]
    page = centre.post("/quarantine/confirm", "fabrikam operator", action="delete", messages=mine)
    assert "Nothing to do" in page.words
    centre.post("/quarantine/actions", "fabrikam operator", action="delete", messages=mine, reason="x")
    assert centre.post("/quarantine/actions", "reader", action="delete", messages=mine, reason="x").status == 403
    assert centre.get(f"/quarantine/{mine}").status == 200


def test_where_only_the_gateway_releases_the_page_says_so(centre, held):
    restricted = BASE | {"fabrikam": {**BASE["fabrikam"], "quarantine_release": "gateway"}}
    apply_document(centre.gateway, OWNER, {"organization": restricted}, ChangeOptions("root"))
    page = centre.get(f"/quarantine/{held[1]}", "fabrikam operator")
    assert "Only an administrator of the whole gateway may release it" in page.words
    assert "Release…" not in page.words
    refused = centre.post(
        "/quarantine/actions", "fabrikam operator", action="release", messages=held[1], reason="please"
    )
    assert refused.status == 403
