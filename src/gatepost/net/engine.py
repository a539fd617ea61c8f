"""TLS between bytes and bytes: contexts built from a profile, and the engine that one connection drives.

`net.connection` feeds an `Engine` what the peer sent and sends what it gives back. The handshake accepts any
certificate, or none: trust is judged afterwards (`net.chain`), never here. OpenSSL through pyOpenSSL over memory
BIOs; calls that pyOpenSSL does not have are in `net.openssl_private`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from OpenSSL import SSL, crypto

from gatepost.net import openssl_private as private
from gatepost.net.certificate import end_point_binding, key_kind
from gatepost.net.identity import Credentials, ServerIdentity, by_server_name, read_identity
from gatepost.net.ocsp_stapling import StapledResponses
from gatepost.net.sessions import MAX_AGE, SessionCache
from gatepost.net.tickets import ServerSessions, TicketIssuer
from gatepost.net.token_keys import note_failure, present
from gatepost.protocols.tls.facts import MAX_CERTIFICATES, TlsFacts
from gatepost.protocols.tls.profile import DH_PARAMETERS, Profile, group_name, iana_name, version_name
from gatepost.protocols.tls.signature import may_go_on, scheme_name, served_scheme

_VERSIONS: Final = {
    "TLSv1.0": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
_RECORD = private.RECORD  # BIOs never shrink, so they are fed no more at once
_EXPORTER = b"EXPORTER-Channel-Binding"
_MAX_DETAIL = 300
_MAX_SILENT: Final = 65_536  # octets of a handshake, or in a row later, that bring no data
_MAX_KEPT_CHAIN: Final = 10  # certificates of a server whose session is kept: no longer chain is judged
_MAX_KEPT_OCTETS: Final = 32_768  # of all of them; OpenSSL takes several times as much
_FLIGHTS = 6  # of a handshake of ours with ourselves: as many as any version needs, and some
# By which stacks answer a ClientHello that their buffers are too small for. "handshake failure" is not among them, nor
# any that speaks of versions, names or certificates: who says so has read it.
_UNREAD = tuple(
    f"alert {name}"
    for name in ("decode error", "illegal parameter", "unexpected message", "record overflow", "internal error")
)


class TlsFailure(Exception):  # noqa: N818 - an outcome of a handshake, not a fault of ours
    """TLS cannot go on. The text is for us; the alert for the peer waits in `Engine.take_output`.

    unread: the peer's alert says that it could not read our handshake, rather than that it read and refused it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.unread = text.endswith(_UNREAD)


class ServerContext:
    """The settings of server sessions. Built by `server_context`, never changed: new certificates are a new context.

    stapled: OCSP responses, by the SHA-256 thumbprint of the certificate presented; may be changed at any time.
    tickets: what resumes sessions.
    """

    __slots__ = ("_base", "_keys", "profile", "stapled", "tickets")

    def __init__(self, base: SSL.Context, profile: Profile, stapled: StapledResponses, tickets: TicketIssuer) -> None:
        self._base = base
        self._keys: dict[int, str] = {}
        self.profile = profile
        self.stapled = stapled
        self.tickets = tickets

    def engine(self, *, server_name: str = "", session_key: str = "") -> Engine:
        """An engine for one connection. The parameters are the client's and have no meaning here.

        What resumes a session shows the client certificate of its first handshake. No ticket tells how long ago that
        was, as each resumption gives a new one: so tickets of one period are worth nothing in the next.
        """
        del server_name, session_key
        self.tickets.renew()
        connection = SSL.Connection(self._base, None)
        connection.set_accept_state()
        return Engine(connection, self)

    def presented_key(self, connection: SSL.Connection) -> str:
        """The kind of key of the certificate that this connection presented ("RSA-2048", …)."""
        identity = private.local_certificate(connection)
        kind = self._keys.get(identity)
        if kind is None:
            certificate = connection.get_certificate(as_cryptography=True)
            kind = self._keys[identity] = key_kind(certificate) if certificate else ""
        return kind


