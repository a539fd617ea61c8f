"""A node asks a site over TCP and TLS on loopback: whom it believes, and what it makes of answers."""

from __future__ import annotations

import asyncio
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.anchors import TrustAnchors
from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.listener import Listener, bind
from gatepost.node.site_host import SiteSession
from gatepost.pki.certificates.authority import Authority, key_pem
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.client import SiteConnection
from gatepost.pki.site.enrollment import EnrollmentService
from gatepost.pki.site.membership import Member, Renewal, node_request, own_certificate
from gatepost.pki.site.records import JoinRefused, SiteError, SiteRefusal, SiteUnreachable
from gatepost.pki.site.site import Site, read_token
from gatepost.pki.site.store import SiteStore
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.changes import ConfigStore

HOUR, WEEK = 3600.0, 604800.0
MX1, MX2 = "mx1.a.example", "mx2.a.example"
CSR = node_request(MX2)[0].decode()


class World:
    """A site that is served on loopback. identity: what the server presents, if it is not the right one."""

    def __init__(self, folder):
        self.now = time.time()
        self.records = SiteStore(ConfigStore(folder / "config.db"), Vault(bytes(range(32))))
        self.site = Site(self.records)
        self.root = self.site.init("a-site", (), author="ann", now=self.now)
        self.identity = self.site.endpoint(MX1, HOUR, self.now)
        self.enrollment = EnrollmentService(self.site, WEEK)
        self.tokens = 0
        self.received = []

    def token(self):
        return read_token(self.site.new_token("", valid=HOUR, author="ann", now=self.now)[1])

    def served(self, work, *, respond=None):
        """What `work(address)` gives while the site is served."""
        return asyncio.run(self._served(work, respond))

    async def _served(self, work, respond):
        context = server_context([self.identity], PROFILES["modern"], ask_client_certificate=True)
        sockets = bind("127.0.0.1:0")

        def accept(stream):
            if respond is None:
                SiteSession(stream, self.enrollment, lambda: self.now).begin(context)
            else:
                Fixed(stream, respond, self.received, context)

        listener = Listener(sockets, accept, refuse=lambda stream, _: stream.close())
        port = sockets[0].getsockname()[1]
        await listener.start()
        try:
            return await work(f"127.0.0.1:{port}")
        finally:
            listener.stop()

    def join(self, secret, root, *, csr=CSR, **options):
        async def work(address):
            connection = SiteConnection(address, now=self.now)
            connection.trust_thumbprint(root)
            return await connection.ask("join", {"token": secret, "request": csr})

        return self.served(work, **options)


class Fixed:
    """A server that answers with certain bytes, and keeps what it got."""

    def __init__(self, stream, response, received, context):
        self.stream, self.response, self.got = stream, response, received
        stream.attach(self)
        stream.start_tls(context)

    def secured(self, _facts):
        pass

    def received(self, data):
        self.got.append(data)
        self.stream.write(self.response)
        self.stream.close()

    def lost(self, loss):
        pass


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "home")
    yield made
    made.records.store.close()


def ders(pem):
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem)]


def test_a_node_joins_and_renews_by_itself(world, tmp_path):
    away = SiteStore(ConfigStore(tmp_path / "away" / "config.db"), Vault(bytes(32)))
    csr, key = node_request(MX2)
    secret, root = world.token()

    async def join_and_renew(address):
        connection = SiteConnection(address, now=world.now)
        connection.trust_thumbprint(root)
        grant = await connection.ask("join", {"token": secret, "request": csr.decode()})
        first = Member(away).take(grant, key, MX2, address, author="bob", now=world.now)
        world.now += WEEK / 2
        world.identity = world.site.endpoint(MX1, HOUR, world.now)
        renewal = Renewal(away, MX2, WEEK)
        assert not renewal.due(world.now - 1)
        assert renewal.due(world.now)
        return first, renewal

    # the endpoint's certificate of an hour has run out by then, so it is served anew
    first, renewal = world.served(join_and_renew)

    async def renew(address):
        moved = Member(away).membership()
        away.apply({("site_membership", "site_membership"): _at(moved, address)}, author="x")
        assert renewal.due(world.now)
        await renewal.work(world.now)
        return Member(away).membership()

    second = world.served(renew)
    assert second.sha256 != first.sha256
    assert second.not_after == pytest.approx(world.now + WEEK, abs=2)
    assert world.site.state().nodes[MX2].thumbprints == (second.sha256, first.sha256)
    away.store.close()


