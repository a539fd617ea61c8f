from __future__ import annotations

import json

import pytest

from gatepost.manage.rest.serving import Problem, problem_response, refused
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.web.problem import ProblemType
from gatepost.policy.connectors.errors import FieldError


def test_the_document():
    problem = Problem(ProblemType.INVALID, "why", [FieldError("a.b", "c")], {"Retry-After": "5"})
    response = problem_response(problem, "urn:uuid:1")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "5"
    assert response.headers["cache-control"] == "no-store"
    assert json.loads(response.body) == {
        "type": "/api/v1/problems/invalid",
        "title": "Invalid request",
        "status": 422,
        "detail": "why",
        "instance": "urn:uuid:1",
        "errors": [{"path": "a.b", "message": "c"}],
        "refusal": None,
        "options": [],
    }


@pytest.mark.parametrize("kind", RefusalKind)
def test_every_refusal_is_a_problem(kind):
    errors = [FieldError("a", "b")]
    refusal = Refusal(kind, "why", errors)
    problem = refused(refusal)
    assert (problem.detail, problem.errors, problem.refusal) == ("why", tuple(errors), refusal)
    assert problem.kind in ProblemType


def test_what_is_too_much_just_now_says_when_to_come_back():
    problem = refused(BusyRefusal("others look", 7))
    assert (problem.kind, problem.headers) == (ProblemType.THROTTLED, {"Retry-After": "7"})
    assert problem.refusal.kind is RefusalKind.CONFLICT, "as a command that is refused beside the gateway"


def test_members_of_its_own_never_hide_those_of_the_document():
    problem = refused(Refusal(RefusalKind.CONFLICT, "why", more={"gates": [1], "status": 200}))
    found = json.loads(problem_response(problem, "urn:uuid:1").body)
    assert (found["gates"], found["status"]) == ([1], 409)
