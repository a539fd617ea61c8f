"""No one asker takes all the threads: of each user, token and tenant so many requests are worked at, and others wait.

Pages and calls block a thread while they read files, count, or wait for a check, and there are forty threads for all.
Without this, one token that may only read could keep everybody else out of the admin centre. All users and tokens of
a tenant count as one, as three of them would have more than there are. Tenants that come together would have more, too:
where they have half of the threads, each gets another only while it has fewer than two, and a fourth of all threads is
never theirs. Whoever is not known is bounded by connections (`manage.web.connection`) and passwords
(`manage.access.login_rate_limiter`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers

from gatepost.manage.access.slots import Slots
from gatepost.manage.web.problem import refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_OF_ONE: Final = 16
_OF_TENANTS: Final = 30  # of 40 threads, which anyio has
_CROWDED: Final = 20
_FEW: Final = 2
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
            if held and _is_stream(message):
                held = False
                slots.release(name)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if held:
                slots.release(name)


def _is_stream(message: Message) -> bool:
    """Whether an answer begins that lasts for minutes and takes no thread meanwhile."""
    return message["type"] == "http.response.start" and Headers(raw=message["headers"]).get(
        "content-type", ""
    ).startswith(_STREAM)
