from __future__ import annotations

import json

from gatepost.manage.web.problem import PROBLEMS, ProblemType, problem_document
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
