from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from starlette.datastructures import ImmutableMultiDict

from gatepost.manage.access.principal import Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.pages.queue import DONE, _action_request
from gatepost.manage.use_cases.queue_actions import QueueAction
from gatepost.manage.use_cases.refusal import Refusal

from .conftest import OWNER


def form(*pairs):
    return ImmutableMultiDict(pairs)


def test_what_is_ticked_is_meant_and_not_the_filter():
    given = form(
        ("action", "hold"), ("messages", "1a"), ("messages", "1b"), ("domain", "a.example"), ("which", "ticked")
    )
    asked = _action_request(given)
    assert (asked.action, asked.messages, asked.domain, asked.all) == (QueueAction.HOLD, ["1a", "1b"], "", False)


def test_all_that_the_filter_matches_is_meant_whatever_is_ticked():
    given = form(("action", "drop"), ("messages", "1a"), ("which", "all"), ("domain", "a.example"), ("state", "held"))
    asked = _action_request(given)
    assert (asked.action, asked.messages, asked.domain, asked.state, asked.all) == (
        QueueAction.DROP,
        [],
        "a.example",
        "held",
        True,
    )


@pytest.mark.parametrize(
    "given",
    [
        form(),
        form(("action", "explode"), ("which", "all")),
        form(("action", "hold")),
        form(("action", "hold"), ("which", "ticked"), ("domain", "a.example")),
    ],
)
def test_what_is_not_said_is_never_everything(given):
    with pytest.raises(Refusal):
        _action_request(given)


def test_every_action_has_its_words():
    assert set(DONE) == set(QueueAction)


@pytest.fixture
def waiting(centre, queued):
    """Ids of a message of contoso's, one of fabrikam's, and one for both, that came to contoso."""
    given = ({"contoso": ["x@bank.example"]}, {"fabrikam": ["y@shop.example"]})
    both = {"contoso": ["a@bank.example"], "fabrikam": ["b@shop.example"]}
    return queued(centre.gateway.data, *given, both)


def test_everybody_sees_what_waits_of_theirs(centre, waiting):
    page = centre.get("/queue")
    assert [one in page.text for one in waiting] == [True] * 3
    assert "4 deliveries" in page.words
    assert " 1 delivery " in centre.get("/queue?recipient=x@bank.example").words
    tenant = centre.get("/queue", "tenant")
    assert [one in tenant.text for one in waiting] == [False, True, True]
    assert "bank.example" not in tenant.text
    rows = centre.get("/queue?format=json", "tenant").json
    assert "bank.example" not in str(rows)
    lines = centre.get("/queue?format=csv", "tenant").text.splitlines()
    assert re.search(r",\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z,", lines[1]), "when it was received"
    assert centre.get("/queue?organization=contoso", "tenant").text.count(waiting[0]) == 0
    assert "bank.example" not in centre.get("/queue/destinations", "tenant").text
    assert "bank.example" not in centre.get("/queue/destinations?format=csv", "tenant").text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("state=x", 422),
        ("after=nonsense", 422),
        ("after=" + "A" * 5000, 422),
        ("domain=" + "a" * 5000, 422),
        ("sender=%00", 200),
    ],
)
def test_whatever_is_asked_is_answered(centre, waiting, query, status):
    assert [centre.get(f"/queue?{query}", who).status for who in ("owner", "tenant")] == [status] * 2


def test_one_message(centre, waiting):
    first, _, both = waiting
    assert "x@bank.example" in centre.get(f"/queue/{first}").text
    assert centre.get(f"/queue/{first}", "tenant").status == 404
    shared = centre.get(f"/queue/{both}", "tenant")
    assert ("b@shop.example" in shared.text, "bank.example" in shared.text) == (True, False)


@pytest.mark.parametrize("message", ["nothing", "0" * 16, "..", "1a%00", "a" * 3000, "%3Cb%3E"])
def test_a_message_that_does_not_wait(centre, waiting, message):
    answer = centre.get(f"/queue/{message}")
    assert answer.status == 404
    assert "<b>" not in answer.text
    assert centre.post(f"/queue/{message}/content").status == 404


def test_content_is_for_who_may_act_on_all_of_it_and_is_put_on_record(centre, waiting):
    second = waiting[1]
    scopes = [Scope.READ, Scope.QUEUE]
    centre.tokens["operator"] = centre.accounts.add_token("op", scopes, actor=Actor("", ""), organizations=["fabrikam"])
    statuses = {who: [centre.post(f"/queue/{one}/content", who).status for one in waiting] for who in centre.tokens}
    assert statuses["owner"] == [200, 200, 200]
    assert statuses["reader"] == statuses["tenant"] == [403, 403, 403]
    assert statuses["operator"] == [404, 200, 404], "what came to contoso, too, is not fabrikam's to read"
    events = centre.accounts.audit_events(OWNER, AuditFilter(action="queue-content", outcome=AuditOutcome.DONE))
    assert [one.subject for one in events if one.who.endswith("op")] == [second]
    assert len(events) == 5, "the message of both is on record for each of them"


