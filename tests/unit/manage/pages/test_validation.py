from __future__ import annotations

import re

import pytest

from gatepost.manage.pages.validation import request_of
from gatepost.manage.use_cases.name_lookup import choose_connector
from gatepost.manage.use_cases.validation import MOST_PEM, last_validation

PATH = "/connectors/validate/contoso/outbound/bank-out"
INBOUND = "/connectors/validate/contoso/inbound/bank-in"
LIVE = {"hx-request": "true"}


def stream_of(answer):
    return re.search(r'hx-sse:connect="(/connectors/run/[\w-]+/events)"', answer.text)[1]


def test_without_a_script_it_waits_and_goes_back_to_the_page(centre):
    answer = centre.post(PATH)
    assert (answer.status, answer.headers["location"]) == (303, "/connectors/contoso/outbound/bank-out#validation")
    chosen = choose_connector(centre.gateway.directory().resources, "bank-out")
    assert last_validation(centre.gateway, chosen)["outcome"] == "not-validated"
    assert "Connect failed on 127.0.0.1" in centre.get("/connectors/contoso/outbound/bank-out").words


def test_with_htmx_it_is_followed(centre):
    stream = stream_of(centre.post(PATH, headers=LIVE, recipients="bob@bank.example"))
    live = centre.get(stream)
    assert "Connect failed" in live.words
    assert live.text.endswith("event: done\ndata: \n\n")
    assert centre.get(stream, "reader").status == 403
    assert centre.get(stream, "tenant").status == 404
    assert centre.get("/connectors/run/none/events").status == 404


def test_what_cannot_be_tried_is_said_at_its_field(centre):
    answer = centre.post(INBOUND, session="none")
    assert answer.status == 422
    assert "the message trace has no message or session none" in answer.words
    assert 'id="error-session"' in answer.text
    live = centre.post(INBOUND, headers=LIVE, ip="192.0.2.1")
    assert "IP address: both are needed" in live.words
    assert 'href="#field-reverse_path"' in live.text


def test_an_inbound_connector_is_tried_with_a_client_that_would_come(centre):
    given = {"ip": "192.0.2.1", "reverse_path": "eve@bank.example", "forward_path": "ann@contoso.example"}
    assert centre.post(INBOUND, **given).status == 303
    page = centre.get("/connectors/contoso/inbound/bank-in").words
    assert "Presented" in page
    assert "<eve@bank.example> from 192.0.2.1" in page
    wrong = centre.post(INBOUND, **given, certificate="no <certificate>")
    assert wrong.status == 422
    assert "it contains no readable PEM certificate" in wrong.words
    assert "no &lt;certificate&gt;</textarea>" in wrong.text
    large = centre.post(INBOUND, **given, certificate="x" * 100_000)
    assert f"must have at most {MOST_PEM:,} characters" in large.words


@pytest.mark.parametrize(("who", "status"), [("reader", 403), ("tenant", 404)])
def test_who_may_not_tries_nothing(centre, who, status):
    assert centre.post(PATH, who).status == status


def test_what_is_asked_is_bounded():
    def of(**form):
        return request_of("contoso", "outbound", "bank-out", form)

    request = of(recipients=" a@x.example, b@x.example;" + " c@x.example" * 50, session="s" * 5000)
    assert len(request.recipients) == 10
    assert request.recipients[:2] == ["a@x.example", "b@x.example"]
    assert len(request.session) == 1000
    assert request.reverse_path is None
    assert of(reverse_path=" <> ").reverse_path == "<>"
