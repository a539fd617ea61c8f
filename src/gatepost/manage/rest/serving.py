"""Routes of the endpoints, one for each path: read what is asked, hold it against who asks, write the answer.

Stands in the web application behind `web`, which says who asks (`request.state.principal`) and holds the gateway
(`request.app.state.gateway`). The event loop only reads bodies; whatever touches files runs on a thread. In this order:
401, 405, 404 for an organization that is not seen, 403, 413 and 415 and 400 for the body, 422 for its fields and the
query, 428 and 412 for If-Match. So nobody learns of an organization by the errors of a body.

`Problem` is what is refused, as a problem document (RFC 9457).
"""

from __future__ import annotations

import logging
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gatepost.decoding import from_json
from gatepost.manage.access.principal import Principal
from gatepost.manage.access.records import is_confirmed
from gatepost.manage.access.slots import Slots
from gatepost.manage.use_cases.context import Context, Gateway
from gatepost.manage.use_cases.declaration import MAX_BODY, Document, FileResult, Items, UseCase, UseCaseReply
from gatepost.manage.use_cases.execution import begin, execute, record_refusal
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import WrongFields, body_value, query_value
from gatepost.manage.web.problem import ProblemType, address_of, instance_of, problem_document
from gatepost.manage.web.request_limits import BodyTooLarge, read_body
from gatepost.policy.connectors.errors import FieldError, first_errors
from gatepost.quantity import quantity
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.types import Receive, Send
    from starlette.types import Scope as ConnectionScope

    from gatepost.manage.rest.endpoint import RestEndpoint


_OF_REFUSALS = {
    RefusalKind.INPUT: ProblemType.INVALID,
    RefusalKind.FORBIDDEN: ProblemType.FORBIDDEN,
    RefusalKind.MISSING: ProblemType.MISSING,
    RefusalKind.BLOCKED: ProblemType.CONFLICT,
    RefusalKind.CONFLICT: ProblemType.CONFLICT,
    RefusalKind.UNREADABLE: ProblemType.UNREADABLE,
}


