"""The calls into OpenSSL that pyOpenSSL has no public method for, all in this one file.

Called by `net.engine` and its neighbours. `self_test` shows at start-up that each of them does what we need with the
library that is really installed; a pyOpenSSL that changed underneath us is then a clear refusal to start, not a wrong
fact in the trace.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL._util import ffi as _ffi
from OpenSSL._util import lib as _lib

RECORD: Final = 16384
"""The largest plaintext of a record (RFC 8446 section 5.1)."""

_AROUND: Final = 256 + 5  # octets that a record has beside its plaintext at most (RFC 8446 section 5.2)

_HANDSHAKE, _SERVER_KEY_EXCHANGE, _CERTIFICATE_VERIFY, _NAMED_CURVE = 22, 12, 15, 3
_allocate = _ffi.new_allocator(should_clear_after_alloc=False)
_CHARS: Final = _ffi.typeof("char[]")
_NO_PASSWORD = _ffi.callback(_ffi.typeof(_lib.SSL_CTX_set_default_passwd_cb).args[1], lambda *_: 0)


class PrivateCallError(RuntimeError):
    """The installed pyOpenSSL or cryptography does not do what this file needs of it."""


def set_groups(context: SSL.Context, groups: str) -> None:
    """SSL_CTX_set1_groups_list. Raises ValueError if the library knows none of them or cannot read the list."""
    if _lib.SSL_CTX_set1_curves_list(context._context, groups.encode("ascii")) != 1:  # noqa: SLF001 - the point of this file
        clear_errors()
        raise ValueError(f"OpenSSL does not take the group list {groups!r}")


def set_signature_algorithms(context: SSL.Context, algorithms: str) -> None:
    """SSL_CTX_set1_sigalgs_list. Raises ValueError as `set_groups` does."""
    if _lib.SSL_CTX_set1_sigalgs_list(context._context, algorithms.encode("ascii")) != 1:  # noqa: SLF001 - as above
        clear_errors()
        raise ValueError(f"OpenSSL does not take the signature algorithms {algorithms!r}")


def set_session_context(context: SSL.Context, name: bytes) -> None:
    """SSL_CTX_set_session_id_context for connections made from now on; pyOpenSSL's way ends with the first of them.

    A ticket given under another name leads to a full handshake. name: at most 32 bytes.
    """
    if _lib.SSL_CTX_set_session_id_context(context._context, name, len(name)) != 1:  # noqa: SLF001 - as above
        clear_errors()
        raise ValueError(f"OpenSSL does not take the session context {name!r}")


def session_reused(connection: SSL.Connection) -> bool:
    """Whether the handshake resumed an earlier session."""
    return bool(_lib.SSL_session_reused(connection._ssl))  # noqa: SLF001 - as above


def local_certificate(connection: SSL.Connection) -> int:
    """The identity of the certificate that we presented: equal among connections of a context, 0 if there is none."""
    return int(_ffi.cast("uintptr_t", _lib.SSL_get_certificate(connection._ssl)))  # noqa: SLF001 - as above


def peer_certificates(connection: SSL.Connection) -> int:
    """The number of certificates that came so far, during the handshake, too; those of a client without its leaf."""
    chain = _lib.SSL_get_peer_cert_chain(connection._ssl)  # noqa: SLF001 - as above
    return 0 if chain == _ffi.NULL else int(_lib.sk_X509_num(chain))


def input_waits(connection: SSL.Connection) -> int:
    """Bytes given by `put_input` that OpenSSL has not taken yet."""
    return int(_lib.BIO_get_mem_data(connection._into_ssl, _ffi.NULL))  # noqa: SLF001 - as above


def put_input(connection: SSL.Connection, data: bytes | memoryview) -> None:
    """Hand over octets of the peer; a memory BIO takes all of them."""
    taken = _lib.BIO_write(connection._into_ssl, _ffi.from_buffer(data), len(data))  # noqa: SLF001 - as above
    if taken != len(data):
        raise MemoryError(f"OpenSSL took {taken} of {len(data)} bytes")


def take_output(connection: SSL.Connection) -> bytes:
    """Take all octets that wait for the peer, b"" if there are none."""
    source = connection._from_ssl  # noqa: SLF001 - as above
    size: int = _lib.BIO_get_mem_data(source, _ffi.NULL)
    if not size:
        return b""
    buffer = _allocate(_CHARS, size)
    output: bytes = _ffi.unpack(buffer, _lib.BIO_read(source, buffer, size))
    return output


def renew_buffers(connection: SSL.Connection) -> bool:
    """Give it new memory BIOs, as old ones never shrink; False, and nothing is done, while octets wait in one."""
    if input_waits(connection) or _lib.BIO_get_mem_data(connection._from_ssl, _ffi.NULL):  # noqa: SLF001 - as above
        return False
    into, out = _lib.BIO_new(_lib.BIO_s_mem()), _lib.BIO_new(_lib.BIO_s_mem())
    if not (into and out):
        raise MemoryError("OpenSSL has no memory for a connection's buffers")
    _lib.SSL_set_bio(connection._ssl, into, out)  # noqa: SLF001 - as above; it frees those of before
    connection._into_ssl, connection._from_ssl = into, out  # noqa: SLF001 - as above
    return True


def shake_hands(connection: SSL.Connection) -> bool:
    """Go on with the handshake: whether it is complete; False if that takes more octets of the peer.

    Failures are raised as by `SSL.Connection.do_handshake`, which raises for missing octets, too.
    """
    ssl = connection._ssl  # noqa: SLF001 - as above
    result: int = _lib.SSL_do_handshake(ssl)
    if result == 1:
        return True
    if _lib.SSL_get_error(ssl, result) != _lib.SSL_ERROR_WANT_READ:
        connection._raise_ssl_error(ssl, result)  # noqa: SLF001 - as above
    return False


def lend_input(connection: SSL.Connection, data: bytes | memoryview) -> None:
    """Let OpenSSL read octets of the peer where they are. Until `end_loan` they must stay there, unchanged.

    Nothing may wait that `put_input` gave before.
    """
    source = _lib.BIO_new_mem_buf(_ffi.from_buffer(data), len(data))
    _lib.BIO_set_mem_eof_return(source, -1)  # more may come: its end is not that of the connection
    _read_from(connection, source)


def end_loan(connection: SSL.Connection) -> None:
    """Forget the octets of `lend_input`, read or not."""
    _read_from(connection, _lib.BIO_new(_lib.BIO_s_mem()))


def _read_from(connection: SSL.Connection, source: Any) -> None:
    if not source:
        raise MemoryError("OpenSSL has no memory for a connection's buffer")
    _lib.SSL_set_bio(connection._ssl, source, connection._from_ssl)  # noqa: SLF001 - as above; it frees that of before
    connection._into_ssl = source  # noqa: SLF001 - as above


def read_records(connection: SSL.Connection) -> tuple[bytes, bool]:
    """The plaintext of all whole records that wait, and whether the peer's close_notify is behind it.

    Failures are raised as by `SSL.Connection.recv`. That one asks for the error after each success, which was a third
    of the calls into OpenSSL of a message.
    """
    ssl, source = connection._ssl, connection._into_ssl  # noqa: SLF001 - as above
    waits: int = _lib.BIO_get_mem_data(source, _ffi.NULL)
    most = RECORD + waits  # a record of which OpenSSL has the beginning, and all others
    buffer = _allocate(_CHARS, most)  # of this call alone: another thread may read meanwhile
    filled = 0
    while waits:
        size: int = _lib.SSL_read(ssl, buffer + filled, most - filled)
        if size <= 0:
            error: int = _lib.SSL_get_error(ssl, size)
            if error == _lib.SSL_ERROR_ZERO_RETURN:
                return _ffi.unpack(buffer, filled), True
            if error != _lib.SSL_ERROR_WANT_READ:
                connection._raise_ssl_error(ssl, size)  # noqa: SLF001 - as above
            break
        filled += size
        waits = _lib.BIO_get_mem_data(source, _ffi.NULL)
    return _ffi.unpack(buffer, filled), False


def write_records(connection: SSL.Connection, data: bytes | memoryview) -> bytes:
    """Encrypt octets, after the handshake: the records, behind what waited.

    Failures are raised as by `SSL.Connection.send`. Each record is taken before the next is made: OpenSSL's buffer
    never shrinks. A client may have asked for smaller ones (max_fragment_length, RFC 6066 section 4): then one call
    takes as much as goes into one.
    """
    ssl, out = connection._ssl, connection._from_ssl  # noqa: SLF001 - as above
    size, at = len(data), 0
    if 0 < size <= RECORD and isinstance(data, bytes):  # as most are: half of what follows takes
        at = _lib.SSL_write(ssl, data, size)
        if at == size:
            return take_output(connection)
        if at <= 0:
            connection._raise_ssl_error(ssl, at)  # noqa: SLF001 - as above
    source = _ffi.from_buffer("char[]", data)
    most = size + (size // RECORD + 1) * _AROUND
    buffer, filled = _allocate(_CHARS, most), 0
    while at < size:
        written: int = _lib.SSL_write(ssl, source + at, min(RECORD, size - at))
        if written <= 0:
            connection._raise_ssl_error(ssl, written)  # noqa: SLF001 - as above
        at += written
        filled += _lib.BIO_read(out, buffer + filled, most - filled)
    records: bytes = _ffi.unpack(buffer, filled)
    rest = take_output(connection)
    return records + rest if rest else records


def ask_for_staple(connection: SSL.Connection) -> None:
    """A client asks for the server's OCSP response (RFC 6066 section 8). pyOpenSSL's way needs a call-back."""
    _lib.SSL_set_tlsext_status_type(connection._ssl, _lib.TLSEXT_STATUSTYPE_ocsp)  # noqa: SLF001 - as above


def stapled_response(connection: SSL.Connection) -> bytes:
    """The response that the server stapled, after the handshake; b"" without one. Resumed sessions have none."""
    place = _ffi.new("unsigned char **")
    size = int(_lib.SSL_get_tlsext_status_ocsp_resp(connection._ssl, place))  # noqa: SLF001 - as above
    return bytes(_ffi.buffer(place[0], size)[:]) if size > 0 else b""


def never_ask(context: SSL.Context) -> None:
    """A key that needs a password or PIN which it is not given is an error, and asked for on no terminal."""
    _lib.SSL_CTX_set_default_passwd_cb(context._context, _NO_PASSWORD)  # noqa: SLF001 - as above


def clear_errors() -> None:
    """Forget errors left in OpenSSL's queue: any of them turns the next "wants more bytes" into a failure."""
    _lib.ERR_clear_error()