class ClientContext:
    """The settings of client sessions, and the sessions kept for resumption. Built by `client_context`."""

    __slots__ = ("_base", "asks_for_staple", "profile", "sessions", "watch")

    def __init__(self, base: SSL.Context, profile: Profile, *, ask_for_staple: bool = False) -> None:
        self._base = base
        self.asks_for_staple = ask_for_staple
        self.profile = profile
        self.sessions = SessionCache()
        self.watch = private.SignatureWatch(base)

    def forget(self, session_key: str, server_name: str) -> None:
        """Make the next connection of this key and name a full handshake: see `SessionCache.forget`."""
        self.sessions.forget((session_key, server_name))

    def engine(self, *, server_name: str = "", session_key: str = "") -> Engine:
        """An engine for one connection.

        server_name: SNI as A-labels, never an IP address (RFC 6066 section 3), "" to send none. session_key: as
        `Stream.start_tls` says; sessions for different server names are kept apart too.
        """
        connection = SSL.Connection(self._base, None)
        connection.set_connect_state()
        if server_name:
            connection.set_tlsext_host_name(server_name.removesuffix(".").encode("ascii"))
        if self.asks_for_staple:
            private.ask_for_staple(connection)
        return Engine(connection, self, session_key=(session_key, server_name) if session_key else None)