def test_a_header_section_is_shown_to_who_may_act_on_all_of_it_and_put_on_record(centre, waiting):
    both = waiting[2]
    scopes = [Scope.READ, Scope.QUEUE]
    centre.tokens["operator"] = centre.accounts.add_token("op", scopes, actor=Actor("", ""), organizations=["fabrikam"])
    assert [centre.get(f"/queue/{both}?header", who).status for who in ("reader", "operator", "tenant")] == [200] * 3
    assert centre.accounts.audit_events(OWNER, AuditFilter(action="queue-header")) == []
    assert centre.get(f"/queue/{both}?header").status == 200
    events = centre.accounts.audit_events(OWNER, AuditFilter(action="queue-header"))
    assert {one.organization for one in events} == {"contoso", "fabrikam"}


def act(centre, who="owner", *pairs, confirm=False, **form):
    body = urlencode([*pairs, *form.items()]).encode()
    return centre.ask("POST", "/queue/confirm" if confirm else "/queue/actions", who, body, {})


def states(centre, who="owner"):
    return {row["message"]["id"]: row["state"] for row in centre.get("/queue?format=json", who).json}


def test_what_is_ticked_is_held_and_put_on_record(centre, waiting):
    first, second, _ = waiting
    page = act(centre, "owner", ("messages", first), ("messages", second), action="hold", which="ticked", confirm=True)
    assert page.status == 200
    assert "held" not in states(centre).values(), "a question is no action"
    answer = act(centre, "owner", ("messages", first), action="hold", which="ticked", back="/queue?state=held")
    assert (answer.status, answer.headers["location"]) == (303, "/queue?state=held")
    assert states(centre)[first] == "held"
    (event,) = centre.accounts.audit_events(OWNER, AuditFilter(action="queue-hold"))
    assert (event.organization, event.subject, event.detail) == ("contoso", first, {"deliveries": 1})


def test_nobody_acts_on_what_is_anothers(centre, waiting):
    first, second, both = waiting
    scopes = [Scope.READ, Scope.QUEUE]
    centre.tokens["operator"] = centre.accounts.add_token("op", scopes, actor=Actor("", ""), organizations=["fabrikam"])
    for who, status in (("reader", 403), ("tenant", 403)):
        assert act(centre, who, ("messages", second), action="hold", which="ticked").status == status
    act(centre, "operator", ("messages", first), action="hold", which="ticked")
    act(centre, "operator", action="hold", which="all", organization="contoso")
    assert set(states(centre).values()) == {"deferred"}
    act(centre, "operator", action="hold", which="all")
    assert states(centre)[first] == "deferred"
    assert states(centre, "operator") == {second: "held", both: "held"}


def test_nothing_is_dropped_without_a_reason(centre, waiting):
    first = waiting[0]
    act(centre, "owner", ("messages", first), action="drop", which="ticked", reason="  ")
    assert first in states(centre)
    answer = act(
        centre, "owner", ("messages", first), action="drop", which="ticked", reason="a loop", back=f"/queue/{first}"
    )
    assert answer.headers["location"] == "/queue", "its own page is gone"
    assert first not in states(centre)
    event, refused = centre.accounts.audit_events(OWNER, AuditFilter(action="queue-drop"))
    assert event.detail == {"reason": "a loop", "deliveries": 1}
    assert (refused.outcome, refused.subject) == (AuditOutcome.REFUSED, first)


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "", "/\\x"])
def test_nobody_is_led_elsewhere(centre, waiting, back):
    answer = act(centre, "owner", ("messages", waiting[0]), action="retry", which="ticked", back=back)
    assert answer.headers["location"] in {"/", "/queue"}


def test_what_is_gone_is_said(centre, waiting):
    answer = act(centre, "owner", ("messages", "0" * 16), action="retry", which="ticked")
    assert (answer.status, answer.headers["location"]) == (303, "/queue")
    assert set(states(centre).values()) == {"deferred"}


def test_a_text_that_cannot_be_sent_changes_nothing(centre, waiting):
    answer = act(centre, "owner", ("messages", waiting[0]), action="return", which="ticked", text="a\r\nBcc: x@y")
    assert answer.status == 422
    assert waiting[0] in states(centre)
    (event,) = centre.accounts.audit_events(OWNER, AuditFilter(action="queue-return"))
    assert event.outcome is AuditOutcome.REFUSED
