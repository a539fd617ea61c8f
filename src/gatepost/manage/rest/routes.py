"""All of `/api/v1`: the list of its endpoints, and the routes that the web application takes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.manage.rest.derived import endpoint_of
from gatepost.manage.rest.endpoint import Endpoint, Reach
from gatepost.manage.rest.openapi import document
from gatepost.manage.rest.problem import Problem
from gatepost.manage.rest.serving import routes
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.web.problem import ProblemType

if TYPE_CHECKING:
    from gatepost.manage.rest.endpoint import Asked


class ProblemKind(msgspec.Struct):
    """What the type of a problem document means."""

    type: str
    title: str
    status: int
    meaning: str


def _openapi(_: Asked) -> dict[str, Any]:
    return _document()


@cache
def _document() -> dict[str, Any]:
    return document(ENDPOINTS)


def _problem(asked: Asked) -> ProblemKind:
    for one in ProblemType:
        if one.value.name == asked.path["kind"]:
            return ProblemKind(one.uri, one.value.title, one.value.status, one.value.meaning)
    raise Problem(ProblemType.MISSING, "There is no problem of this kind.")


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/openapi.json",
        "This document",
        _openapi,
        dict[str, Any],
        None,
        Reach.SEEN,
        "about",
    ),
    Endpoint(
        "GET",
        "/problems/{kind}",
        "What the type of a problem document means",
        _problem,
        ProblemKind,
        None,
        Reach.SEEN,
        "about",
        parameters={"kind": "The last part of the type."},
    ),
    *(endpoint_of(one) for one in USE_CASES if one.path),
)

ROUTES = routes(ENDPOINTS)
