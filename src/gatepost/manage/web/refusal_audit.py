"""Record refused requests in the audit log: who tried what, from where, and why it was not done.

Stands outside of everything that refuses, and looks at the answer: what is forbidden, too large or asked by a name that
is not ours; what is not there because its path names an organization that is not seen; and whatever `note_refusal` was
told of. The same is kept once a minute; of tokens that are none, one for each address and minute.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool

from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gatepost.manage.access.accounts import Accounts


_log = logging.getLogger(__name__)

_WHY: Final = "refused_because"
_REASONS: Final[dict[int, str]] = {
    HTTPStatus.FORBIDDEN: "the token or role does not allow it",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "it is too large",
    HTTPStatus.MISDIRECTED_REQUEST: "it used an unknown host name",
}
_LONGEST: Final = 200
_MINUTE: Final = 60.0
_REMEMBERED: Final = 1000


def address_of(scope: Scope) -> str:
    """Of the other side, as the audit keeps it."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


def note_refusal(scope: Scope, why: str) -> None:
    """The request is about to be refused, and that is to be on record. why: a clause, after "since"."""
    scope.setdefault("state", {})[_WHY] = why


def note_throttled(scope: Scope) -> None:
    """A password or passkey is not even tried, since too many failed; that is on record as well, once a minute."""
    note_refusal(scope, "too many log-ins failed before; it has to wait")


class RefusalAuditMiddleware:
    """Runs outside of what refuses, so that it sees every answer."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self._app = app
        self._accounts = accounts
        self._last: dict[tuple[str, ...], float] = {}  # when something was kept, the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                why = _why(scope, message["status"])
                if why and not self._is_known(_deduplication_key(scope, message["status"], why)):
                    await run_in_threadpool(self._write, scope, why)
            await send(message)

        await self._app(scope, receive, watched)

    def _is_known(self, what: tuple[str, ...]) -> bool:
        """Whether it was on record within a minute: a program that asks in a loop would fill the record alone."""
        now = time.monotonic()
        if now - self._last.get(what, -_MINUTE) < _MINUTE:
            return True
        self._last.pop(what, None)
        self._last[what] = now
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return False

    def _write(self, scope: Scope, why: str) -> None:
        """Before the answer goes, so that who was told no is on record by then."""
        write = partial(self._accounts.record, Actor(_who(scope), address_of(scope)))
        try:
            write("request", outcome=AuditOutcome.REFUSED, subject=_subject(scope), detail={"why": why})
        except StoreFailure as failure:  # the disk is full, or the database away: the answer is no all the same
            _log.error("the audit does not have a refused request from %s: %s", address_of(scope), failure)


def _who(scope: Scope) -> str:
    principal = scope["state"].get("principal")
    return principal.name if principal else ""


def _subject(scope: Scope) -> str:
    return f"{scope['method']} {scope['path']}"[:_LONGEST]


def _deduplication_key(scope: Scope, status: int, why: str) -> tuple[str, ...]:
    """Key of refusals that are recorded once. A bad token has one key, wherever it is tried."""
    if status == HTTPStatus.UNAUTHORIZED:
        return (address_of(scope),)
    return _who(scope), address_of(scope), _subject(scope), why


def _why(scope: Scope, status: int) -> str:
    """A clause, after "since"; "" if it was not refused."""
    noted: str = scope["state"].get(_WHY, "")
    principal, named = scope["state"].get("principal"), scope.get("path_params", {}).get("organization")
    if not noted and status == HTTPStatus.NOT_FOUND and principal and named and not principal.sees(named):
        return "it belongs to an organization that the user cannot see"
    return noted or _REASONS.get(status, "")
