"""A small public-key infrastructure, peers that listen, and both event loops: what the tests of `net` share."""

from __future__ import annotations

import asyncio
import ipaddress
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support import joined_streams
from support.rsa_keys import rsa_key

from gatepost.net.dial import connect
from gatepost.net.engine import ClientContext, Engine, ServerContext, client_context, server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.listener import Listener, bind
from gatepost.net.stream import Loss, LossKind, Stream
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.protocols.tls.profile import PROFILES

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH

_KEYS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "p224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "rsa2048": rsa_key,
    "rsa1024": lambda: rsa_key(1024),
}


@cache
def shared_key(kind: str) -> Any:
    """One key of each kind is enough for leaves, and RSA keys take long to make."""
    return _KEYS[kind]()


@dataclass
class Certificate:
    certificate: x509.Certificate
    key: Any
    above: tuple[Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def chain(self) -> tuple[bytes, ...]:
        """As a peer sends it: without the root."""
        return (self.der, *(each.der for each in self.above if each.above))

    def identity(self) -> ServerIdentity:
        chain = self.pem + b"".join(each.pem for each in self.above if each.above)
        return ServerIdentity(chain, self.key_pem)

    def authority(self, name: str, **options: Any) -> Certificate:
        return _issue(self, name, ca=True, **options)

    def leaf(self, *names: str, **options: Any) -> Certificate:
        return _issue(self, names[0], names=names, **options)


def _issue(
    issuer: Certificate | None,
    common_name: str,
    *,
    names: Sequence[str] = (),
    ca: bool = False,
    key: str = "p256",
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 30 * DAY,
    usages: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    identifiers: bool = True,
    san: bool = True,
    private: Any = None,
    constraints: bool = True,
) -> Certificate:
    private = private or (_KEYS[key]() if ca else shared_key(key))
    signer = issuer.key if issuer else private
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if identifiers:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(authority, critical=False)
    if names and san:
        entries = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = builder.add_extension(entries, critical=False)
    if usages and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    hashing = None if isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()
    above = (issuer, *issuer.above) if issuer else ()
    return Certificate(builder.sign(signer, hashing), private, above)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Pki:
    """A root, an intermediate, and leaves of every kind below it."""

    now, day = NOW, DAY
    server_only, client_only = (SERVER,), (CLIENT,)

    def __init__(self) -> None:
        self.root = _issue(None, "Gatepost Test Root", ca=True)
        self.intermediate = self.root.authority("Gatepost Test CA 1")
        self.stranger = _issue(None, "Somebody Else's Root", ca=True)

    def leaf(self, *names: str, **options: Any) -> Certificate:
        return self.intermediate.leaf(*names, **options)

    def forged(self, *names: str, **options: Any) -> Certificate:
        """A leaf in the intermediate's name that the intermediate did not sign."""
        forger = Certificate(self.intermediate.certificate, shared_key("p256"), self.intermediate.above)
        return _issue(forger, names[0], names=names, identifiers=False, **options)

    @staticmethod
    def self_signed(*names: str, **options: Any) -> Certificate:
        return _issue(None, names[0], names=names, **options)

    @staticmethod
    def renewed(root: Certificate, **options: Any) -> Certificate:
        """Another certificate for the name and key of a root."""
        name = root.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return _issue(None, str(name), ca=True, private=root.key, **options)

    @staticmethod
    def alone(name: str, **options: Any) -> Certificate:
        return _issue(None, name, ca=True, **options)


@pytest.fixture(scope="session")
def pki() -> Pki:
    return Pki()


def _openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def pss_identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A self-signed certificate whose key may sign with RSASSA-PSS only: (chain PEM, key PEM)."""
    folder = tmp_path_factory.mktemp("pss")
    _openssl(
        folder, "req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -subj /CN=pss -keyout key -out crt"
    )
    return (folder / "crt").read_bytes(), (folder / "key").read_bytes()


@pytest.fixture(scope="session")
def sha1_leaf(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """`cryptography` no longer signs with SHA-1; the command line of OpenSSL does."""
    folder: Path = tmp_path_factory.mktemp("sha1")
    key = shared_key("rsa2048")
    leaf = Certificate(pki.intermediate.certificate, key)
    (folder / "key").write_bytes(leaf.key_pem)
    (folder / "ca.key").write_bytes(pki.intermediate.key_pem)
    (folder / "ca.crt").write_bytes(pki.intermediate.pem)
    (folder / "ext").write_text("subjectAltName=DNS:sha1.example\nextendedKeyUsage=serverAuth\n")
    _openssl(folder, "req -new -key key -subj /CN=sha1.example -out csr")
    _openssl(folder, "x509 -req -in csr -CA ca.crt -CAkey ca.key -sha1 -days 20 -extfile ext -out leaf.crt")
    made = x509.load_pem_x509_certificate((folder / "leaf.crt").read_bytes())
    return Certificate(made, key, (pki.intermediate, pki.root))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    """Run a coroutine on either loop, with a time limit of its own."""

    def runner(work: Awaitable[Any]) -> Any:
        async def limited() -> Any:
            failures: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
            try:
                async with asyncio.timeout(40):
                    result = await work
            except BaseException:
                await Peer.abort_all()
                raise
            finally:
                Peer.made.clear()
            await asyncio.sleep(0)
            assert failures == []
            return result

        return (asyncio if request.param == "asyncio" else uvloop).run(limited())

    return runner


@dataclass
class Peer:
    """A receiver that remembers all it is told, and lets a test wait for it."""

    stream: Stream
    react: Callable[[Peer, bytes], None] | None = None
    data: bytearray = field(default_factory=bytearray)  # bytes would be copied whole at each read
    calls: list[bytes] = field(default_factory=list)
    facts: TlsFacts | None = None
    loss: Loss | None = None
    made: ClassVar[list[Peer]] = []

    def __post_init__(self) -> None:
        Peer.made.append(self)
        self._changed = asyncio.Event()
        self.stream.attach(self)

    def received(self, data: bytes) -> None:
        assert self.loss is None
        self.data += data
        self.calls.append(data)
        self._changed.set()
        if self.react:
            self.react(self, data)

    def secured(self, facts: TlsFacts) -> None:
        assert self.loss is None
        self.facts = facts
        self._changed.set()

    def lost(self, loss: Loss) -> None:
        assert self.loss is None
        self.loss = loss
        self._changed.set()

    async def until(self, true: Callable[[], Any]) -> None:
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def reads(self, data: bytes) -> None:
        await self.until(lambda: len(self.data) >= len(data) or self.loss)
        assert (self.data, self.loss) == (data, None)
        self.data = bytearray()

    async def becomes_secure(self) -> TlsFacts:
        await self.until(lambda: self.facts or self.loss)
        assert self.facts, self.loss
        return self.facts

    async def says_goodbye(self, other: Peer) -> None:
        """Close, and both sides hear of it."""
        self.stream.close()
        assert (await self.ends()).kind is LossKind.CLOSED
        assert (await other.ends()).kind is LossKind.CLOSED

    async def fills(self) -> None:
        """Write until the kernel takes no more."""
        while not self.stream._blocked:
            self.stream.write(b"x" * 200_000)
            await asyncio.sleep(0)

    @classmethod
    async def abort_all(cls) -> None:
        """After a failure: uvloop does not close a loop in which a stream is full, it waits forever."""
        for peer in cls.made:
            if peer.loss is None:
                peer.stream.abort(Loss(LossKind.CLOSED, "the test failed"))
        await asyncio.sleep(0.1)

    async def ends(self) -> Loss:
        await self.until(lambda: self.loss)
        assert self.loss
        return self.loss


def _shake(client: Engine, server: Engine) -> tuple[Engine, Engine]:
    """Run a handshake in memory to its end, tickets included."""
    client.start()
    server.start()
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            if output := one.take_output():
                assert other.feed(output) == b""
    assert client.facts
    assert server.facts
    return client, server


@pytest.fixture
def peer() -> type[Peer]:
    return Peer


@pytest.fixture
def shake() -> Callable[[Engine, Engine], tuple[Engine, Engine]]:
    return _shake


@dataclass
class Pairs:
    """Makes joined streams of one kind: in memory, in memory byte by byte, over loopback."""

    kind: str
    contexts: tuple[ServerContext, ClientContext]

    async def joined(self, react: Callable[[Peer, bytes], None] | None = None) -> tuple[Peer, Peer]:
        """(the client, the server); react: what the server does with what it reads."""
        ours, theirs = await self.join()
        return Peer(ours), Peer(theirs, react)

    async def secured(
        self,
        react: Callable[[Peer, bytes], None] | None = None,
        *,
        context: ClientContext | None = None,
        **options: Any,
    ) -> tuple[Peer, Peer]:
        """The same with TLS between them, begun as STARTTLS begins it."""
        client, server = await self.joined()
        client.stream.write(b"STARTTLS\r\n")
        await server.reads(b"STARTTLS\r\n")
        server.stream.write(b"220 go\r\n")
        server.stream.start_tls(self.contexts[0])
        await client.reads(b"220 go\r\n")
        client.stream.start_tls(context or self.contexts[1], **options)
        await asyncio.gather(client.becomes_secure(), server.becomes_secure())
        server.stream.write(b"250 ready")  # behind its tickets: a client that closes before them answers by a reset
        await client.reads(b"250 ready")
        server.react = react
        return client, server

    async def join(self) -> tuple[Stream, Stream]:
        """(the client's stream, the server's stream)."""
        if self.kind != "sockets":
            return joined_streams.pair(chunk=1 if self.kind == "bytes" else 65536)
        accepted: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        sockets = bind("127.0.0.1:0")
        listener = Listener(sockets, accepted.set_result, refuse=_never)
        await listener.start()
        ours = await connect("127.0.0.1", sockets[0].getsockname()[1], timeout=5)
        theirs = await accepted
        listener.stop()
        return ours, theirs


def _never(stream: Stream, reason: str) -> None:
    raise AssertionError(f"{stream.peer} was refused: {reason}")


@pytest.fixture(params=["memory", "bytes", "sockets"])
def pairs(request: pytest.FixtureRequest, contexts: tuple[ServerContext, ClientContext]) -> Pairs:
    return Pairs(request.param, contexts)


@pytest.fixture
def sockets(contexts: tuple[ServerContext, ClientContext]) -> Pairs:
    return Pairs("sockets", contexts)


@pytest.fixture
def in_memory(contexts: tuple[ServerContext, ClientContext]) -> Pairs:
    return Pairs("memory", contexts)


@pytest.fixture(scope="session")
def contexts(pki: Pki) -> tuple[ServerContext, ClientContext]:
    """(a server's context, a client's), for tests that do not look at what is negotiated."""
    identity = pki.leaf("mx.a.example").identity()
    profile = PROFILES["default"]
    return server_context([identity], profile, ask_client_certificate=True), client_context(profile)


@pytest.fixture
def openssl() -> Callable[[Path, str], None]:
    """Runs the command line of OpenSSL in a folder."""
    return _openssl
