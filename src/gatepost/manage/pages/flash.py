"""Messages shown once, after the redirect that ends a form, such as "Connector bank-out was saved".

`manage.pages.rendering` puts it into a cookie and takes it out with the next page. It is signed with a key of this
process, lest somebody who can plant a cookie puts words into our mouth; after a restart it is simply not shown.
Bounded: what does not fit is cut.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gatepost.decoding import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response


COOKIE: Final = "gatepost_said"
_KEY: Final = secrets.token_bytes(32)
_TAG: Final = 32
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


def remember(response: Response, flash: Flash, *, secure: bool) -> None:
    """Have the next page say it. secure: whether we are asked over HTTPS."""
    body = msgspec.json.encode((flash.level, flash.text[:_LONGEST], flash.undo))
    value = base64.urlsafe_b64encode(_tag(body) + body).decode()
    response.set_cookie(COOKIE, value, max_age=60, path="/", secure=secure, httponly=True, samesite="strict")


def read(cookies: Mapping[str, str]) -> Flash | None:
    """The message that the page before left; None if there is none, or it is not signed by us."""
    try:
        raw = base64.urlsafe_b64decode(cookies.get(COOKIE, ""))
        tag, body = raw[:_TAG], raw[_TAG:]
        return from_json(body, Flash) if hmac.compare_digest(tag, _tag(body)) else None
    except (binascii.Error, ValueError):  # msgspec's errors are ValueErrors
        return None


def forget(response: Response) -> None:
    """It was said."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def _tag(body: bytes) -> bytes:
    return hmac.digest(_KEY, body, "sha256")
