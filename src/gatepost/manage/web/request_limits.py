"""Limits of requests: client address, host name, size of the body, how many of one user at a time; and their forms.

A name that is not ours is refused (`net.known_hosts`). While there is no owner, nobody but this machine is answered.
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, ImmutableMultiDict

from gatepost.manage.access.slots import Slots
from gatepost.manage.web.problem import is_call, refused, store_away
from gatepost.net.known_hosts import is_known_host
from gatepost.protocols.tls.names import is_ip_address
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_MOST: Final = 1024 * 1024
_CALLS: Final = "/api/v1/"
MOST_OF_CALLS: Final = 48 * 1024 * 1024
"""Octets of a body in REST. Each use case has a limit of its own below that, `max_body`, once it is known who asks."""


class BodyTooLarge(Exception):  # noqa: N818 - it names what the request is
    """Raised by whoever reads a body, when more of it came than is taken; who catches it answers 413."""


class BodyLimit:
    """No request body over 1 MiB, or 48 MiB in REST, where the use case has a limit of its own below that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        most = MOST_OF_CALLS if scope["path"].startswith(_CALLS) else _MOST
        taken, answered = 0, False
        said = Headers(scope=scope).get("content-length", "0")
        if "content-length" in Headers(scope=scope) and "transfer-encoding" in Headers(scope=scope):
            # RFC 9112 section 6.1: whoever is between us may have believed the other one.
            text = "The request says twice how long it is, by Content-Length and by Transfer-Encoding."
            await refused(scope, HTTPStatus.BAD_REQUEST, text, connection="close")(scope, receive, send)
            return
        if not (said.isascii() and said.isdigit()) or int(said) > most:
            await _too_large(scope, most)(scope, receive, send)
            return

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise BodyTooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, bounded, watched)
        except BodyTooLarge:
            if not answered:
                await _too_large(scope, most)(scope, receive, send)


def _too_large(scope: Scope, most: int) -> Response:
    text = f"The request is larger than {most} bytes, the most that is accepted here."
    return refused(scope, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, connection="close")


class KnownHosts:
    """names: as of `is_known_host`."""

    def __init__(self, app: ASGIApp, *, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if is_known_host(Headers(scope=scope).get("host", ""), self._names):
            await self._app(scope, receive, send)
            return
        text = (
            "The admin centre does not use this host name. An administrator can add it to [admin] names in the "
            "settings file."
        )
        await refused(scope, HTTPStatus.MISDIRECTED_REQUEST, text)(scope, receive, send)


class LoopbackUntilOwned:
    """owned: whether there is an owner, asked for strangers until there is one; on a thread, as it may block."""

    def __init__(self, app: ASGIApp, *, owned: Callable[[], bool]) -> None:
        self._app = app
        self._owned = owned
        self._is_open = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        client = (scope.get("client") or ("",))[0]
        is_here = is_ip_address(client) and ipaddress.ip_address(client).is_loopback
        answer = None if is_here or self._is_open else await self._refusal(scope)
        await (answer or self._app)(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        try:
            self._is_open = self._is_open or await run_in_threadpool(self._owned)
        except StoreFailure as failure:
            return store_away(scope, failure)
        if self._is_open:
            return None
        text = (
            "This gateway has no owner yet and answers only requests from its own machine. On that machine, open "
            "the one-time "
            "address that the gateway printed when it started, or create an owner: gatepost user add --role owner"
        )
        return refused(scope, HTTPStatus.FORBIDDEN, text)


_OF_ONE: Final = 16
_OF_TENANTS: Final = 30  # of 40 threads, which anyio has
_CROWDED: Final = 20
_FEW: Final = 2
_PIECE: Final = 512 * 1024  # octets of an answer: of fewer asyncio's TLS has room for any number
_PATIENCE: Final = 10.0  # seconds for one's turn
_AGAIN: Final = "10"  # seconds
_STREAM: Final = "text/event-stream"


class ConcurrencyMiddleware:
    """Runs within `Identity`, which says who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._of_gateway = Slots(per_key=_OF_ONE)
        self._of_tenants = Slots(_OF_TENANTS, _OF_ONE, crowded=_CROWDED, few=_FEW)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        principal = scope["state"]["principal"]
        if principal is None:
            await self._app(scope, receive, send)
            return
        name = principal.share_key
        slots = self._of_gateway if principal.is_of_gateway else self._of_tenants
        if not await slots.acquire_async(name, _PATIENCE):
            what = "of your requests" if principal.is_of_gateway else "requests of your organization, or of all,"
            text = f"Too many {what} are in progress. Try again when one of them has finished."
            answer = refused(scope, HTTPStatus.TOO_MANY_REQUESTS, text, **{"Retry-After": _AGAIN})
            await answer(scope, receive, send)
            return
        held = True

        async def watched(message: Message) -> None:
            nonlocal held
            if held and is_event_stream(message):
                held = False
                slots.release(name)
            body, at = message.get("body", b""), 0
            while len(body) - at > _PIECE:  # each waits until most before it is fetched, and so long the place is held
                await send({**message, "body": body[at : at + _PIECE], "more_body": True})
                at += _PIECE
            await send({**message, "body": body[at:]} if at else message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if held:
                slots.release(name)


def is_event_stream(message: Message) -> bool:
    """Whether an answer begins that lasts for minutes and takes no thread meanwhile."""
    return message["type"] == "http.response.start" and Headers(raw=message["headers"]).get(
        "content-type", ""
    ).startswith(_STREAM)


UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that change something (RFC 9110 section 9.2.1)."""
_TYPE: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = 5000
_BLOCK: Final = 64 * 1024


async def read_body(receive: Receive, most: int) -> bytes | None:
    """The body of a request; None if it ends early. most: octets of it. Raises BodyTooLarge.

    It is kept in blocks: one buffer that grows leaves holes of its earlier sizes in the heap, twice the body and more,
    and of bytes that come one by one each would be an object.
    """
    blocks, taken, more = [bytearray()], 0, True
    while more:
        message: Message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        taken += len(part)
        if taken > most:
            raise BodyTooLarge
        if len(blocks[-1]) >= _BLOCK:
            blocks.append(bytearray())
        blocks[-1] += part
        more = message.get("more_body", False)
    return b"".join(blocks)


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
        body = await read_body(receive, _MOST)
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