class Engine:
    """One TLS session over bytes: what came goes into `feed`, what is to be sent comes out of `send` and `take_output`.

    facts: None until the handshake is complete. peer_closed: the peer's close_notify arrived; nothing is read after it.
    """

    __slots__ = (
        "_born",
        "_connection",
        "_context",
        "_failed",
        "_heard",
        "_is_held",
        "_is_large",
        "_kept",
        "_key",
        "_own",
        "_scheme",
        "_silent",
        "_unsent",
        "facts",
        "peer_closed",
    )

    def __init__(
        self,
        connection: SSL.Connection,
        context: ServerContext | ClientContext,
        *,
        session_key: tuple[str, str] | None = None,
    ) -> None:
        self._connection = connection
        self._context = context
        self._key = session_key
        self._heard = b""
        self._is_held = isinstance(context, ServerContext)  # OpenSSL has nothing of `_heard` yet
        self._is_large = True  # the buffers are those of a handshake
        self._scheme = 0
        self._silent = 0  # octets since the last data
        self._failed = False
        self._kept = False
        self._own = False  # see `net.tickets`
        self._unsent = True  # since output was taken, something happened that may have made more
        self._born = 0.0  # of the session that is offered, later of the one that is used
        self.facts: TlsFacts | None = None
        self.peer_closed = False
        if isinstance(context, ClientContext) and session_key is not None:
            earlier = context.sessions.find(session_key)
            if earlier is not None and earlier.session is not None:
                self._born = earlier.born
                connection.set_session(earlier.session)

    def start(self) -> None:
        """Begin: a client has its ClientHello in `take_output` after this, a server waits for one."""
        if isinstance(self._context, ClientContext):
            self._handshake()

    def feed(self, data: bytes | memoryview) -> bytes:
        """Take what the peer sent; give back the plaintext in it, b"" during the handshake.

        Raises TlsFailure, also if much comes and no data: a KeyUpdate costs us 10 us and its sender 27 octets. Whatever
        happens, `take_output` may have something to send afterwards.
        """
        self._unsent = True
        plaintext = self._read(data) if self.facts is not None else self._shake(data)
        self._silent = 0 if plaintext else self._silent + len(data)
        if self._silent > _MAX_SILENT:
            raise self._refuse(f"more than {_MAX_SILENT} octets came without data")
        return plaintext

    def _shake(self, data: bytes | memoryview) -> bytes:
        if isinstance(self._context, ServerContext):
            self._heard += data
        if self._is_held:  # with its first octet OpenSSL takes 48 KB, however long the rest may take
            if may_go_on(self._heard):
                return b""
            self._is_held, data = False, self._heard
        if data:
            private.put_input(self._connection, data)
        return self._read(b"") if self._handshake() else b""

    def _handshake(self) -> bool:
        context = self._context
        try:
            if isinstance(context, ClientContext):
                context.watch.code = 0
            else:
                context.tickets.begin(self._heard, own=self._own)
            complete = private.shake_hands(self._connection)
        except SSL.Error as failure:
            raise self._fail(failure) from failure
        finally:
            if isinstance(context, ClientContext):
                self._scheme = context.watch.code or self._scheme
            else:
                self._own = context.tickets.end()
        # Each takes 2 KB of OpenSSL's memory, also while the handshake waits for its end.
        count = private.peer_certificates(self._connection) + isinstance(context, ServerContext)
        if count > MAX_CERTIFICATES:
            raise self._refuse(f"the peer sent {count} certificates, at most {MAX_CERTIFICATES} are taken")
        if not complete:
            return False
        # Whoever verified a certificate last may have left its complaint in the queue, where the next read would find
        # it.
        private.clear_errors()
        self.facts = self._observe()
        if isinstance(context, ClientContext) and not self.facts.resumed:
            self._born = context.sessions.clock()
        self._heard = b""
        if self.facts.version != "TLSv1.3":
            self._keep_session()
        return True

    def _refuse(self, why: str) -> TlsFailure:
        self._failed = True
        return TlsFailure(why)

    def _fail(self, failure: SSL.Error) -> TlsFailure:
        private.clear_errors()
        reasons = failure.args[0] if failure.args and isinstance(failure.args[0], list) else []
        detail = "; ".join(reason[-1] for reason in reasons if reason[-1]) or type(failure).__name__
        note_failure(reasons)
        return self._refuse(detail[:_MAX_DETAIL])

    def _observe(self) -> TlsFacts:
        connection = self._connection
        version = version_name(connection.get_protocol_version_name())
        suite = iana_name(connection.get_cipher_name() or "")
        ephemeral, curves = not suite.startswith("TLS_RSA_"), not suite.startswith("TLS_DHE_")
        resumed = private.session_reused(connection)
        return TlsFacts(
            version=version,
            suite=suite,
            group=group_name(connection.get_group_name() or "") if ephemeral and curves else "",
            signature=self._signature(version) if ephemeral and curves and not resumed else "",
            resumed=resumed,
            server_name=(connection.get_servername() or b"").decode("ascii", "replace"),
            peer_chain=self._peer_chain(resumed=resumed),
            ocsp_response=self._staple(),
        )

    def _signature(self, version: str) -> str:
        context = self._context
        if isinstance(context, ServerContext):
            key = context.presented_key(self._connection)
            return served_scheme(self._heard, version=version, key=key, order=context.profile.signature_algorithms)
        # Before TLS 1.2 a ServerKeyExchange names no scheme: what stands there is the length of the signature.
        return scheme_name(self._scheme) if self._scheme and version in {"TLSv1.2", "TLSv1.3"} else ""

    def _peer_chain(self, *, resumed: bool) -> tuple[bytes, ...]:
        connection, context = self._connection, self._context
        if isinstance(context, ClientContext):
            return _der(connection.get_peer_cert_chain() or [])
        leaf = connection.get_peer_certificate()
        if leaf is None:
            return ()
        others = connection.get_peer_cert_chain() or []  # which comes without the leaf on a server
        chain = _der([leaf, *others])
        if resumed:
            return context.tickets.sessions.chains.complete(chain)
        context.tickets.sessions.chains.keep(chain)
        return chain

    def _staple(self) -> bytes:
        context = self._context
        requested = isinstance(context, ClientContext) and context.asks_for_staple
        return private.stapled_response(self._connection) if requested else b""

    def _read(self, data: bytes | memoryview) -> bytes:
        """The plaintext of all whole records that wait, with the end of a handshake without any data, too.

        Notes the peer's close_notify.
        """
        if self.peer_closed:
            return b""
        connection = self._connection
        lent = len(data) > _RECORD and not private.input_waits(connection)
        if lent:
            private.lend_input(connection, data)
        elif data:
            private.put_input(connection, data)
        try:
            plaintext, self.peer_closed = private.read_records(connection)
        except SSL.Error as failure:
            raise self._fail(failure) from failure
        finally:
            if lent:
                private.end_loan(connection)
        if plaintext and self._key is not None and not self._kept:
            self._keep_session()  # a TLS 1.3 server sends its tickets before its first data, and never says it will
        return plaintext

    def send(self, data: bytes | memoryview) -> bytes:
        """Encrypt, after the handshake, behind what `take_output` would give. Raises TlsFailure."""
        self._unsent = False
        try:
            return private.write_records(self._connection, data)
        except SSL.Error as failure:
            raise self._fail(failure) from failure

    def channel_bindings(self) -> dict[str, bytes]:
        """By type: "tls-exporter" (RFC 9266) with TLS 1.3, and a server's "tls-server-end-point" (RFC 5929).

        Below TLS 1.3 exporters bind only with an extension that cannot be requested here. {} before the handshake. A
        client that resumed a session knows the certificate of its full handshake, ours is that of now: after a change
        of certificates the two differ, and a log-in with that type is refused.
        """
        bindings: dict[str, bytes] = {}
        if self.facts is None:
            return bindings
        if self.facts.version == "TLSv1.3":
            bindings["tls-exporter"] = self._connection.export_keying_material(_EXPORTER, 32, b"")
        certificate = self._connection.get_certificate(as_cryptography=True)
        if isinstance(self._context, ServerContext) and certificate is not None:
            bindings |= end_point_binding(certificate)
        return bindings

    def take_output(self) -> bytes:
        """Take octets that wait to be sent besides data: handshake messages, alerts, answers to a KeyUpdate."""
        output = private.take_output(self._connection) if self._unsent else b""
        self._unsent = False
        if self._is_large and self.facts is not None:
            self._is_large = not private.renew_buffers(self._connection)
        return output

    def shutdown(self) -> bytes:
        """Our close_notify and what waits before it; b"" if the session is not up or has failed."""
        if self.facts is None or self._failed:
            return self.take_output()
        self._keep_session()
        with suppress(SSL.Error):
            self._connection.shutdown()
        return private.take_output(self._connection)

    def release(self) -> None:
        """The connection is gone. Keeps its session resumable, which OpenSSL would else spoil for all who share it."""
        if self.facts is not None and not self._failed:
            self._keep_session()
            self._connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)

    def _keep_session(self) -> None:
        context = self._context
        if self._key is None or self.facts is None or not isinstance(context, ClientContext):
            return
        chain = self.facts.peer_chain
        if len(chain) > _MAX_KEPT_CHAIN or sum(map(len, chain)) > _MAX_KEPT_OCTETS:
            return  # a thousand hosts with a hundred certificates each would take 500 MB; theirs are full handshakes
        session = self._connection.get_session()
        if session is not None:
            context.sessions.keep(self._key, session, self._born)
            self._kept = True


