"""Signed cookies between two steps of a log-in: readable by the browser, made by nobody else.

Nothing of a log-in that was begun is held here, so that strangers who begin many take no memory. The key is this
process's: what was begun before a restart has to be begun again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.decoding import from_json

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_KEY: Final = secrets.token_bytes(32)
_TAG: Final = 32
_SECONDS: Final = 600


def give(response: Response, name: str, ticket: msgspec.Struct) -> None:
    """Have the browser keep it for ten minutes, under a cookie's name with the prefix __Host-."""
    body = msgspec.json.encode(ticket)
    value = base64.urlsafe_b64encode(_tag(name, body) + body).decode()
    # Lax: an issuer sends the person back here from its own site.
    response.set_cookie(name, value, max_age=_SECONDS, path="/", secure=True, httponly=True, samesite="lax")


def shown[T](request: Request, name: str, kind: type[T]) -> T | None:
    """The one that we gave, None if there is none, or none of ours."""
    try:
        raw = base64.urlsafe_b64decode(request.cookies.get(name, ""))
        tag, body = raw[:_TAG], raw[_TAG:]
        return from_json(body, kind) if hmac.compare_digest(tag, _tag(name, body)) else None
    except (binascii.Error, ValueError):  # msgspec's errors are ValueErrors
        return None


def forget(response: Response, name: str) -> None:
    """It was used."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def _tag(name: str, body: bytes) -> bytes:
    return hmac.digest(_KEY, name.encode() + b"\0" + body, "sha256")