def _at(member, address):
    return type(member)(member.site, member.node, address, member.sha256, member.issued, member.not_after)


def test_a_token_that_was_used(world):
    secret, root = world.token()
    assert world.join(secret, root).site == "a-site"
    with pytest.raises(JoinRefused, match="the site does not accept the token") as found:
        world.join(secret, root, csr=node_request(MX2)[0].decode())
    assert found.value.reason is SiteRefusal.TOKEN


def imposters(world):
    """What somebody else could present who wants the token."""
    stranger = Authority("a-site CA", organization="a-site")
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = world.site.issue([MX1], server_key.public_key(), lifetime=HOUR, author="ann", now=world.now)
    own_certificate(world.records, MX1, lifetime=WEEK, author="ann", now=world.now)
    node = Member(world.records).identity()
    root = world.site.roots_pem(world.site.state())
    chain, key = stranger.issue([MX1])
    right = world.site.endpoint(MX1, HOUR, world.now)
    return {
        "another root": ServerIdentity(chain + stranger.certificate_pem, key),
        "the root shown, and another chain": ServerIdentity(chain + root, key),
        "a server with a certificate of the site": ServerIdentity(server + root, key_pem(server_key)),
        "a node of the site": ServerIdentity(node.chain_pem + root, node.key_pem),
        "no root": ServerIdentity(right.chain_pem[: -len(root)], right.key_pem),
        "one that has expired": world.site.endpoint(MX1, -60.0, world.now),
    }


@pytest.mark.parametrize("number", range(6))
def test_nothing_is_sent_to_somebody_else(world, number):
    name, world.identity = list(imposters(world).items())[number]
    secret, root = world.token()
    with pytest.raises(SiteError, match="nothing was sent to it"):
        world.join(secret, root, respond=b"HTTP/1.1 200 OK\r\n\r\n")
    assert world.received == [], name
    assert len(world.site.state().tokens) == 1


def test_a_thumbprint_of_another_site(world):
    secret, _ = world.token()
    with pytest.raises(SiteError, match="does not show the root whose thumbprint is in the token"):
        world.join(secret, "00" * 32)


def test_a_node_asks_only_its_own_site(world):
    anchors = TrustAnchors(ders(world.site.roots_pem(world.site.state())), "test")

    async def work(address):
        connection = SiteConnection(address, now=world.now, site="b-site")
        connection.trust(anchors)
        return await connection.ask("renew", {"request": CSR})

    with pytest.raises(SiteError, match=r"is a-site .authority., and not the authority of b-site"):
        world.served(work)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
ANSWERS = [
    (b"", "the connection ended before the answer"),
    (b"nonsense\r\n\r\n", "the answer is not HTTP"),
    (HEAD % 2 + b"{}", "the answer is not that of a site"),
    (HEAD % 3 + b'"\xff"', "the answer is not that of a site"),
    (HEAD % 100 + b"{", "ended before the answer|no HTTP"),
    (HEAD % 70000 + b"x" * 70000, "the answer is larger than 65536 bytes"),
    (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "the site answered with status 500"),
    (b"HTTP/1.1 403 Forbidden\r\nGatepost-Refusal: x\r\nContent-Length: 0\r\n\r\n", "answered with status 403"),
    (HEAD % 49 + b'{"site":"b-site","certificate":"x","roots":"yyy"}', "another site"),
]


@pytest.mark.parametrize(("answer", "said"), ANSWERS)
def test_answers_that_cannot_be_used(world, answer, said):
    secret, root = world.token()
    with pytest.raises(SiteError, match=said):
        world.join(secret, root, respond=answer)


def test_where_nobody_listens(world):
    (free,) = bind("127.0.0.1:0")
    port = free.getsockname()[1]
    free.close()

    async def work(_):
        connection = SiteConnection(f"127.0.0.1:{port}", now=world.now)
        connection.trust_thumbprint("00" * 32)
        return await connection.ask("join", {})

    with pytest.raises(OSError, match=r"Connect call failed|refused"):
        world.served(work)


def test_who_hangs_up_was_not_asked(world):
    secret, root = world.token()
    with pytest.raises(SiteUnreachable):
        world.join(secret, root, respond=b"")
