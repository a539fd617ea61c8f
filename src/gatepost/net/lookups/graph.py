"""Ask Microsoft Graph whether an object of a Microsoft Entra tenant has a mail address.

Used by `mail.inbound.recipient_graph`. Users and groups are looked up by `proxyAddresses` and `mail`, as Microsoft's
reference documents GET /users and GET /groups with $filter. One object is enough, so pages are not followed. Nothing of
an answer but whether there is an object is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from gatepost.decoding import from_json
from gatepost.net.anchors import AnchorsError
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest

_KINDS: Final = ("users", "groups")
_LIMIT: Final = 64 * 1024
_TIMEOUT: Final = 10.0
_FEW: Final = 4
"""Addresses in one filter, of three comparisons each: a filter may have fifteen."""
_FILTER: Final = 1500
"""Octets of a filter: an address of HTTP has `http.MAX_URL` at most."""
_OR: Final = "%20or%20"
_WAIT: Final = 30.0  # seconds, where Graph asks for less and does not say for how long
_LONGEST: Final = 3600.0
_TOO_MANY: Final = frozenset({429, 503, 509})

MOST_ADDRESSES: Final = 2 * _FEW
"""Of one recipient: it and what it is without details behind a separator."""


class GraphUnavailable(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """Graph gives no answer. detail: for us; holds no token. unauthorized: it does not take the token.

    asks_for_less: Graph answers nobody for a while.
    """

    def __init__(self, detail: str, *, unauthorized: bool = False, asks_for_less: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.unauthorized = unauthorized
        self.asks_for_less = asks_for_less


class GraphApp(msgspec.Struct, frozen=True):
    """The application, as Graph counts requests. url: of Graph. bounded: it may be called at public addresses only."""

    url: str
    tenant_id: str
    client_id: str
    bounded: bool = True


class _Object(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    """value: objects. next: there may be more, even where there are none on this page."""

    value: list[_Object]
    next: str = msgspec.field(default="", name="@odata.nextLink")


class GraphClient:
    """client: for requests that are bounded to some addresses, or not. clock: seconds, never going back."""

    def __init__(self, client: Callable[[bool], HttpClient], clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._waits: dict[GraphApp, float] = {}

    async def has_recipient(self, app: GraphApp, addresses: Sequence[str], token: str) -> str:
        """The kind of what has one of the addresses: "user", "group" or "". Raises GraphUnavailable.

        After an answer that asks for less nothing is asked before the time that it named, for whatever domain.
        """
        self.check(app)
        for kind in _KINDS:
            for request in _requests(app, kind, addresses, token):
                if await self._ask(app, request):
                    return kind.removesuffix("s")
        return ""

    def check(self, app: GraphApp) -> None:
        """Raises GraphUnavailable while Graph has asked for less."""
        remaining = self._waits.get(app, 0.0) - self._clock()
        if remaining > 0:
            raise GraphUnavailable(f"it asked for fewer requests; {remaining:.0f} s left", asks_for_less=True)
        self._waits.pop(app, None)

    async def _ask(self, app: GraphApp, request: HttpRequest) -> bool:
        try:
            response = await self._client(app.bounded).fetch(request)
            page = from_json(response.body, _Page)
        except AnchorsError as error:
            raise GraphUnavailable(f"the trust anchors cannot be read: {error}") from error
        except HttpFailed as failed:
            raise self._failed(app, failed) from failed
        except msgspec.MsgspecError:
            raise GraphUnavailable(f"{_path(request.url)}: the answer is not a list of objects") from None
        if page.next and not page.value:
            raise GraphUnavailable(f"{_path(request.url)}: the answer is a page without objects")
        return bool(page.value)

    def _failed(self, app: GraphApp, failed: HttpFailed) -> GraphUnavailable:
        detail = f"{_path(failed.detail)}{_HINTS.get(failed.status, '')}"
        if failed.status in _TOO_MANY:
            wait = min(failed.retry_after or _WAIT, _LONGEST)
            self._waits[app] = self._clock() + wait
            detail = f"{detail}; nothing is asked for {wait:.0f} s"
        return GraphUnavailable(detail, unauthorized=failed.status == 401, asks_for_less=failed.status in _TOO_MANY)


_HINTS: Final = {
    400: ": it does not take the request",
    401: ": it does not take the access token",
    403: ": the app lacks the permissions User.Read.All and GroupMember.Read.All, or the administrator's consent",
    404: ": there is no Graph at this url",
}


def _requests(app: GraphApp, kind: str, addresses: Sequence[str], token: str) -> Iterator[HttpRequest]:
    """The requests for one kind of object. Advanced queries answer from the index (ConsistencyLevel, $count)."""
    for condition in _filters(addresses):
        url = f"{app.url}/v1.0/{kind}?$count=true&$select=id&$top=1&$filter={condition}"
        yield HttpRequest(
            url,
            limit=_LIMIT,
            timeout=_TIMEOUT,
            accept="application/json",
            private=not app.bounded,
            fields=(("Authorization", f"Bearer {token}"), ("ConsistencyLevel", "eventual")),
        )


def _filters(addresses: Sequence[str]) -> Iterator[str]:
    """Filters for any of some addresses, percent-encoded, as many in one as fit."""
    parts: list[str] = []
    for part in map(_comparison, addresses):
        if parts and (len(parts) == _FEW or sum(map(len, parts)) + len(part) > _FILTER):
            yield _OR.join(parts)
            parts = []
        parts.append(part)
    if parts:
        yield _OR.join(parts)


def _comparison(address: str) -> str:
    """The filter for one address: in OData a quote within a text is doubled.

    The prefix of the primary address is in upper case, that of others in lower case.
    """
    text = address.replace("'", "''")
    return quote(f"proxyAddresses/any(p:p eq 'smtp:{text}' or p eq 'SMTP:{text}') or mail eq '{text}'", safe="")


def _path(text: str) -> str:
    """An address without its query, which would only repeat the recipient."""
    before, mark, behind = text.partition("?")
    return f"{before}{behind[behind.find(': ') :] if mark and ': ' in behind else ''}"
