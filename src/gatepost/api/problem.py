"""What a call is told that was not done: RFC 9457 problem documents, of a closed list of kinds.

Raised as `Problem` wherever something is wrong, made of what administration refuses (`administration.refusal`), and
written by `api.serving`. Says what, where, why and what to do; never an exception's text.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from starlette.responses import Response

from gatepost.administration.refusal import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatepost.administration.refusal import Refusal
    from gatepost.connectors.errors import FieldError

__all__ = [
    "PROBLEMS",
    "FieldProblem",
    "Problem",
    "ProblemDocument",
    "ProblemType",
    "later",
    "problem_response",
    "refused",
]

_MEDIA_TYPE = "application/problem+json"


class _Type(NamedTuple):
    name: str
    status: int
    title: str
    meaning: str


class ProblemType(Enum):
    """Every kind of problem. Its name, once published, does not change: clients compare it."""

    MALFORMED = _Type("malformed", 400, "The request cannot be read", "The body is not JSON, or no JSON object.")
    UNAUTHENTICATED = _Type(
        "unauthenticated", 401, "Nobody is known to ask", "There is no valid API token, and no session."
    )
    FORBIDDEN = _Type(
        "forbidden", 403, "This may not be done with this token", "The token or role lacks the scope that is named."
    )
    MISSING = _Type(
        "missing", 404, "There is nothing of that name", "It does not exist, or belongs to an organization not seen."
    )
    METHOD = _Type("method", 405, "This method is not for this path", "The header field Allow lists those that are.")
    CONFLICT = _Type(
        "conflict", 409, "The state does not allow it", "Something of that name exists, is needed, or just changed."
    )
    PRECONDITION = _Type(
        "precondition", 412, "Somebody else changed it meanwhile", "If-Match does not name the version in force."
    )
    TOO_LARGE = _Type("too-large", 413, "The body is too large", "The limit is said in detail.")
    MEDIA_TYPE = _Type("media-type", 415, "The body is of another type", "Send application/json, uncompressed.")
    INVALID = _Type("invalid", 422, "What was sent is not right", "errors names each field and what is wrong with it.")
    UNGUARDED = _Type(
        "unguarded", 428, "If-Match is missing", "A change says which version it was made from, or * for whichever."
    )
    THROTTLED = _Type("throttled", 429, "Too many requests", "Retry-After says when to come back.")
    INTERNAL = _Type("internal", 500, "The gateway failed", "The log has the details under the request's id.")
    UNREADABLE = _Type("unreadable", 503, "The gateway's files cannot be used now", "Nothing was changed.")

    @property
    def uri(self) -> str:
        """What `type` of the document is; a GET of it explains it."""
        return f"/api/v1/problems/{self.value.name}"


PROBLEMS: dict[int, ProblemType] = {one.value.status: one for one in ProblemType}
_OF_REFUSALS = {
    Kind.INPUT: ProblemType.INVALID,
    Kind.FORBIDDEN: ProblemType.FORBIDDEN,
    Kind.MISSING: ProblemType.MISSING,
    Kind.CONFLICT: ProblemType.CONFLICT,
    Kind.UNREADABLE: ProblemType.UNREADABLE,
}


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    path: "query.limit", or the field of the body, as errors of a resource file name it. message: what, why, what to do.
    """

    path: str
    message: str


class ProblemDocument(msgspec.Struct, frozen=True):
    """RFC 9457. type: of a closed list, explained where it leads. instance: the request, as the log names it.

    errors: by field; empty where no field is to blame.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem]


class Problem(Exception):  # noqa: N818 - it names what the answer is
    """The answer is a problem. detail: what, where, why, what to do. headers: that go with its status."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def refused(refusal: Refusal) -> Problem:
    """What administration refused, as a problem."""
    return Problem(_OF_REFUSALS[refusal.kind], refusal.text, refusal.errors)


def later(refusal: Refusal) -> Exception:
    """To be raised where a conflict means that too much is under way: the caller mends it by waiting."""
    if refusal.kind is not Kind.CONFLICT:
        return refusal
    return Problem(ProblemType.THROTTLED, refusal.text, headers={"Retry-After": "15"})


def problem_response(problem: Problem, instance: str) -> Response:
    """The document. instance: a URI that the log knows the request by."""
    kind = problem.kind.value
    document = ProblemDocument(
        type=problem.kind.uri,
        title=kind.title,
        status=kind.status,
        detail=problem.detail,
        instance=instance,
        errors=[FieldProblem(error.path, error.message) for error in problem.errors],
    )
    headers: dict[str, Any] = {"Cache-Control": "no-store", **problem.headers}
    return Response(msgspec.json.encode(document), kind.status, headers, media_type=_MEDIA_TYPE)