def shake_hands(client: Engine, server: Engine) -> None:
    """Let two engines of this process shake hands, as far as they come. Raises TlsFailure."""
    client.start()
    for _ in range(_FLIGHTS):
        server.feed(client.take_output())
        client.feed(server.take_output())


def _der(certificates: list[crypto.X509]) -> tuple[bytes, ...]:
    return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in certificates)


def server_context(
    identities: Sequence[ServerIdentity],
    profile: Profile,
    *,
    ask_client_certificate: bool,
    sessions: ServerSessions | None = None,
) -> ServerContext:
    """A context for servers. Raises IdentityError naming the certificate that cannot be used, ValueError without any.

    One certificate of each kind of key is offered for a name, RSA beside ECDSA, and the client's abilities choose. SNI
    chooses among names: exact, then wildcard, else the first identity. With ask_client_certificate any certificate, or
    none, completes the handshake. sessions: outlives the context, so that clients resume what they began with another
    one; by default nothing is resumed that began elsewhere.
    """
    if not identities:
        raise ValueError("a server needs a certificate")
    tickets = TicketIssuer(sessions or ServerSessions(), repr((ask_client_certificate, profile)))
    default, groups = by_server_name([read_identity(identity) for identity in identities])
    made: dict[tuple[int, ...], SSL.Context] = {}
    stapled = StapledResponses()

    def built(group: list[Credentials]) -> SSL.Context:
        key = tuple(map(id, group))
        if key not in made:
            made[key] = _server_base(group, profile, tickets if ask_client_certificate else None)
            made[key].set_ocsp_server_callback(stapled.of)
        return made[key]

    base = built(default)
    others = {name: built(group) for name, group in groups.items()}
    others = {name: context for name, context in others.items() if context is not base}
    if others:
        names = set(groups)
        base.set_tlsext_servername_callback(lambda connection: _choose(connection, names, others))
    tickets.attach([base, *others.values()], alone=sessions is None)
    return ServerContext(base, profile, stapled, tickets)


