"""Runs use cases on another gateway, by its REST interface: the request fills path, query and body, as it is declared.

What comes back is read as the declared result. Fields that are not known are ignored and those with a default may be
missing, so that a command and a gateway of different versions understand each other; for the same reason a field of the
request that has its default is not sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args, get_origin
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from gatepost import __version__
from gatepost.decoding import converted
from gatepost.manage.remote.connection import BLANK, PREFIX, RestConnection, RestResponse
from gatepost.manage.use_cases.declaration import DOCUMENT, FileResult, Items, UseCase, UseCaseReply
from gatepost.manage.use_cases.execution import NOTHING
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import WrongFields, checked, plain

if TYPE_CHECKING:
    from gatepost.manage.remote.address import Address
    from gatepost.policy.connectors.directory import Directory


_BRACES = re.compile(r"\{(\w+)(:path)?\}")
_FILE_NAME = re.compile(r'filename="([^"/\\]+)"')
_VERSION = re.compile(r'"v(\d+)"')


class RemoteClient:
    """See `manage.use_cases.client.Client`."""

    def __init__(self, address: Address) -> None:
        self._connection = RestConnection(address)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def directory(self) -> Directory:
        """See `Client`."""
        from gatepost.policy.connectors.directory import Directory  # noqa: PLC0415 - mail needs no resources
        from gatepost.policy.connectors.errors import ResourceErrors  # noqa: PLC0415 - as above
        from gatepost.policy.connectors.model import parse  # noqa: PLC0415 - as above
        from gatepost.policy.connectors.resources import PrefixLimits  # noqa: PLC0415 - as above

        answer = self._connection.get("/resources")
        try:
            # How wide a network may be was checked there, against the settings there.
            resources = parse({"organization": answer.value["organization"]}, prefixes=PrefixLimits(0, 0))
        except ResourceErrors as errors:
            text = f"{self._connection.url}: its resources cannot be used by this version of the command: {errors}"
            raise Refusal(RefusalKind.UNREADABLE, text) from errors
        return Directory(resources, int(answer.etag.strip('"').removeprefix("v")))

    def call[R: msgspec.Struct, A](
        self, case: UseCase[R, A], request: R, *, dry_run: bool = False, expected: int | None = None
    ) -> A:
        """See `Client`. Raises Refusal, INPUT for what REST does not have."""
        if not case.path:
            text = "this is not served over REST; do it on the gateway's machine, without --server"
            raise Refusal(RefusalKind.INPUT, text)
        try:
            values = _given(checked(request))  # a name with a slash would lead to another path
        except WrongFields as wrong:
            raise Refusal(RefusalKind.INPUT, NOTHING, wrong.errors) from wrong
        answer = self._connection.call(
            case.method,
            _BRACES.sub(lambda match: _segment(getattr(request, match[1]), slashes=bool(match[2])), case.path),
            query=dict(_in_query(values[name]) for name in case.query_names if name in values) | {"dry_run": dry_run},
            body=_body(case, values) if case.body_names else None,
            if_match=_if_match(case, expected, dry_run=dry_run),
            raw=case.result is FileResult,
        )
        try:
            result: A = _result(case, answer)
        except (LookupError, TypeError, ValueError) as error:  # a msgspec.ValidationError is a ValueError
            text = f"{self._connection.url}: its answer is not what this version of the command expects"
            raise Refusal(RefusalKind.UNREADABLE, f"{text} ({__version__}; GET /api/v1/status has its own)") from error
        return result


def _given(request: msgspec.Struct) -> dict[str, tuple[str, Any]]:
    """(name in JSON, value) of each field that has not its default, by name."""
    values = plain(request)
    arguments = {}
    for field in msgspec.structs.fields(request):
        if field.encode_name not in values:  # UNSET
            continue
        value = values[field.encode_name]
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if field.required or default is msgspec.UNSET or value != msgspec.to_builtins(default):
            arguments[field.name] = (field.encode_name, value)
    return arguments


def _in_query(given: tuple[str, Any]) -> tuple[str, Any]:
    name, value = given
    return name, BLANK if value == "" else "false" if value is False else value


def _body(case: UseCase[Any, Any], given: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    if case.body is not None:
        document: dict[str, Any] = given[DOCUMENT][1]
        return document
    return dict(given[name] for name in case.body_names if name in given)


def _segment(value: object, *, slashes: bool) -> str:
    """One part of the path; slashes: as it takes them, each still one character of the value."""
    return quote(str(value), safe="/" if slashes else "")


def _if_match(case: UseCase[Any, Any], expected: int | None, *, dry_run: bool) -> str:
    if not case.guarded or (dry_run and expected is None):
        return ""
    return "*" if expected is None else f'"v{expected}"'


def _result(case: UseCase[Any, Any], answer: RestResponse) -> Any:
    """Raises LookupError, TypeError or ValueError for what no gateway answers."""
    if case.result is FileResult:
        named = _FILE_NAME.search(answer.disposition)
        return FileResult(named[1] if named else case.name, [answer.value])
    version = int(tag[1]) if (tag := _VERSION.fullmatch(answer.etag)) else None
    if get_origin(case.result) is Items:
        (kind,) = get_args(case.result)
        items: list[Any] = [converted(item, kind) for item in answer.value["items"]]
        return Items(items, _after(answer.value["next"]), version)
    value = converted(answer.value, case.result)
    if case.replies:
        return UseCaseReply(value, version, answer.location.removeprefix(PREFIX), created=answer.created)
    return value


def _after(following: str | None) -> str | None:
    """The cursor in the address of the next page. Raises LookupError."""
    return None if following is None else parse_qs(urlsplit(following).query)["after"][0]
