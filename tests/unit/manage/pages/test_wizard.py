from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.validation import last_validation

DRAFT = {
    "scenario": "to-partner",
    "organization": "contoso",
    "done": "scenario,name,use,routing,security,check",
    "name": "new-out",
    "use": "domains",
    "recipient_domains": "new.example",
    "routing": "smart-hosts",
    "smart_hosts": "127.0.0.1:1",
    "tls_settings": "encryption-only",
}


def path(step, **more):
    return "/connectors/new?" + urlencode(DRAFT | {"step": step} | more)


def test_it_begins_with_the_scenario_and_what_is_needed(centre):
    words = centre.get("/connectors/new?organization=contoso").words
    assert "This gateway → Partner organization" in words
    assert "Optional" in words
    assert "Needed" in words
    assert "Choose one" in centre.get("/connectors/new").words
    tenant = centre.get("/connectors/new", "tenant").words
    assert "Needed" in tenant, "there is only one organization to choose"


@pytest.mark.parametrize("step", ["name", "use", "routing", "security", "check", "save"])
def test_each_step_carries_all_answers(centre, step):
    answer = centre.get(path(step))
    assert answer.status == 200
    for name, text in DRAFT.items():
        if name in answer.text and answer.value(name) is not None and name not in {"use", "routing", "tls_settings"}:
            assert answer.value(name) == text


def test_on_and_back_lose_nothing(centre):
    on = centre.get(path("use", at="use", go="next"))
    assert on.status == 303
    query = parse_qs(urlsplit(on.headers["location"]).query)
    assert query["step"] == ["routing"]
    assert {name: query[name] for name in DRAFT if name != "done"} == {
        name: [text] for name, text in DRAFT.items() if name != "done"
    }
    back = centre.get(path("use", at="use", go="back", recipient_domains="not right!"))
    query = parse_qs(urlsplit(back.headers["location"]).query)
    assert (query["step"], query["recipient_domains"]) == (["name"], ["not right!"])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"at": "use", "recipient_domains": "bad..example"}, "recipient_domains"),
        ({"at": "routing", "smart_hosts": ""}, "smart_hosts"),
        ({"at": "name", "name": "bank-out"}, "name"),
        ({"at": "name", "name": "b" * 65}, "name"),
        ({"at": "scenario", "scenario": ""}, "scenario"),
        ({"at": "name", "organization": "none"}, "organization"),
    ],
)
def test_a_step_that_is_not_right_is_not_left(centre, more, field):
    answer = centre.get(path("use", go="next", **more))
    assert answer.status == 422
    assert f'id="error-{field}"' in answer.text


def test_a_long_name_is_refused_and_not_cut_by_the_browser(centre):
    page = centre.get(path("name")).text
    assert "maxlength" not in re.search(r'<input id="field-name"[^>]*>', page)[0]


def test_the_review_says_what_is_missing(centre):
    answer = centre.get(path("save", done="scenario,name", smart_hosts=""))
    assert "Some steps are incomplete" in answer.words
    assert "Use of connector : Complete this step." in answer.words
    saved = centre.post("/connectors/new", **(DRAFT | {"done": "", "mode": "enforce"}))
    assert saved.status == 422
    assert centre.stored("outbound_connector", "new-out") is None


def test_what_would_change_is_told_when_it_is_asked(centre, monkeypatch):
    asked = {"hx_request": "true", "hx_request_type": "partial"}
    with centre.gateway.kept(ReportCounts).counting:  # somebody else's turn
        answer = centre.get(path("save", part="effects"), **asked)
        assert "Re-evaluating the mail of the last 7 days" in answer.words
        assert 'hx-trigger="load delay:1s"' in answer.text
    monkeypatch.setattr("gatepost.manage.pages.wizard.PATIENCE", 20.0)
    assert "part=effects" in centre.get(path("save")).text
    answer = centre.get(path("save", part="effects"), **asked)
    assert answer.text.lstrip().startswith('<section class="panel" id="effects"')
    assert "gatepost connector add outbound new-out --organization contoso" in answer.words
    assert "[[organization.contoso.outbound_connector]]" in answer.words
    assert centre.gateway.directory().version == 1


