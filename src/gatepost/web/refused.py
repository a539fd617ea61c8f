"""A request that was refused before any page or call saw it: one sentence, as the caller can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse

if TYPE_CHECKING:
    from http import HTTPStatus

    from starlette.responses import Response
    from starlette.types import Scope

__all__ = ["is_call", "refused"]


def is_call(scope: Scope) -> bool:
    """Whether the request is one of REST; otherwise a person's."""
    path: str = scope["path"]
    return path.startswith("/api/")


def refused(scope: Scope, status: HTTPStatus, text: str, **headers: str) -> Response:
    """Problem details (RFC 9457) for REST, plain text for a person. text: what is wrong and what to do."""
    if not is_call(scope):
        return PlainTextResponse(f"{status.value} {status.phrase}\n\n{text}\n", status, headers)
    problem: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": text}
    return JSONResponse(problem, status, headers, media_type="application/problem+json")
