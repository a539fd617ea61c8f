"""One HTTPS connection to the REST interface of a gateway: a call at a time, its answer or a Refusal.

Used by the functions of this package. The other side is not trusted with anything but what it was asked: its
certificate is always checked, before the token is sent; redirects are not followed, what it says is bounded, every wait
ends, and no proxy is asked. A problem document (RFC 9457) becomes the Refusal that a command there would raise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from gatepost import __version__
from gatepost.decoding import from_json
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, VersionConflict
from gatepost.policy.connectors.errors import FieldError
from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gatepost.manage.remote.address import Address


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
        document = from_json(content)
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


PREFIX: Final = "/api/v1"
BLANK: Final = object()
"""In a query, "" where that is not the same as nothing."""
_CONNECT: Final = 15.0  # seconds
_SILENCE: Final = 300.0  # seconds without a byte: a long trace takes some time to be read
_WHOLE: Final = 900.0  # seconds for an answer, whatever comes
_MOST: Final = 128 * 1024 * 1024  # bytes of an answer
_CHUNK: Final = 256 * 1024
_PAGE: Final = 1000  # items, which the interface gives at most


class RestResponse(NamedTuple):
    """A response. etag, location, disposition: header fields, "" where there are none. created: it is a 201."""

    value: Any
    etag: str
    location: str = ""
    disposition: str = ""
    created: bool = False


class RestConnection:
    """Opened by the first call, and kept for the next ones."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._http: HTTPSConnection | None = None

    @property
    def url(self) -> str:
        """The other gateway's address, for sentences."""
        return self._address.url

    def close(self) -> None:
        """End it."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def get(self, path: str, **query: object) -> RestResponse:
        """GET of a path below /api/v1. query: what is "", None or False is left out. Raises Refusal."""
        return self.call("GET", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
        if_match: str = "",
        raw: bool = False,
    ) -> RestResponse:
        """One call. raw: the answer is not JSON.

        Raises Refusal: as the gateway refused it, or UNREADABLE if it cannot be asked.
        """
        values = {name: _text(value) for name, value in (query or {}).items() if value not in ("", None, False, [], ())}
        target = f"{PREFIX}{path}" + (f"?{urlencode(values, doseq=True)}" if values else "")
        if raw:
            return self._exchange(method, target, _encoded(body), if_match, bytes)
        return self._exchange(method, target, _encoded(body), if_match)

    def file(self, path: str) -> bytes:
        """GET of a path below /api/v1 that answers with a file. Raises Refusal."""
        content: bytes = self._exchange("GET", f"{PREFIX}{path}", None, "", bytes).value
        return content

    def items(self, path: str, limit: int = 0, /, **query: object) -> Iterator[dict[str, Any]]:
        """Items of a list, page by page: at most `limit`, 0 for all. Raises Refusal."""
        left = limit
        page = self.get(path, limit=min(_PAGE, limit or _PAGE), **query).value
        while True:
            for item in page["items"]:
                yield item
                left -= 1
                if left == 0:
                    return
            behind = page["next"]
            if not page["items"] or behind is None:
                return
            if not behind.startswith(f"{PREFIX}/"):
                raise Refusal(RefusalKind.UNREADABLE, f"{self.url}: its next page is not on it, and is not asked for")
            page = self._exchange("GET", behind, None, "").value

    # -------------------------------------------------------------------------------------------- HTTP

    def _exchange(
        self,
        method: str,
        target: str,
        body: bytes | None,
        if_match: str,
        decode: Callable[[bytes], Any] = from_json,
    ) -> RestResponse:
        """decode: what comes; it raises ValueError for what is no answer of a gateway."""
        headers = {
            "Authorization": f"Bearer {self._address.token}",
            "Accept": "application/json" if decode is from_json else "*/*",
            "User-Agent": f"gatepost/{__version__}",
        }
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"If-Match": if_match} if if_match else {}
        try:
            connection = self._http = self._http or self._connected()
            with _ending(connection, _WHOLE) as late:
                try:
                    connection.request(method, target, body, headers)
                    response = connection.getresponse()
                    return self._read(response, _content(response), decode)
                except (OSError, HTTPException, ValueError):
                    if late.is_set():
                        raise TimeoutError from None
                    raise
        except TimeoutError:
            self.close()
            raise self._unreadable("it does not answer in time") from None
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise self._unreadable(_why(error)) from error

    def _connected(self) -> HTTPSConnection:
        """Raises OSError, and Refusal if it is not whom we mean."""
        host, port, pin = self._address.host, self._address.port, self._address.fingerprint
        connection = HTTPSConnection(host, port, timeout=_CONNECT, context=_context(self._address))
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)  # noqa: S101 - it is connected
        fingerprint = hashlib.sha256(connection.sock.getpeercert(binary_form=True) or b"").hexdigest()
        if pin and not hmac.compare_digest(fingerprint, pin):
            connection.close()
            text = (
                f"its certificate has the fingerprint {fingerprint}, not {pin}, so nothing was sent to it. The gateway "
                "logs its own at every start, and makes another one each year; compare it there"
            )
            raise self._unreadable(text)
        connection.sock.settimeout(_SILENCE)
        return connection

    def _read(self, response: HTTPResponse, content: bytes, decode: Callable[[bytes], Any] = from_json) -> RestResponse:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if not 200 <= response.status < 300:
            raise refusal_of(self.url, response.status, headers, content)
        try:
            return RestResponse(
                decode(content),
                headers.get("etag", ""),
                headers.get("location", ""),
                headers.get("content-disposition", ""),
                response.status == 201,
            )
        except ValueError as error:
            text = f"{self.url}: what it answers is not JSON: is it the admin centre of a gateway?"
            raise Refusal(RefusalKind.UNREADABLE, text) from error

    def _unreadable(self, why: str) -> Refusal:
        return Refusal(RefusalKind.UNREADABLE, f"{self.url}: {why}")


def _context(address: Address) -> ssl.SSLContext:
    """TLS 1.2 or newer, the certificate and its name checked; with a fingerprint alone, it is that very certificate.

    Raises Refusal (INPUT) for a file that has no certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold the gateway's own certificate
    if address.ca:
        try:
            context.load_verify_locations(address.ca)
        except OSError as error:
            why = "no PEM certificates are in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise Refusal(RefusalKind.INPUT, f"--ca {address.ca}: {why}") from error
    elif address.fingerprint:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # `RestConnection._connected` compares it
    else:
        context.load_default_certs()
    return context


