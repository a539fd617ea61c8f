"""Turn a problem document (RFC 9457) of another gateway into the Refusal that its own command would raise. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, VersionConflict
from gatepost.policy.connectors.errors import FieldError
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping


_PRECONDITION: Final = 412
_KINDS: Final = {  # where the gateway does not say which refusal it was
    400: RefusalKind.INPUT,
    401: RefusalKind.FORBIDDEN,
    403: RefusalKind.FORBIDDEN,
    404: RefusalKind.MISSING,
    405: RefusalKind.INPUT,
    409: RefusalKind.CONFLICT,
    412: RefusalKind.CONFLICT,
    413: RefusalKind.INPUT,
    415: RefusalKind.INPUT,
    422: RefusalKind.INPUT,
    428: RefusalKind.INPUT,
}
_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "instance", "errors", "refusal", "options"})
_NAME: Final = re.compile(r"[a-z_]{1,40}")
_REDIRECTS: Final = range(300, 400)
_TYPES: Final = "application/problem+json"


def refusal_of(url: str, status: int, headers: Mapping[str, str], content: bytes) -> Refusal:
    """The refusal that an answer is; control characters in its texts are "?". headers: by lower-case names."""
    if status in _REDIRECTS:
        text = f"{url} sends us elsewhere, where the token must not go; give the address of the gateway itself"
        return Refusal(RefusalKind.UNREADABLE, text)
    document = _document(headers, content)
    if document is None:
        text = f"{url} answers {status} and does not say why: is it the admin centre of a gateway?"
        return Refusal(RefusalKind.UNREADABLE, text)
    detail = _harmless(str(document.get("detail") or document.get("title") or f"it answers {status}"))
    errors = _errors(document.get("errors"))
    if status == _PRECONDITION:
        return VersionConflict(detail, errors)
    kind = _kind(document.get("refusal")) or _KINDS.get(status, RefusalKind.UNREADABLE)
    if kind in {RefusalKind.FORBIDDEN, RefusalKind.UNREADABLE}:
        detail = f"{url}: {detail}{_later(headers)}"
    more = {key: value for key, value in document.items() if key not in _MEMBERS}
    return Refusal(kind, detail, errors, options=_options(document.get("options")), more=more)


def _document(headers: Mapping[str, str], content: bytes) -> dict[str, Any] | None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPES:
        return None
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _kind(given: Any) -> RefusalKind | None:
    return RefusalKind(given) if given in tuple(RefusalKind) else None


def _errors(given: Any) -> list[FieldError]:
    if not isinstance(given, list):
        return []
    return [
        FieldError(_harmless(str(error.get("path", ""))), _harmless(str(error.get("message", ""))))
        for error in given
        if isinstance(error, dict)
    ]


def _options(given: Any) -> list[str]:
    """Names of the options that would help; others are dropped."""
    return (
        [text for text in given if isinstance(text, str) and _NAME.fullmatch(text)] if isinstance(given, list) else []
    )


def _later(headers: Mapping[str, str]) -> str:
    seconds = headers.get("retry-after", "")
    return f" (again in {quantity(int(seconds), 'second')})" if seconds.isascii() and seconds.isdecimal() else ""


def _harmless(text: str) -> str:
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
