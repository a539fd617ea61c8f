"""All of `/api/v1`: the list of its endpoints, and the routes that the web application takes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from gatepost.manage.rest.endpoint import RestEndpoint
from gatepost.manage.rest.openapi import document
from gatepost.manage.rest.serving import routes
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.declaration import UseCase, Visibility, use_case
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.web.problem import ProblemType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context


class GetOpenapi(msgspec.Struct, kw_only=True):
    """Of this version; nothing is to be said."""


class GetProblemKind(msgspec.Struct, kw_only=True):
    """The kind to show."""

    kind: Annotated[str, Meta(description="The last part of the type.")]


class ProblemKind(msgspec.Struct):
    """Explain a type of problem document."""

    type: str
    title: str
    status: int
    meaning: str


@use_case("GET /openapi.json", scope=None, visibility=Visibility.SEEN, tag="about")
def get_openapi(context: Context, request: GetOpenapi) -> dict[str, Any]:  # noqa: ARG001 - it is the same for all
    """This document."""  # noqa: D404 - in the document it says what it is
    return _document()


@cache
def _document() -> dict[str, Any]:
    return document(ENDPOINTS)


@use_case("GET /problems/{kind}", scope=None, visibility=Visibility.SEEN, tag="about")
def get_problem_kind(context: Context, request: GetProblemKind) -> ProblemKind:  # noqa: ARG001 - it is the same for all
    """Explain a type of problem document."""
    for problem_type in ProblemType:
        if problem_type.value.name == request.kind:
            return ProblemKind(
                problem_type.uri, problem_type.value.title, problem_type.value.status, problem_type.value.meaning
            )
    raise Refusal(RefusalKind.MISSING, "There is no problem of this kind.")


ABOUT: Final[Sequence[UseCase[Any, Any]]] = (get_openapi, get_problem_kind)
"""What REST alone has: it tells of itself."""
ENDPOINTS = tuple(RestEndpoint(case) for case in (*ABOUT, *USE_CASES) if case.path)

ROUTES = routes(ENDPOINTS)
