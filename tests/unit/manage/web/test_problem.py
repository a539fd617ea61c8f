from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from gatepost.manage.web.problem import PROBLEMS, ProblemType, is_call, problem_document, refused
from gatepost.policy.connectors.errors import FieldError


def test_every_status_is_of_one_kind_and_every_kind_has_a_name_of_its_own():
    assert len(PROBLEMS) == len(ProblemType)
    assert len({one.uri for one in ProblemType}) == len(ProblemType)
    assert all(400 <= status < 600 for status in PROBLEMS)


def test_the_document():
    answer = problem_document(ProblemType.THROTTLED, "why", "urn:uuid:1", [FieldError("a", "b")], {"Retry-After": "5"})
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["cache-control"]) == (
        429,
        "5",
        "no-store",
    )
    found = json.loads(answer.body)
    assert found == {
        "type": "/api/v1/problems/throttled",
        "title": "Too many requests",
        "status": 429,
        "detail": "why",
        "instance": "urn:uuid:1",
        "errors": [{"path": "a", "message": "b"}],
        "refusal": None,
        "options": [],
    }


def test_a_program_gets_a_problem_document():
    answer = refused({"path": "/api/v1/x", "state": {"id": "5"}}, HTTPStatus.CONFLICT, "look again", Allow="GET")
    assert answer.media_type == "application/problem+json"
    assert answer.headers["allow"] == "GET"
    assert json.loads(answer.body) == {
        "type": "/api/v1/problems/conflict",
        "title": "Conflict with the current state",
        "status": 409,
        "detail": "look again",
        "instance": "urn:uuid:5",
        "errors": [],
        "refusal": None,
        "options": [],
    }


def test_a_person_gets_a_sentence():
    answer = refused({"path": "/trace"}, HTTPStatus.CONFLICT, "look <again>", back='/queue?a="&b')
    assert answer.headers["content-type"].startswith("text/html")
    text = answer.body.decode()
    assert "<h1>Conflict with the current state</h1>" in text
    assert "look &lt;again&gt;" in text
    assert '<a href="/queue?a=&quot;&amp;b">' in text


@pytest.mark.parametrize("back", ["//evil.example/", "https://evil.example/", "javascript:x", ""])
def test_no_link_leads_elsewhere(back):
    answer = refused({"path": "/trace"}, HTTPStatus.CONFLICT, "no", back=back)
    assert '<a href="/">' in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "status", "said"),
    [("POST", 403, True), ("GET", 429, False), ("POST", 500, False)],
)
def test_a_form_is_said_to_be_lost_only_where_it_was_refused(method, status, said):
    """Not by the page after one that was saved; nor after a fault, before which something may have been done."""
    answer = refused({"path": "/rules", "method": method}, HTTPStatus(status), "No.")
    assert (b"data-unsent" in answer.body) is said


@pytest.mark.parametrize(("path", "call"), [("/api/v1/x", True), ("/api", False), ("/apiary", False), ("/", False)])
def test_what_is_a_call(path, call):
    assert is_call({"path": path}) is call
