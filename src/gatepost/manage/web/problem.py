"""Problem documents (RFC 9457), of a closed list of kinds: why a request was refused, for a program.

Made here for requests that are refused before any page or endpoint sees them (a person gets a plain page), and in
`manage.rest.serving` for what an endpoint refuses, so that a client meets one form. `RefusalAudit` stands outside of
all that refuses, and records it in the audit log.
"""

from __future__ import annotations

import html
import logging
import time
import uuid
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from gatepost.language import _, language
from gatepost.manage.access.records import Actor, AuditOutcome
from gatepost.manage.use_cases.declaration import SAFE
from gatepost.manage.use_cases.refusal import STORE_AWAY, RefusalKind
from gatepost.store.interface import StoreFailure
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.use_cases.refusal import Refusal
    from gatepost.policy.connectors.errors import FieldError


_MEDIA_TYPE = "application/problem+json"


class _Type(NamedTuple):
    name: str
    status: int
    title: str
    meaning: str


class ProblemType(Enum):
    """Every kind of problem. Its name, once published, does not change: clients compare it."""

    MALFORMED = _Type(
        "malformed", 400, "The request cannot be read", "It is not HTTP, or its body is not a JSON object."
    )
    UNAUTHENTICATED = _Type(
        "unauthenticated", 401, "Authentication required", "The request has no valid API token and no session."
    )
    FORBIDDEN = _Type("forbidden", 403, "Not allowed", "The token or role lacks the named scope.")
    MISSING = _Type(
        "missing", 404, "Not found", "It does not exist, or belongs to an organization that you cannot see."
    )
    METHOD = _Type("method", 405, "Method not allowed", "The header field Allow lists the allowed methods.")
    CONFLICT = _Type(
        "conflict",
        409,
        "Conflict with the current state",
        "The name exists already, or the object is in use or just changed.",
    )
    PRECONDITION = _Type("precondition", 412, "Changed in the meantime", "If-Match does not name the current version.")
    TOO_LARGE = _Type("too-large", 413, "The body is too large", "detail names the limit.")
    MEDIA_TYPE = _Type("media-type", 415, "Unsupported media type", "Send application/json, uncompressed.")
    MISDIRECTED = _Type(
        "misdirected", 421, "Unknown host name", "The gateway's settings list the host names that it answers to."
    )
    INVALID = _Type("invalid", 422, "Invalid request", "errors names each field and what is wrong with it.")
    UNGUARDED = _Type(
        "unguarded", 428, "If-Match is missing", "A change names the version that it is based on, or * for any."
    )
    THROTTLED = _Type("throttled", 429, "Too many requests", "Retry-After says when to try again.")
    INTERNAL = _Type("internal", 500, "Internal error", "The log has the details under the request's id.")
    UNREADABLE = _Type(
        "unreadable",
        503,
        "Temporarily unavailable",
        "Data that is needed cannot be read or looked up now. Nothing was changed.",
    )

    @property
    def uri(self) -> str:
        """The `type` of the document; a GET of it explains it."""
        return f"/api/v1/problems/{self.value.name}"


PROBLEMS: dict[int, ProblemType] = {problem_type.value.status: problem_type for problem_type in ProblemType}


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    path: "query.limit", or the field of the body, as errors of a resource file name it. message: what, why, what to do.
    """

    path: str
    message: str


class ProblemDocument(msgspec.Struct, frozen=True):
    """RFC 9457. type: of a closed list, explained where it leads. instance: the request, as the log names it.

    errors: by field; empty where no field is to blame. refusal: why it was not done, as commands tell it apart and end
    by it (docs/rest.md); null where the form of the call was to blame, or its token. options: fields or parameters that
    would help, such as a reason in "force".
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem]
    refusal: RefusalKind | None = None
    options: list[str] = []


def problem_document(
    kind: ProblemType,
    detail: str,
    instance: str,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    refusal: Refusal | None = None,
) -> Response:
    """The document as an answer. instance: a URI that the log knows the request by. headers: beside the usual.

    refusal: of administration; what else is known of it becomes extension members (RFC 9457 section 3.2).
    """
    document = ProblemDocument(
        type=kind.uri,
        title=kind.value.title,
        status=kind.value.status,
        detail=detail,
        instance=instance,
        errors=[FieldProblem(error.path, error.message) for error in errors],
        refusal=refusal.kind if refusal else None,
        options=list(refusal.options) if refusal else [],
    )
    values: dict[str, Any] = {"Cache-Control": "no-store", **(headers or {})}
    content = {**(refusal.more if refusal else {}), **msgspec.structs.asdict(document)}
    return Response(msgspec.json.encode(content), kind.value.status, values, media_type=_MEDIA_TYPE)


def is_call(scope: Scope) -> bool:
    """Whether the request is one of REST; otherwise a person's."""
    path: str = scope["path"]
    return path.startswith("/api/")


_UNSENT: Final = N_(
    "The form was not saved. It shows again what you typed, without passwords and keys. Check it, and send it again."
)
"""What the page of a form says with what was typed, if a refusal leads back to it (static/unsent.js)."""
_PAGE: Final = """<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title} - Gatepost</title>
<link rel="stylesheet" href="/static/current/gatepost.css">
<script src="/static/current/unsent.js" defer></script></head>
<body class="bare"><main id="main"{unsent}><h1>{title}</h1><p class="lead">{text}</p>
<p><a href="{back}">{words}</a></p></main></body>
</html>
"""


def refused(scope: Scope, status: HTTPStatus, text: str, *, back: str = "", **headers: str) -> Response:
    """Problem details (RFC 9457) for REST, a plain page for a person. text: what is wrong and what to do.

    back: path of the page that the link leads to, "" for the first one.
    """
    kind = PROBLEMS.get(status, ProblemType.MALFORMED)
    if not is_call(scope):
        local = back if back.startswith("/") and not back.startswith("//") else "/"
        # A form may have been acted upon before a fault, and was before the page that follows it.
        is_of_form = scope.get("method") not in SAFE and status != HTTPStatus.INTERNAL_SERVER_ERROR
        page = _PAGE.format(
            language=language(),
            title=html.escape(_(kind.value.title)),
            text=html.escape(_(text)),
            back=html.escape(local),
            words=html.escape(_("Back to the page")),
            unsent=f' data-unsent="{html.escape(_(_UNSENT))}"' if is_of_form else "",
        )
        return HTMLResponse(page, status, headers)
    return problem_document(kind, text, instance_of(scope), headers=headers)


def store_away(scope: Scope, failure: StoreFailure) -> Response:
    """The answer while nobody can be looked up."""
    _log.error("nobody can be looked up: %s", failure)
    return refused(scope, HTTPStatus.SERVICE_UNAVAILABLE, STORE_AWAY)


def instance_of(scope: Scope) -> str:
    """The request as problem documents name it, by the number that the log has."""
    return f"urn:uuid:{scope.get('state', {}).get('id') or uuid.uuid4()}"


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
