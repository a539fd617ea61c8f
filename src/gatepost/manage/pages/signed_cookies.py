"""Signed cookies: readable by the browser, made by nobody else.

One holds what a page says once after the redirect that ends a form, such as "Connector bank-out was saved":
`manage.pages.rendering` puts it there, and takes it out with the next page; it is said to the same user alone, within a
minute. Others hold what lies between two steps of a log-in. Nothing is held here, so that strangers who begin many take
no memory. The key is this process's: after a restart nothing is said, and what was begun before has to be begun again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec

from gatepost.decoding import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response


COOKIE: Final = "gatepost_said"
"""Of what is said once."""
_KEY: Final = secrets.token_bytes(32)
_TAG: Final = 32
_SECONDS: Final = 600  # of a log-in
_MINUTE: Final = 60
_LONGEST: Final = 500


class Undo(NamedTuple):
    """A form that takes back what was just done. path: where it goes; fields: names and values."""

    path: str
    fields: tuple[tuple[str, str], ...]


class Flash(NamedTuple):
    """level: pass, info, warn or fail. undo: offered beside the text."""

    level: str
    text: str
    undo: Undo | None = None


def remember(response: Response, flash: Flash, user: str, *, secure: bool) -> None:
    """Have the next page say it; what does not fit is cut.

    user: the name of who is told, "" before somebody logged in: not the session, as a new password begins another.
    secure: whether we are asked over HTTPS.
    """
    cut = flash._replace(text=flash.text[:_LONGEST])
    value = _signed(COOKIE, cut, _MINUTE, user)
    response.set_cookie(COOKIE, value, _MINUTE, secure=secure, httponly=True, samesite="strict")


def read(cookies: Mapping[str, str], user: str) -> Flash | None:
    """The message that the page before left for this user; None if there is none, it is too old, or not ours."""
    return _read(cookies, COOKIE, Flash, user)


def give(response: Response, name: str, ticket: msgspec.Struct) -> None:
    """Have the browser keep it for ten minutes, under a cookie's name with the prefix __Host-."""
    # Lax: an issuer sends the person back here from its own site.
    response.set_cookie(name, _signed(name, ticket, _SECONDS), _SECONDS, secure=True, httponly=True, samesite="lax")


def shown[T](request: Request, name: str, kind: type[T]) -> T | None:
    """The one that we gave within ten minutes, None if there is none, or none of ours."""
    return _read(request.cookies, name, kind)


def sealed(name: str, value: msgspec.Struct) -> str:
    """The value as a text for ten minutes, which a form brings back. name: of what it is, so that none is another."""
    return _signed(name, value, _SECONDS)


def unsealed[T](name: str, text: str, kind: type[T]) -> T | None:
    """The value in a text that we sealed within ten minutes, None if it is none of ours."""
    return _read({name: text}, name, kind)


def forget(response: Response, name: str = COOKIE) -> None:
    """It was used, or said."""
    said = name == COOKIE
    same_site: Literal["strict", "lax"] = "strict" if said else "lax"
    response.delete_cookie(name, secure=not said, httponly=True, samesite=same_site)


def _signed(name: str, value: Any, seconds: int, user: str = "") -> str:
    body = b"%f %b" % (time.monotonic() + seconds, msgspec.json.encode(value))
    return base64.urlsafe_b64encode(_tag(name, body, user) + body).decode()


def _read[T](cookies: Mapping[str, str], name: str, kind: type[T], user: str = "") -> T | None:
    try:
        raw = base64.urlsafe_b64decode(cookies.get(name, ""))
        tag, body = raw[:_TAG], raw[_TAG:]
        if not hmac.compare_digest(tag, _tag(name, body, user)):
            return None
        until, _, value = body.partition(b" ")
        return from_json(value, kind) if time.monotonic() <= float(until) else None
    except (binascii.Error, ValueError):  # msgspec's errors are ValueErrors
        return None


def _tag(name: str, body: bytes, user: str = "") -> bytes:
    key = hmac.digest(_KEY, user.encode(), "sha256")
    return hmac.digest(key, name.encode() + b"\0" + body, "sha256")