def _choose(connection: SSL.Connection, names: set[str], others: dict[str, SSL.Context]) -> None:
    name = (connection.get_servername() or b"").decode("ascii", "replace").lower().removesuffix(".")
    if name not in names:
        name = "*." + name.partition(".")[2]
    context = others.get(name)
    if context is not None:
        connection.set_context(context)


def client_context(
    profile: Profile, *, identity: ServerIdentity | None = None, ask_for_staple: bool = False
) -> ClientContext:
    """A context for clients that accepts any server certificate. identity: the client certificate to present.

    ask_for_staple: whether the server is asked for an OCSP response, which is then in the facts, unverified. Raises
    IdentityError. Sessions are kept in the context and resumed only within it.
    """
    context = _base(SSL.Context(SSL.TLS_CLIENT_METHOD), profile)
    context.set_verify(SSL.VERIFY_NONE)
    if identity is not None:
        present(context, read_identity(identity))
    return ClientContext(context, profile, ask_for_staple=ask_for_staple)


def _server_base(group: list[Credentials], profile: Profile, asks_for: TicketIssuer | None) -> SSL.Context:
    """asks_for: client certificates, whose chains are told to it; None: they are not asked for."""
    context = _base(SSL.Context(SSL.TLS_SERVER_METHOD), profile)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_timeout(int(MAX_AGE))  # which clients are told: they forget then what is worth nothing any more
    if asks_for is not None:
        context.set_verify(SSL.VERIFY_PEER, partial(_accept_any, asks_for))
    if ":DHE-" in profile.suites12:
        with tempfile.NamedTemporaryFile(prefix="gatepost-", suffix=".pem") as file:
            file.write(DH_PARAMETERS)
            file.flush()
            context.load_tmp_dh(file.name)
    for credentials in group:
        present(context, credentials)
    return context


def _accept_any(
    tickets: TicketIssuer, _: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    """Called for each certificate of a client's chain, as far as it leads."""
    del certificate, error, ok
    if depth:
        tickets.keep_own()
    return True


def _base(context: SSL.Context, profile: Profile) -> SSL.Context:
    """Everything that a library has a default for is set: its defaults change with the library, ours with a release."""
    context.set_min_proto_version(_VERSIONS[profile.min_version])
    context.set_max_proto_version(_VERSIONS[profile.max_version])
    context.set_cipher_list(f"{profile.suites12}:@SECLEVEL={profile.security_level}".encode("ascii"))
    context.set_tls13_ciphersuites(profile.suites13.encode("ascii"))
    private.set_groups(context, profile.groups)
    private.set_signature_algorithms(context, profile.signature_algorithms)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets carry a server's sessions, ours are in SessionCache
    return context