@contextmanager
def _ending(connection: HTTPSConnection, seconds: float) -> Iterator[threading.Event]:
    """Cut the connection after so long, however busy it looks; the event says that it was."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # which wakes who reads; closing it would not

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _content(response: HTTPResponse) -> bytes:
    """The body. Raises HTTPException if it is too large or ends early."""
    parts, size = [], 0
    while chunk := response.read(_CHUNK):
        size += len(chunk)
        if size > _MOST:
            raise _TooLargeError
        parts.append(chunk)
    if response.length:
        raise _CutShortError
    return b"".join(parts)


class _TooLargeError(HTTPException):
    pass


class _CutShortError(HTTPException):
    pass


def _why(error: Exception) -> str:
    """In words, for who asked; never what the other side said."""
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted: {error.verify_message}. Name its authority with --ca FILE, or the "
                "certificate that the gateway made for itself with --fingerprint SHA256 (it logs it at its start)"
            )
        case ssl.SSLError():
            return f"TLS failed: {(error.reason or 'the connection ended').lower().replace('_', ' ')}"
        case _TooLargeError():
            return f"its answer is larger than {_MOST} bytes"
        case OSError() if error.strerror:
            return f"it cannot be reached: {error.strerror}"
        case OSError() | _CutShortError():
            return "it ended the connection before its answer was complete"
        case _:
            return "what it answers is not HTTP that can be read"


def _text(value: object) -> Any:
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    return "true" if value is True else "" if value is BLANK else str(value)


def _encoded(body: Mapping[str, Any] | None) -> bytes | None:
    """Raises Refusal (INPUT) for a value that TOML has and JSON has not."""
    if body is None:
        return None
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        text = "dates, times, infinite numbers and halves of characters are in no field; nothing was changed"
        raise Refusal(RefusalKind.INPUT, text) from error
