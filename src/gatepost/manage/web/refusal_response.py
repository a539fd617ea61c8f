"""A request that was refused before any page or call saw it: one sentence, as the caller can read it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

from gatepost.manage.web.problem import PROBLEMS, ProblemType, problem_document

if TYPE_CHECKING:
    from http import HTTPStatus

    from starlette.responses import Response
    from starlette.types import Scope


def is_call(scope: Scope) -> bool:
    """Whether the request is one of REST; otherwise a person's."""
    path: str = scope["path"]
    return path.startswith("/api/")


def refused(scope: Scope, status: HTTPStatus, text: str, **headers: str) -> Response:
    """Problem details (RFC 9457) for REST, plain text for a person. text: what is wrong and what to do."""
    if not is_call(scope):
        return PlainTextResponse(f"{status.value} {status.phrase}\n\n{text}\n", status, headers)
    kind = PROBLEMS.get(status, ProblemType.MALFORMED)
    return problem_document(kind, text, instance_of(scope), headers=headers)


def instance_of(scope: Scope) -> str:
    """The request as problem documents name it, by the number that the log has."""
    return f"urn:uuid:{scope.get('state', {}).get('id') or uuid.uuid4()}"
