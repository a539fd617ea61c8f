"""Errors of calls: a Refusal as a problem document (RFC 9457).

Raised as `Problem` wherever something is wrong, made of what administration refuses (`manage.use_cases.refusal`), and
written by `manage.rest.serving` as the problem document of `manage.web.problem`. Says what, where, why and what to do;
never an exception's text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.use_cases.refusal import BusyRefusal, RefusalKind
from gatepost.manage.web.problem import ProblemType, problem_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.responses import Response

    from gatepost.manage.use_cases.refusal import Refusal
    from gatepost.policy.connectors.errors import FieldError


_OF_REFUSALS = {
    RefusalKind.INPUT: ProblemType.INVALID,
    RefusalKind.FORBIDDEN: ProblemType.FORBIDDEN,
    RefusalKind.MISSING: ProblemType.MISSING,
    RefusalKind.BLOCKED: ProblemType.CONFLICT,
    RefusalKind.CONFLICT: ProblemType.CONFLICT,
    RefusalKind.UNREADABLE: ProblemType.UNREADABLE,
}


class Problem(Exception):  # noqa: N818 - it names what the answer is
    """The answer is a problem. detail: what, where, why, what to do. headers: that go with its status.

    refusal: of administration, if it refused.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.refusal = refusal


def refused(refusal: Refusal) -> Problem:
    """Turn a Refusal into a Problem."""
    if isinstance(refusal, BusyRefusal):
        again = {"Retry-After": str(refusal.again)}
        return Problem(ProblemType.THROTTLED, refusal.text, headers=again, refusal=refusal)
    return Problem(_OF_REFUSALS[refusal.kind], refusal.text, refusal.errors, refusal=refusal)


def problem_response(problem: Problem, instance: str) -> Response:
    """The document. instance: a URI that the log knows the request by."""
    return problem_document(problem.kind, problem.detail, instance, problem.errors, problem.headers, problem.refusal)
