from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from gatepost.manage.web.refusal_response import is_call, refused


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
    answer = refused({"path": "/trace"}, HTTPStatus.CONFLICT, "look <again>")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body == b"409 Conflict\n\nlook <again>\n"


@pytest.mark.parametrize(("path", "call"), [("/api/v1/x", True), ("/api", False), ("/apiary", False), ("/", False)])
def test_what_is_a_call(path, call):
    assert is_call({"path": path}) is call
