"""Peers that shake hands, or send TLS messages, to take memory and time."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from support.key_updates import key_updates

from gatepost.net import openssl_private as private
from gatepost.net.engine import TlsFailure, client_context, server_context
from gatepost.protocols.tls.profile import PROFILES

DEFAULT = PROFILES["default"]
NAME = "mx.a.example"
VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def server(pki):
    return server_context([pki.leaf(NAME).identity()], DEFAULT, ask_client_certificate=True)


class Peer:
    """A peer that is not ours. secrets: as a key log has them, by their label."""

    def __init__(self, version, leaf=None, others=(), *, serves=False):
        self.secrets = {}
        context = SSL.Context(SSL.TLS_SERVER_METHOD if serves else SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        context.set_keylog_callback(self._keep)
        if leaf is not None:
            context.use_certificate(leaf.certificate)
            context.use_privatekey(leaf.key)
        for other in others:
            context.add_extra_chain_cert(other)
        self.connection = SSL.Connection(context, None)
        if serves:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()
        self.facts = None

    def _keep(self, _connection, line):
        label, _, secret = line.decode("ascii").split()
        self.secrets[label] = bytes.fromhex(secret)

    def start(self):
        self.feed(b"")

    def feed(self, data):
        if data:
            private.put_input(self.connection, data)
        self.facts = private.shake_hands(self.connection) or None
        return b""

    def take_output(self):
        return private.take_output(self.connection)


@VERSIONS
def test_a_client_with_hundreds_of_certificates_is_refused(pki, shake, server, version):
    """Each takes 2 KB of OpenSSL's memory for as long as the connection lasts, and no chain of them is judged."""
    leaf = pki.leaf("client.c.example")
    with pytest.raises(TlsFailure, match="33 certificates"):
        shake(Peer(version, leaf, [pki.root.certificate] * 32), server.engine())
    _, theirs = shake(Peer(version, leaf, [pki.root.certificate] * 31), server.engine())
    assert len(theirs.facts.peer_chain) == 32


@VERSIONS
def test_a_server_with_hundreds_of_certificates_is_refused(pki, shake, version):
    leaf, ours = pki.leaf("host.c.example"), client_context(DEFAULT)
    with pytest.raises(TlsFailure, match="the peer sent 33 certificates, at most 32 are taken"):
        shake(ours.engine(), Peer(version, leaf, [pki.root.certificate] * 32, serves=True))
    engine, _ = shake(ours.engine(), Peer(version, leaf, [pki.root.certificate] * 31, serves=True))
    assert len(engine.facts.peer_chain) == 32


@VERSIONS
@pytest.mark.parametrize("serves", [True, False], ids=["server", "client"])
def test_certificates_are_counted_before_the_handshake_is_complete(pki, server, version, serves):
    """Else who holds back its last octets keeps their memory for as long as the handshake may take."""
    peer = Peer(version, pki.leaf("host.c.example"), [pki.root.certificate] * 32, serves=serves)
    ours = client_context(DEFAULT).engine() if serves else server.engine()
    ours.start()
    peer.feed(ours.take_output())
    if not serves:
        ours.feed(peer.take_output())
        peer.feed(ours.take_output())
    with pytest.raises(TlsFailure, match="33 certificates"):
        ours.feed(peer.take_output()[:-40])


@VERSIONS
def test_a_clients_handshake_has_64_kib(pki, shake, server, version):
    leaf, huge = pki.leaf("client.c.example"), pki.leaf(*(f"{n:050}.c.example" for n in range(1100)))
    with pytest.raises(TlsFailure, match="more than 65536 octets came without data"):
        shake(Peer(version, leaf, [huge.certificate]), server.engine())


@VERSIONS
def test_a_servers_handshake_has_64_kib(pki, shake, version):
    leaf, huge = pki.leaf("host.c.example"), pki.leaf(*(f"{n:050}.c.example" for n in range(1100)))
    with pytest.raises(TlsFailure, match="more than 65536 octets came without data"):
        shake(client_context(DEFAULT).engine(), Peer(version, leaf, [huge.certificate], serves=True))


def test_a_flood_of_key_updates_ends_the_session(shake, server):
    """Each takes 10 us of a worker, and 27 octets of whoever sends it: 40 Mbit/s would keep it busy."""
    peer, theirs = shake(Peer(SSL.TLS1_3_VERSION), server.engine())
    records, secret = key_updates(peer.secrets["CLIENT_TRAFFIC_SECRET_0"], 2000)
    assert theirs.feed(records) == b""
    assert theirs.take_output()
    records, _ = key_updates(secret, 1000)
    with pytest.raises(TlsFailure, match="more than 65536 octets came without data"):
        theirs.feed(records)


def test_data_of_a_client_is_no_flood(shake, server):
    ours, theirs = shake(client_context(DEFAULT).engine(), server.engine())
    for _ in range(100):
        sent = ours.send(b"x" * 16_000)
        assert theirs.feed(sent[:9000]) == b""
        assert len(theirs.feed(sent[9000:])) == 16_000