class SignatureWatch:
    """Sees the scheme of the CertificateVerify or ServerKeyExchange that a client's handshake receives.

    For clients only: a server derives its own scheme (`protocols.tls.signature`), because watching costs 20 us a
    handshake and 1 us a record. One context has one; `code` is 0 until seen, and the caller of a handshake sets it to 0
    before.
    """

    __slots__ = ("_callback", "code")

    def __init__(self, context: SSL.Context) -> None:
        self.code = 0
        self._callback = _ffi.callback(_ffi.typeof(_lib.SSL_CTX_set_msg_callback).args[1], self._seen)
        _lib.SSL_CTX_set_msg_callback(context._context, self._callback)  # noqa: SLF001 - as above

    def _seen(self, sent: int, _version: int, kind: int, data: Any, size: int, *_rest: Any) -> None:
        if kind != _HANDSHAKE or sent or size < 8:
            return
        # OpenSSL has not parsed the message yet: every slice below is safe on any bytes.
        opening = _ffi.buffer(data, 8)[:]
        if opening[0] == _CERTIFICATE_VERIFY:
            self.code = int.from_bytes(opening[4:6])
        elif opening[0] == _SERVER_KEY_EXCHANGE and opening[4] == _NAMED_CURVE:
            behind = 8 + opening[7]  # curve type, curve (2 bytes), point: RFC 8422 section 5.4
            self.code = int.from_bytes(_ffi.buffer(data, size)[behind : behind + 2])


