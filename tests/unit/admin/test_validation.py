from __future__ import annotations

import pytest

from gatepost.admin.validation import trial_of, validate_path
from gatepost.administration.choice import choose_connector
from gatepost.administration.validation import last_validation

PATH = "/connectors/validate/contoso/outbound/bank-out"
LIVE = "/connectors/live/contoso/outbound/bank-out"


def test_without_a_script_it_waits_and_goes_back_to_the_page(centre):
    answer = centre.post(PATH)
    assert (answer.status, answer.headers["location"]) == (303, "/connectors/contoso/outbound/bank-out#validation")
    chosen = choose_connector(centre.gateway.directory().resources, "bank-out")
    assert last_validation(centre.gateway, chosen)["outcome"] == "not-validated"
    assert "Connect failed on 127.0.0.1" in centre.get("/connectors/contoso/outbound/bank-out").words


def test_with_htmx_it_is_followed(centre):
    begun = centre.post(PATH, headers={"hx-request": "true"}, recipients="bob@bank.example")
    assert f'hx-sse:connect="{LIVE}?recipients=bob%40bank.example"' in begun.text
    live = centre.get(f"{LIVE}?recipients=bob%40bank.example")
    assert "Connect failed" in live.words
    assert live.text.endswith("event: done\ndata: \n\n")


def test_an_inbound_connector_is_tried_too(centre):
    answer = centre.post("/connectors/validate/contoso/inbound/bank-in", session="none")
    assert answer.status == 422
    assert "nothing in the trace has the id none" in answer.words
    assert centre.post("/connectors/validate/contoso/inbound/bank-in").status == 303


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("tenant", 404)])
def test_who_may_not_tries_nothing(centre, who, status):
    assert centre.post(PATH, who).status == status
    assert centre.get(LIVE, who).status == status


def test_what_is_asked_is_bounded():
    trial = trial_of({"recipients": " a@x.example, b@x.example;" + " c@x.example" * 50, "session": "s" * 500})
    assert len(trial.recipients) == 10
    assert trial.recipients[:2] == ("a@x.example", "b@x.example")
    assert len(trial.session) == 200


def test_a_name_is_escaped():
    assert validate_path("contoso", "outbound", "a/b") == "/connectors/validate/contoso/outbound/a%2Fb"
