"""Read a submitted form before a page's function runs: such functions wait for nothing.

Forms are `application/x-www-form-urlencoded` only: a certificate is pasted, not uploaded, so that no parser of MIME is
needed. `request.state.form` is an ImmutableMultiDict, empty where there is no form.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, ImmutableMultiDict

from gatepost.manage.web.problem import is_call, refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that change something (RFC 9110 section 9.2.1)."""
_TYPE: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = 5000


class FormBody:
    """Runs within `BodyBound`, which limits what is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        scope["state"]["form"] = ImmutableMultiDict[str, str]()
        if scope["method"] not in UNSAFE or is_call(scope):
            await self._app(scope, receive, send)
            return
        media = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        body = await _whole(receive)
        if body is None:  # who sent it is gone, so that nobody meant what has come of it
            return
        if body and media != _TYPE:
            text = f"Send forms as {_TYPE}; programs use /api/v1."
            await refused(scope, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)(scope, receive, send)
            return
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
        except ValueError:
            text = f"The form cannot be read: it is not UTF-8, or has more than {_FIELDS} fields."
            await refused(scope, HTTPStatus.BAD_REQUEST, text)(scope, receive, send)
            return
        scope["state"]["form"] = ImmutableMultiDict(fields)
        await self._app(scope, receive, send)


async def _whole(receive: Receive) -> bytes | None:
    """The body; None if it ends early."""
    parts = []
    while True:
        message: Message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