def self_test() -> None:
    """Run one handshake that uses every call of this file. Raises PrivateCallError naming the first that fails."""
    try:
        problem = _try_all()
    except (AttributeError, TypeError, ValueError, SSL.Error) as failure:
        raise PrivateCallError(f"pyOpenSSL's private calls: {failure}") from failure
    if problem:
        raise PrivateCallError(f"pyOpenSSL's private calls: {problem}")


def _try_all() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    server, client = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
    server.use_certificate(self_signed(key))
    server.use_privatekey(key)
    set_groups(client, "?*P-256")
    set_signature_algorithms(client, "ecdsa_secp256r1_sha256")
    watch = SignatureWatch(client)
    ours, theirs = SSL.Connection(client, None), SSL.Connection(server, None)
    ours.set_connect_state()
    ask_for_staple(ours)
    set_session_context(server, b"self-test")
    theirs.set_accept_state()
    steps = [(ours, theirs, False), (theirs, ours, False), (ours, theirs, True)]
    for connection, other, complete in steps:
        if shake_hands(connection) is not complete:
            return "SSL_do_handshake ends too early or too late"
        if not (output := take_output(connection)):
            return "BIO_get_mem_data sees no output"
        put_input(other, output)
        if not input_waits(other):
            return "BIO_get_mem_data sees no input"
    if not shake_hands(theirs):
        return "SSL_do_handshake does not end"
    return _try_records(ours, theirs) or _compare(ours, theirs, watch)


def _try_records(ours: SSL.Connection, theirs: SSL.Connection) -> str:
    take_output(theirs)  # its tickets
    record = write_records(ours, b"self-test")
    put_input(theirs, record[:-1])
    if renew_buffers(theirs) or not renew_buffers(ours):
        return "BIO_get_mem_data sees other octets than there are"
    early = read_records(theirs)
    lend_input(theirs, record[-1:])
    read = early, read_records(theirs)
    end_loan(theirs)
    return "" if read == ((b"", False), (b"self-test", False)) else "SSL_read gives another text than was written"


def _compare(ours: SSL.Connection, theirs: SSL.Connection, watch: SignatureWatch) -> str:
    expected = {
        "SSL_CTX_set1_curves_list": (ours.get_group_name(), "secp256r1"),
        "SSL_CTX_set_msg_callback": (watch.code, 0x0403),
        "SSL_get_tlsext_status_ocsp_resp": (stapled_response(ours), b""),
        "SSL_session_reused": (session_reused(ours), False),
        "SSL_get_peer_cert_chain": (peer_certificates(ours), 1),
        "SSL_get_certificate, server": (local_certificate(theirs) != 0, True),
        "SSL_get_certificate, client": (local_certificate(ours) != 0, False),
    }
    return next((f"{call} gives {got!r}" for call, (got, wanted) in expected.items() if got != wanted), "")


def self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A certificate for handshakes with ourselves."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self-test.invalid")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    return builder.sign(key, hashes.SHA256())