class Problem(Exception):  # noqa: N818 - it names what the answer is
    """The answer is a problem. detail: what, where, why, what to do. headers: that go with its status.

    refusal: of administration, if it refused.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = first_errors(errors)
        self.headers = dict(headers or {})
        self.refusal = refusal


def refused(refusal: Refusal) -> Problem:
    """Turn a Refusal into a Problem."""
    if isinstance(refusal, BusyRefusal):
        again = {"Retry-After": str(refusal.again)}
        return Problem(ProblemType.THROTTLED, refusal.text, headers=again, refusal=refusal)
    return Problem(_OF_REFUSALS[refusal.kind], refusal.text, refusal.errors, refusal=refusal)


def problem_response(problem: Problem, instance: str) -> Response:
    """The document. instance: a URI that the log knows the request by."""
    return problem_document(problem.kind, problem.detail, instance, problem.errors, problem.headers, problem.refusal)


PREFIX = "/api/v1"

_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_DRY_RUN = "dry_run"
_YES = {"true": True, "1": True, "false": False, "0": False}

_INDENTED = 64 * 1024  # octets beyond what may be stored
_FEW = 1000  # values of which nobody asks how long they are
_OCTETS_OF_A_VALUE = 6  # on average, at least, with its comma
_PATIENCE = 10.0  # seconds for one's turn
_CROWDED = (
    "Another large request of your organization, or those of others, are in progress. Try again when it has ended."
)
_large_bodies = Slots(2, 1)  # of the administrators of organizations: each takes memory and a CPU for seconds

_log = logging.getLogger(__name__)


def routes(endpoints: Iterable[RestEndpoint]) -> list[Route]:
    """A route for each path, whatever their order (literal ones before those with braces), and one for all others."""
    paths: dict[str, dict[str, RestEndpoint]] = {}
    for endpoint in endpoints:
        methods = paths.setdefault(endpoint.case.path, {})
        if methods.setdefault(endpoint.case.method, endpoint) is not endpoint:
            raise ValueError(f"{endpoint.case.method} {endpoint.case.path} is declared twice")
    served = [Route(PREFIX + path, _Path(paths[path])) for path in sorted(paths, key=_pattern_rank)]
    return [*served, Route(PREFIX + "/{anything:path}", _Path({}))]


def _pattern_rank(path: str) -> list[int]:
    """Rank each part of a path by what it matches: 0 for its own text alone, 1 for any text, 2 for slashes as well."""
    return [("{" in part) + (":path}" in part) for part in path.split("/")]


class _Path:
    """The endpoints of one path, as an ASGI application. endpoints: by method; none where there is nothing."""

    def __init__(self, endpoints: Mapping[str, RestEndpoint]) -> None:
        self._endpoints = dict(endpoints)
        if "GET" in endpoints:
            self._endpoints["HEAD"] = endpoints["GET"]

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response = await self._response(request)
        if request.method == "HEAD" and not isinstance(response, StreamingResponse):
            response.body = b""  # its headers stay as GET has them, the length too
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        instance = instance_of(request.scope)
        try:
            who = _principal(request)
            endpoint = self._endpoint(request)
        except Problem as unheard:
            return problem_response(unheard, instance)
        return await _respond(request, endpoint, _context(request, endpoint, who, instance))

    def _endpoint(self, request: Request) -> RestEndpoint:
        """Raises Problem if nothing is here, or nothing by this method."""
        if not self._endpoints:
            raise Problem(
                ProblemType.MISSING, f"There is nothing at this path; {PREFIX}/openapi.json lists what there is."
            )
        endpoint = self._endpoints.get(request.method)
        if endpoint is None:
            allow = ", ".join(sorted(self._endpoints))
            raise Problem(ProblemType.METHOD, f"This path takes {allow}.", headers={"Allow": allow})
        return endpoint


def _context(request: Request, endpoint: RestEndpoint, principal: Principal, instance: str) -> Context:
    state = request.app.state
    dry_run = endpoint.case.dry_run and _dry_run(request.query_params.multi_items(), [])
    is_fresh = is_confirmed(getattr(request.state, "session", None), time.time())
    return Context(
        state.gateway,
        principal,
        lambda: state.accounts,
        address_of(request.scope),
        dry_run=dry_run,
        is_confirmed=is_fresh,
        reference=instance,
    )


async def _respond(request: Request, endpoint: RestEndpoint, context: Context) -> Response:
    """The answer to a call. What `begin` refuses is on record by `manage.web.problem`."""
    case = endpoint.case
    try:
        begin(case, context, request.path_params)
    except Refusal as refusal:
        return problem_response(Problem(refused(refusal).kind, refusal.text), context.reference)
    try:
        body = await _body(request, endpoint, _most(endpoint, context))
    except Problem as unread:
        if unread.kind is not ProblemType.TOO_LARGE:  # as above
            await run_in_threadpool(record_refusal, case, context, _refusal(unread))
        return problem_response(unread, context.reference)
    if body is None or len(body) <= MAX_BODY or context.principal.is_of_gateway:
        return await _answer(request, endpoint, context, body)
    if not await _large_bodies.acquire_async(context.principal.share_key, _PATIENCE):
        problem = Problem(ProblemType.THROTTLED, _CROWDED, headers={"Retry-After": "10"})
        return problem_response(problem, context.reference)
    try:
        return await _answer(request, endpoint, context, body)
    finally:
        _large_bodies.release(context.principal.share_key)


async def _answer(request: Request, endpoint: RestEndpoint, context: Context, body: bytes | None) -> Response:
    """The answer to a call whose body has come."""
    try:
        expected, case_request = await run_in_threadpool(_request_of, request, endpoint, context, body)
    except Exception as error:  # noqa: BLE001 - `_problem_of` says what is told of it
        problem = _problem_of(error, request, context.reference)
        await run_in_threadpool(record_refusal, endpoint.case, context, _refusal(problem))
        return problem_response(problem, context.reference)
    try:
        return await run_in_threadpool(_result, request, endpoint, replace(context, expected=expected), case_request)
    except Exception as error:  # noqa: BLE001 - `_problem_of` says what is told of it
        return problem_response(_problem_of(error, request, context.reference), context.reference)


def _refusal(problem: Problem) -> Refusal:
    """The same for the audit, of what is wrong with the form of a call."""
    return problem.refusal or Refusal(RefusalKind.INPUT, problem.detail, problem.errors)


def _result(request: Request, endpoint: RestEndpoint, context: Context, asked: Any) -> Response:
    """On a thread: do it, and write the answer."""
    try:
        result = execute(endpoint.case, context, asked)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.CONFLICT and context.expected is not None:
            _is_in_force(context.gateway, context.expected)  # it was overtaken between the look and the change
        refusal.errors = tuple(_located(endpoint.case, error) for error in refusal.errors)
        raise
    return _written(request, endpoint, result, dry_run=context.dry_run)


def _located(case: UseCase[Any, Any], error: FieldError) -> FieldError:
    """Where a field of the request stands in a call."""
    name = re.split(r"[.\[]", error.path)[0]
    names = (field.encode_name for field in msgspec.structs.fields(case.request) if field.name in case.query_names)
    return FieldError(f"query.{error.path}", error.message) if name in names else error


def _problem_of(error: Exception, request: Request, instance: str) -> Problem:
    """Turn an error into a problem; an unexpected one is logged only, since its text may hold anything."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refusal):
        return refused(error)
    _log.error("%s %s failed: request %s", request.method, request.scope["route"].path, instance, exc_info=error)
    return Problem(ProblemType.INTERNAL, f"The gateway's log says why, under {instance}.")


