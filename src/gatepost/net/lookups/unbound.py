"""libunbound by ctypes: a recursive DNSSEC-validating resolver in this process that does not block the loop.

Used by `net.lookups.validator` only. The library works in a thread of its own (never Python's) and tells through a pipe
that results are ready; they are taken on the event loop. A context is made after the fork, where it is used: its thread
would not survive one. What an answer means is not decided here.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import logging
from collections.abc import Iterable, Mapping
from ctypes import POINTER, c_char_p, c_int, c_void_p
from functools import lru_cache
from typing import Any

import msgspec

LIBRARY = "libunbound.so.8"
"""The name holds the version of the interface that `_Result` and `_SIGNATURES` are written for."""

_IN = 1  # the class
_NO_ERROR = 0

_log = logging.getLogger(__name__)


class UnboundError(Exception):
    """The library is not there, or refuses; the text says what to do, or what it says."""


class UnboundResult(msgspec.Struct, frozen=True):
    """An answer. wire: the answer as a message, with its signatures. rcode: of the last question sent.

    secure: DNSSEC proves it. bogus: DNSSEC proves it wrong, and `wire` is not to be used; why: what is wrong with it.
    """

    wire: bytes
    rcode: int
    secure: bool
    bogus: bool
    why: str


class _Result(ctypes.Structure):
    """`struct ub_result` of unbound.h."""

    _fields_ = (
        ("qname", c_char_p),
        ("qtype", c_int),
        ("qclass", c_int),
        ("data", c_void_p),
        ("len", c_void_p),
        ("canonname", c_char_p),
        ("rcode", c_int),
        ("answer_packet", c_void_p),
        ("answer_len", c_int),
        ("havedata", c_int),
        ("nxdomain", c_int),
        ("secure", c_int),
        ("bogus", c_int),
        ("why_bogus", c_char_p),
        ("was_ratelimited", c_int),
        ("ttl", c_int),
    )


_CallBack = ctypes.CFUNCTYPE(None, c_void_p, c_int, POINTER(_Result))

_SIGNATURES: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "ub_ctx_create": (c_void_p, ()),
    "ub_ctx_delete": (None, (c_void_p,)),
    "ub_ctx_debugout": (c_int, (c_void_p, c_void_p)),
    "ub_ctx_async": (c_int, (c_void_p, c_int)),
    "ub_ctx_set_option": (c_int, (c_void_p, c_char_p, c_char_p)),
    "ub_ctx_set_fwd": (c_int, (c_void_p, c_char_p)),
    "ub_ctx_add_ta": (c_int, (c_void_p, c_char_p)),
    "ub_fd": (c_int, (c_void_p,)),
    "ub_process": (c_int, (c_void_p,)),
    "ub_resolve_async": (c_int, (c_void_p, c_char_p, c_int, c_int, c_void_p, _CallBack, POINTER(c_int))),
    "ub_cancel": (c_int, (c_void_p, c_int)),
    "ub_resolve_free": (None, (POINTER(_Result),)),
    "ub_strerror": (c_char_p, (c_int,)),
    "ub_version": (c_char_p, ()),
}


@lru_cache(1)
def load() -> Any:
    """The library, ready to be called. Raises UnboundError if it is not installed."""
    try:
        library = ctypes.CDLL(LIBRARY)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise UnboundError(
            f"{LIBRARY} cannot be loaded ({error}); install libunbound (Debian: apt install libunbound8)"
        ) from None
    return library


class UnboundContext:
    """One resolver with its cache and its thread; to be made where the event loop runs, and closed in the end.

    options: of unbound.conf, without the colon. forwarders: "ADDRESS@PORT" of recursive nameservers to ask; without any
    it recurses itself. anchors: DS or DNSKEY records in text form, below which everything is validated. /etc/hosts and
    /etc/resolv.conf are not read. Raises UnboundError.
    """

    def __init__(self, options: Iterable[tuple[str, str]], forwarders: Iterable[str], anchors: Iterable[str]) -> None:
        self._library = load()
        self._context: int | None = self._library.ub_ctx_create()
        if not self._context:
            raise UnboundError("libunbound finds no memory for a resolver")
        try:
            self._configure(options, forwarders, anchors)
        except UnboundError:
            self._library.ub_ctx_delete(self._context)
            raise
        self._waiting: dict[int, asyncio.Future[UnboundResult]] = {}
        self._tickets = itertools.count(1)
        self._call_back = _CallBack(self._answered)  # kept: the library calls it as long as the context lives
        self._loop = asyncio.get_running_loop()
        self._pipe: int = self._library.ub_fd(self._context)
        self._loop.add_reader(self._pipe, self._process)

    @property
    def version(self) -> str:
        """Of the library."""
        return str(self._library.ub_version().decode("ascii", "replace"))

    async def resolve(self, name: str, rdtype: int) -> UnboundResult:
        """Look up `name` (A-labels). It waits as long as the library does: bound it. Raises UnboundError."""
        if self._context is None:
            raise UnboundError("the resolver is closed")
        ticket, number = next(self._tickets), c_int(-1)
        future: asyncio.Future[UnboundResult] = self._loop.create_future()
        self._waiting[ticket] = future
        try:
            status = self._library.ub_resolve_async(
                self._context, name.encode("ascii"), rdtype, _IN, ticket, self._call_back, ctypes.byref(number)
            )
            self._check(status)
            return await future
        finally:
            # A caller that still waits was cancelled: the answer would come to none.
            if self._waiting.pop(ticket, None) is not None and self._context is not None:
                self._library.ub_cancel(self._context, number)

    def close(self) -> None:
        """End the thread and free everything; callers that wait get UnboundError."""
        if self._context is None:
            return
        self._loop.remove_reader(self._pipe)
        context, self._context = self._context, None
        self._library.ub_ctx_delete(context)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(UnboundError("the resolver was closed"))
        self._waiting.clear()

    def _configure(self, options: Iterable[tuple[str, str]], forwarders: Iterable[str], anchors: Iterable[str]) -> None:
        library, context = self._library, self._context
        library.ub_ctx_debugout(context, None)  # it would write to standard error in a form of its own
        self._check(library.ub_ctx_async(context, 1))  # in a thread: a process would inherit all our sockets
        for key, value in options:
            self._check(library.ub_ctx_set_option(context, f"{key}:".encode(), value.encode()))
        for forwarder in forwarders:
            self._check(library.ub_ctx_set_fwd(context, forwarder.encode()))
        for anchor in anchors:
            self._check(library.ub_ctx_add_ta(context, anchor.encode()))

    def _check(self, status: int) -> None:
        if status != _NO_ERROR:
            raise UnboundError(f"libunbound: {self._said(status)}")

    def _said(self, status: int) -> str:
        return str(self._library.ub_strerror(status).decode("ascii", "replace"))

    def _process(self) -> None:
        """Take what is ready: calls `_answered` for each, before it returns."""
        status = self._library.ub_process(self._context)
        if status != _NO_ERROR:  # its thread is gone, and the pipe would call us for ever
            _log.critical("libunbound ended (%s): every look-up fails until a restart", self._said(status))
            self.close()

    def _answered(self, ticket: int, status: int, result: Any) -> None:
        """Called by the library, from within `_process`. No exception may leave here: C could not pass it on."""
        try:
            future = self._waiting.pop(ticket, None)
            if future is None or future.done():
                return
            if status == _NO_ERROR and result:
                future.set_result(_copied(result.contents))
            else:
                future.set_exception(UnboundError(f"libunbound: {self._said(status)}"))
        except Exception:  # noqa: BLE001 - see above
            _log.exception("a result of libunbound is lost")
        finally:
            self._library.ub_resolve_free(result)


def _copied(result: _Result) -> UnboundResult:
    wire = ctypes.string_at(result.answer_packet, result.answer_len) if result.answer_packet else b""
    why = (result.why_bogus or b"").decode("utf-8", "replace")
    return UnboundResult(wire, result.rcode, bool(result.secure), bool(result.bogus), why)