@pytest.mark.parametrize(
    ("mode", "more"), [("enforce", {}), ("rehearse", {"mode": "rehearse"}), ("disabled", {"enabled": False})]
)
def test_it_is_saved_as_it_was_chosen(centre, mode, more):
    answer = centre.post("/connectors/new", mode=mode, note="why", **DRAFT)
    assert answer.headers["location"] == "/connectors/contoso/outbound/new-out?made=yes"
    assert centre.stored("outbound_connector", "new-out") == {
        "name": "new-out",
        "connector_type": "partner",
        "recipient_domains": ["new.example"],
        "smart_hosts": ["127.0.0.1:1"],
        "tls_settings": "encryption-only",
        **more,
    }
    assert "Use this command or file to create it" in centre.get(answer.headers["location"]).words


def test_how_it_is_saved_must_be_chosen(centre):
    answer = centre.post("/connectors/new", mode="", **DRAFT)
    assert answer.status == 422
    assert "Choose a mode." in answer.words


def test_a_name_that_was_taken_meanwhile_is_refused(centre):
    assert centre.post("/connectors/new", mode="enforce", **DRAFT).status == 303
    answer = centre.post("/connectors/new", mode="enforce", **DRAFT)
    assert answer.status == 422
    assert centre.gateway.directory().version == 2


def test_a_refused_save_loses_nothing_on_the_way_back(centre):
    """Not at the address of the page that says so (a reload, a log-in after it), nor on the way by an earlier step."""
    assert centre.post("/connectors/new", mode="enforce", **DRAFT).status == 303
    action = html.unescape(re.search(r'<form action="([^"]+/new[?][^"]+)"', centre.get(path("save")).text)[1])
    refused = centre.post(action, mode="disabled", note="as agreed")
    assert (refused.status, refused.value("note")) == (422, "as agreed")
    assert re.search(r'value="disabled"[^>]* checked', refused.text)
    again = centre.get(action)
    assert "new.example" in again.words
    assert "Review" in re.search(r"<h2[^>]*>([^<]+)", again.text)[1]
    assert f'action="{html.escape(action)}"' in again.text, "static/unsent.js fills the form of the same action"
    earlier = html.unescape(re.search(r'<a href="([^"]*step=name[^"]*)"', refused.text)[1])
    assert (centre.get(earlier).value("note"), centre.get(earlier).value("mode")) == ("as agreed", "disabled")
    back = centre.get(earlier.replace("step=name", "step=save"))
    assert (back.value("note"), bool(re.search(r'value="disabled"[^>]* checked', back.text))) == ("as agreed", True)


def test_what_was_tried_holds_for_what_is_saved(centre):
    answer = centre.post("/connectors/new/validate", **DRAFT)
    assert "Not validated: Connect failed on 127.0.0.1" in answer.words
    assert "Not validated" in centre.get(path("save")).words
    centre.post("/connectors/new", mode="rehearse", **DRAFT)
    chosen = choose_connector(centre.gateway.directory().resources, "new-out")
    found = last_validation(centre.gateway, chosen)
    assert (found["outcome"], found["configuration"]) == ("not-validated", 2)


def test_what_was_tried_otherwise_does_not(centre):
    centre.post("/connectors/new/validate", **DRAFT)
    centre.post("/connectors/new", mode="enforce", **(DRAFT | {"tls_settings": "opportunistic"}))
    assert last_validation(centre.gateway, choose_connector(centre.gateway.directory().resources, "new-out")) is None


def test_what_cannot_be_tried_is_said_in_the_step(centre):
    answer = centre.post("/connectors/new/validate", **(DRAFT | {"recipients": "bob@elsewhere.example"}))
    assert answer.status == 422
    assert "is not a domain of connector" in answer.words


def test_a_trial_is_followed_by_events(centre):
    begun = centre.post("/connectors/new/validate", headers={"hx-request": "true"}, **DRAFT)
    live = centre.get(re.search(r'hx-sse:connect="([^"]+)"', begun.text)[1])
    assert live.headers["content-type"].startswith("text/event-stream")
    assert 'id="task-verdict"' in live.text
    assert live.text.endswith("event: done\ndata: \n\n")


@pytest.mark.parametrize(
    ("who", "more", "status"),
    [
        ("reader", {}, 403),
        ("tenant", {}, 404),
        ("tenant", {"organization": ""}, 303),
        ("owner", {"organization": "none"}, 404),
        ("owner", {"scenario": "none"}, 404),
    ],
)
def test_who_may_not_saves_nothing(centre, who, more, status):
    answer = centre.post("/connectors/new", who, mode="enforce", **(DRAFT | more))
    assert answer.status == status
    assert centre.stored("outbound_connector", "new-out") is None
    if status == 303:
        assert centre.stored("outbound_connector", "new-out", "fabrikam")