def _principal(request: Request) -> Principal:
    who = getattr(request.state, "principal", None)
    if isinstance(who, Principal):
        return who
    raise Problem(
        ProblemType.UNAUTHENTICATED,
        "Send Authorization: Bearer with an API token, or sign in; `gatepost token add` makes a token.",
        headers={"WWW-Authenticate": 'Bearer realm="gatepost"'},
    )


def _most(endpoint: RestEndpoint, context: Context) -> int:
    """Octets of a body: of resources an organization's own administrators send no more than they can store."""
    if context.principal.is_of_gateway or not isinstance(endpoint.body, Document):
        return endpoint.case.max_body
    return min(endpoint.case.max_body, context.gateway.settings.limits.organization_bytes + _INDENTED)


async def _body(request: Request, endpoint: RestEndpoint, most: int) -> bytes | None:
    """The body, if the endpoint takes one. most: octets of it. Raises Problem."""
    if endpoint.body is None:
        return None
    allowed = {_JSON, _MERGE_PATCH} if endpoint.takes_merge_patch else {_JSON}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in allowed:
        raise Problem(ProblemType.MEDIA_TYPE, f"Send Content-Type: {' or '.join(sorted(allowed))}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(ProblemType.MEDIA_TYPE, "Send the body without Content-Encoding.")
    length, bound = request.headers.get("content-length", "0"), f"At most {most} bytes are taken here."
    if length.isdecimal() and int(length) > most:
        raise Problem(ProblemType.TOO_LARGE, bound)
    try:
        body = await read_body(request.receive, most)
    except BodyTooLarge:
        raise Problem(ProblemType.TOO_LARGE, bound) from None
    if body is None:
        raise Problem(ProblemType.MALFORMED, "The body ended early.")
    return body


def _request_of(
    request: Request, endpoint: RestEndpoint, context: Context, body: bytes | None
) -> tuple[int | None, Any]:
    """The version that a change is made from, and the request of the use case. Raises Problem."""
    errors: list[FieldError] = []
    items = request.query_params.multi_items()
    query, value = None, None
    if endpoint.case.dry_run:
        _dry_run(items, errors)
        items = [item for item in items if item[0] != _DRY_RUN]
    try:
        query = query_value(endpoint.query, items)
    except WrongFields as wrong:
        errors += wrong.errors
    try:
        if body is not None and not context.principal.is_of_gateway:
            _check_density(body)
        value = None if body is None or endpoint.body is None else _body_value(endpoint.body, body)
    except WrongFields as wrong:
        errors += wrong.errors
    if errors:
        raise _invalid(errors)
    expected = _expected(request, endpoint, context)
    try:
        return expected, endpoint.request(request.path_params, query, value)
    except WrongFields as wrong:
        raise _invalid(wrong.errors) from None


def _invalid(errors: Sequence[FieldError]) -> Problem:
    return Problem(ProblemType.INVALID, f"{quantity(len(errors), 'error')}; nothing was done.", errors)


def _dry_run(items: Sequence[tuple[str, str]], errors: list[FieldError]) -> bool:
    values = [text for name, text in items if name == _DRY_RUN]
    if len(values) > 1 or any(text not in _YES for text in values):
        errors.append(FieldError(f"query.{_DRY_RUN}", "must be true or false, once"))
        return True
    return bool(values) and _YES[values[0]]


def _check_density(body: bytes) -> None:
    """Raise Problem for JSON of many tiny values, each of which takes twenty times its octets in memory."""
    if sum(map(body.count, (b",", b"[", b"{"))) > _FEW + len(body) // _OCTETS_OF_A_VALUE:
        raise Problem(ProblemType.MALFORMED, "The body has more lists, objects and commas than resources of its size.")


def _body_value(kind: type[msgspec.Struct] | Document, body: bytes) -> Any:
    try:
        values = from_json(body)
    except msgspec.MsgspecError as error:
        raise Problem(ProblemType.MALFORMED, f"The body is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise Problem(ProblemType.MALFORMED, "The body must be a JSON object: {…}.")
    return values if isinstance(kind, Document) else body_value(kind, values)


def _expected(request: Request, endpoint: RestEndpoint, context: Context) -> int | None:
    """The version that a change is made from, None if any will do. Raises Problem if it is not said or not in force."""
    if not endpoint.case.guarded:
        return None
    if_match = ", ".join(request.headers.getlist("if-match"))
    if not if_match:
        if context.dry_run:
            return None
        raise Problem(
            ProblemType.UNGUARDED, 'Send If-Match with the ETag that you read, such as "v17", or * for any version.'
        )
    if if_match.strip() == "*":
        return None
    with context.config() as store:
        version = store.version()
    if not may_change(if_match, version):
        raise _overtaken(version)
    return version


def _is_in_force(gateway: Gateway, expected: int) -> None:
    with gateway.config() as store:
        version = store.version()
    if version != expected:
        raise _overtaken(version)


def _overtaken(version: int) -> Problem:
    detail = f"Version {version} is in force, and If-Match names another. Read it again, and change that."
    return Problem(ProblemType.PRECONDITION, detail, headers={"ETag": etag(version)})


def _written(request: Request, endpoint: RestEndpoint, result: Any, *, dry_run: bool) -> Response:
    """The result as HTTP has it."""
    status = HTTPStatus.OK if dry_run else endpoint.case.status
    version = result.version if isinstance(result, Items | UseCaseReply) else None
    headers = {"Cache-Control": "no-store"}
    if isinstance(result, FileResult):
        return _file(request, endpoint, result, headers)
    if version is not None:
        # The version is the same for all, and what they see is not: a cache keeps an answer for who asked (RFC 9111
        # section 4.1), not for the next one at this browser.
        headers |= {"ETag": etag(version), "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
        known = request.headers.get("if-none-match", "")
        if request.method in {"GET", "HEAD"} and known and is_known(known, version):
            return Response(status_code=304, headers=headers)
    if isinstance(result, Items):
        result = _page(request, result, headers)
    if isinstance(result, UseCaseReply):
        status = HTTPStatus.CREATED if result.created else status
        if result.location and not dry_run:
            headers["Location"] = PREFIX + result.location
        result = result.value
    if status == HTTPStatus.NO_CONTENT:
        return Response(status_code=status, headers=headers)
    return Response(msgspec.json.encode(result), status, headers, media_type=_JSON)


def _file(request: Request, endpoint: RestEndpoint, file: FileResult, headers: dict[str, str]) -> Response:
    """It comes as it is read: chunks, whose end says that it is whole."""
    headers |= {"Content-Disposition": f'attachment; filename="{file.name}"'}
    chunks = () if request.method == "HEAD" else file.chunks
    return StreamingResponse(chunks, endpoint.case.status, headers, media_type=endpoint.case.media_type)


def _page(request: Request, page: Items[Any], headers: dict[str, str]) -> dict[str, Any]:
    behind = None
    if page.after is not None:
        url = request.url.include_query_params(after=page.after)
        behind = f"{url.path}?{url.query}"
        headers["Link"] = f'<{behind}>; rel="next"'
    return {"items": page.items, "next": behind}


_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"v{version}"'


def may_change(if_match: str, version: int) -> bool:
    """Whether If-Match lets what is of that version be changed: by "*", or by its tag. A weak tag never does."""
    return if_match.strip() == "*" or ("", f"v{version}") in _TAG.findall(if_match)


def is_known(if_none_match: str, version: int) -> bool:
    """Whether If-None-Match says that the client has this version already."""
    return if_none_match.strip() == "*" or f"v{version}" in (tag for _, tag in _TAG.findall(if_none_match))
