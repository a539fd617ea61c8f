"""Set the keys of session tickets in a server's context, which pyOpenSSL and cryptography have no call for.

Called by `net.tickets` only. OpenSSL keeps the keys in its SSL_CTX: a name of 16 bytes, and behind it the address of
an HMAC key and an AES key of 32 bytes each. Where in the SSL_CTX that is differs between versions, so nothing is
assumed: `find_place` looks for the name that a real ticket bears, and takes what lies behind it for the keys only if
they verify the HMAC of that ticket, which nothing else in the world does. Then it sets keys and has sessions resumed
with them. Where any of that does not come out, nothing is ever set: contexts keep the keys that OpenSSL gave them
(docs/decisions/0072). Memory is read through a pipe, for which an address that is none is an error, not a crash.
"""

from __future__ import annotations

import ctypes
import functools
import hmac
import os
import secrets
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib

from gatepost.net import openssl_private as private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

KEYS: Final = 80
"""Bytes of a set of keys: name, HMAC key and AES key, as SSL_CTX_set_tlsext_ticket_keys takes them."""

_NAME: Final = 16
_SECRET: Final = KEYS - _NAME
_POINTER: Final = _ffi.sizeof("void *")
_REACH: Final = 4096  # an SSL_CTX of OpenSSL 4.0 has about 1,000 bytes
_TAG: Final = 32  # of HMAC-SHA-256

_libc = ctypes.CDLL(None, use_errno=True)
_libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_libc.write.restype = ctypes.c_ssize_t


class TicketKeySlot:
    """The keys of one context. Made by `slot_of`."""

    __slots__ = ("_context", "_name", "_secret")

    def __init__(self, context: SSL.Context, name: int, secret: int) -> None:
        self._context = context  # the addresses are good as long as it lives
        self._name = _ffi.cast("char *", name)
        self._secret = _ffi.cast("char *", secret)

    def set(self, keys: bytes) -> None:
        """Give and take tickets by these keys from now on. keys: `KEYS` bytes.

        For one thread: no handshake of this context may be at work in another.
        """
        _ffi.memmove(self._name, keys[:_NAME], _NAME)
        _ffi.memmove(self._secret, keys[_NAME:], _SECRET)


def slot_of(context: SSL.Context) -> TicketKeySlot | None:
    """The place of a context's ticket keys; None where the library's place for them is not known."""
    place = find_place()
    return _slot(context, place) if place is not None else None


@functools.cache
def find_place() -> int | None:
    """Where in an SSL_CTX its ticket keys are, in bytes from its start; None if that is not proved.

    Takes five handshakes; a process that is forked later has the answer already.
    """
    try:
        workshop = _Workshop()
        place = workshop.place()
        return place if place is not None and workshop.resumes(place) else None
    except (AttributeError, OSError, TypeError, ValueError, SSL.Error):
        private.clear_errors()
        return None


def _slot(context: SSL.Context, place: int) -> TicketKeySlot | None:
    name = _address(context) + place
    secret = int.from_bytes(_peek(name + _NAME, _POINTER), sys.byteorder)
    return TicketKeySlot(context, name, secret) if len(_peek(secret, _SECRET)) == _SECRET else None


def _address(context: SSL.Context) -> int:
    return int(_ffi.cast("uintptr_t", context._context))  # noqa: SLF001 - as in net.openssl_private


def _peek(address: int, size: int) -> bytes:
    """As much of these bytes of our memory as can be read. size: at most what a pipe takes at once."""
    source, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        written = _libc.write(sink, address, size)
        return os.read(source, written) if written > 0 else b""
    finally:
        os.close(source)
        os.close(sink)


class _Session(msgspec.Struct, frozen=True):
    session: SSL.Session
    resumed: bool


class _Workshop:
    """Contexts that nobody else has, for finding out about the library. TLS 1.2: a session comes with its ticket."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate: x509.Certificate = private.self_signed(self._key)
        self._client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._client.set_max_proto_version(SSL.TLS1_2_VERSION)

    def place(self) -> int | None:
        """Where a ticket's own name and keys are found, if that is in one place only."""
        server = self._server()
        encoded = _encoded(self._shake(server).session)
        memory = _peek(_address(server), _REACH)
        proved = [place for place in _names(memory, encoded) if self._proves(server, place, encoded)]
        return proved[0] if len(proved) == 1 else None

    def resumes(self, place: int) -> bool:
        """Whether contexts that are given the same keys take each other's tickets, and others do not."""
        keys, others = secrets.token_bytes(KEYS), secrets.token_bytes(KEYS)
        first, second, third = servers = [self._server() for _ in range(3)]
        for server, its_keys in zip(servers, (keys, keys, others), strict=True):
            slot = _slot(server, place)
            if slot is None:
                return False
            slot.set(its_keys)
        session = self._shake(first).session
        resumed = [self._shake(server, session).resumed for server in (second, third)]
        return keys[:_NAME] in _encoded(session) and resumed == [True, False]

    @staticmethod
    def _proves(server: SSL.Context, place: int, encoded: bytes) -> bool:
        """Whether the keys whose name is at a place made the ticket in a session (RFC 5077 section 4)."""
        memory = _peek(_address(server) + place, _NAME + _POINTER)
        key = _peek(int.from_bytes(memory[_NAME:], sys.byteorder), _SECRET)[:_TAG]
        before, name, behind = encoded.partition(memory[:_NAME])
        for size in (int.from_bytes(before[-1:]), int.from_bytes(before[-2:])):  # of an OCTET STRING, in DER
            sealed, tag = (name + behind)[: size - _TAG], (name + behind)[size - _TAG : size]
            if size > _NAME + _TAG and hmac.digest(key, sealed, "sha256") == tag:
                return True
        return False

    def _server(self) -> SSL.Context:
        server = SSL.Context(SSL.TLS_SERVER_METHOD)
        server.use_certificate(self._certificate)
        server.use_privatekey(self._key)
        server.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        private.set_session_context(server, b"self-test")
        return server

    def _shake(self, server: SSL.Context, session: SSL.Session | None = None) -> _Session:
        ours, theirs = SSL.Connection(self._client, None), SSL.Connection(server, None)
        ours.set_connect_state()
        theirs.set_accept_state()
        if session is not None:
            ours.set_session(session)
        for connection, other in ((ours, theirs), (theirs, ours)) * 2:
            with suppress(SSL.WantReadError):
                connection.do_handshake()
            if output := private.take_output(connection):
                private.put_input(other, output)
        ours.do_handshake()
        kept = ours.get_session()
        if kept is None:
            raise ValueError("a handshake left no session")
        ours.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)  # else it could not be resumed
        return _Session(kept, private.session_reused(ours))


def _names(memory: bytes, encoded: bytes) -> Iterator[int]:
    """Where 16 bytes of a session lie that may be a random name."""
    for place in range(0, len(memory) - _NAME - _POINTER, 4):
        name = memory[place : place + _NAME]
        if name in encoded and len(set(name)) > _NAME // 2:
            yield place


def _encoded(session: SSL.Session) -> bytes:
    """A session in DER, with its ticket as it is."""
    known = session._session  # noqa: SLF001 - as above
    size = _lib.i2d_SSL_SESSION(known, _ffi.NULL)
    content = _ffi.new("unsigned char[]", size)
    _lib.i2d_SSL_SESSION(known, _ffi.new("unsigned char **", content))
    return bytes(_ffi.buffer(content, size))
