from __future__ import annotations

import hashlib
import socket
import subprocess
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from OpenSSL import SSL

from gatepost.net import openssl_private as private
from gatepost.net.engine import TlsFailure, client_context, server_context
from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.net.sessions import MAX_AGE
from gatepost.protocols.tls.profile import PROFILES, VERSIONS, iana_name
from gatepost.protocols.tls.signature import SCHEMES
from gatepost.values import replace

DEFAULT, LEGACY = PROFILES["default"], PROFILES["legacy"]
NO_TLS13 = replace(DEFAULT, max_version="TLSv1.2")
pytestmark = pytest.mark.usefixtures("one_period")
VERSIONS_NOW = pytest.mark.parametrize("profile", [NO_TLS13, PROFILES["modern"]], ids=["1.2", "1.3"])


def only(version, **changes):
    """Whatever can be spoken in one version, and nothing is too weak."""
    return replace(LEGACY, min_version=version, max_version=version, **changes)


@pytest.fixture(scope="module")
def server(pki):
    leaves = (pki.leaf("mx.a.example"), pki.leaf("mx.a.example", key="rsa2048"))
    return server_context([leaf.identity() for leaf in leaves], DEFAULT, ask_client_certificate=True)


@pytest.fixture(scope="module")
def servers(pki):
    """A server for each kind of key and each profile: to read an RSA key takes longer than a handshake."""
    identities = {key: [pki.leaf("mx.a.example", key=key).identity()] for key in ("p256", "rsa2048")}
    return cache(lambda key, profile, asks=False: server_context(identities[key], profile, ask_client_certificate=asks))


# ------------------------------------------------------------------------------------------------ what is negotiated


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_profile_against_every_version(servers, shake, name, version):
    profile = PROFILES[name]
    server = servers("rsa2048", profile, True)
    client = client_context(only(version))
    if profile.min_version <= version <= profile.max_version:
        ours, theirs = shake(client.engine(), server.engine())
        assert ours.facts.version == theirs.facts.version == version
    else:
        with pytest.raises(TlsFailure, match="protocol"):
            shake(client.engine(), server.engine())
    # and the same with the profile on the client's side
    server = servers("rsa2048", only(version))
    if profile.min_version <= version <= profile.max_version:
        ours, theirs = shake(client_context(profile).engine(), server.engine())
        assert ours.facts.version == theirs.facts.version == version
    else:
        with pytest.raises(TlsFailure):
            shake(client_context(profile).engine(), server.engine())


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("*X25519MLKEM768:*X25519", "X25519MLKEM768"),
        ("X25519MLKEM768", "X25519MLKEM768"),
        ("X25519:X25519MLKEM768", "X25519MLKEM768"),  # no share for it: asked for by HelloRetryRequest
        ("X25519:P-256", "X25519"),
        ("P-384:P-256", "P-384"),  # as good to us as the P-256 we would have to ask for
        ("P-384", "P-384"),
    ],
)
def test_groups_in_our_order(shake, server, client, expected):
    ours, theirs = shake(client_context(replace(DEFAULT, groups=client)).engine(), server.engine())
    assert ours.facts.group == theirs.facts.group == expected


@pytest.mark.parametrize("name", ["modern", "default", "compatible", "legacy"])
def test_a_client_offers_the_hybrid_first_and_needs_no_second_hello(shake, pki, name):
    server = server_context(
        [pki.leaf("mx.a.example").identity()], replace(LEGACY, groups="X25519:P-256"), ask_client_certificate=False
    )
    client = client_context(PROFILES[name]).engine()
    client.start()
    engine = server.engine()
    engine.feed(client.take_output())
    client.feed(engine.take_output())
    assert client.facts.group == "X25519"


def test_the_server_chooses_the_suite(shake, server):
    order = "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
    ours, theirs = shake(client_context(replace(NO_TLS13, suites12=order)).engine(), server.engine())
    assert ours.facts.suite == theirs.facts.suite == "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"


@pytest.mark.parametrize("suite", PROFILES["legacy"].suites12.split(":"))
def test_every_suite_of_the_published_list_can_be_spoken_and_no_other(servers, shake, suite):
    key = "p256" if "ECDSA" in suite else "rsa2048"
    for profile in PROFILES.values():
        server = servers(key, profile)
        client = client_context(only("TLSv1.2", suites12=suite))
        if suite in profile.suites12.split(":") and profile.min_version <= "TLSv1.2":
            ours, theirs = shake(client.engine(), server.engine())
            assert ours.facts.suite == theirs.facts.suite == iana_name(suite)
            assert ours.facts.forward_secret is suite.startswith("ECDHE")
        else:
            with pytest.raises(TlsFailure):
                shake(client.engine(), server.engine())


# ------------------------------------------------------------------------------------------------ certificates


@pytest.mark.parametrize(
    ("profile", "changes", "expected"),
    [
        (NO_TLS13, {"suites12": "ECDHE-ECDSA-AES128-GCM-SHA256"}, "ecdsa"),
        (NO_TLS13, {"suites12": "ECDHE-RSA-AES128-GCM-SHA256"}, "rsa"),
        (NO_TLS13, {}, "ecdsa"),
        (NO_TLS13, {"signature_algorithms": "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"}, "rsa"),
        (DEFAULT, {"signature_algorithms": "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"}, "rsa"),
        (DEFAULT, {"signature_algorithms": "ecdsa_secp256r1_sha256"}, "ecdsa"),
        (DEFAULT, {}, "ecdsa"),
    ],
)
def test_rsa_beside_ecdsa_by_what_the_client_can_do(shake, server, profile, changes, expected):
    ours, theirs = shake(client_context(replace(profile, **changes)).engine(), server.engine())
    assert ours.facts.signature.startswith(expected)
    assert ours.facts.signature == theirs.facts.signature


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("mx.a.example", "mx.a.example"),
        ("MX.A.Example.", "mx.a.example"),
        ("mx.b.example", "mx.b.example"),
        ("x.c.example", "*.c.example"),
        ("mx.c.example", "mx.c.example"),
        ("x.y.c.example", "mx.a.example"),
        ("other.example", "mx.a.example"),
        ("", "mx.a.example"),
    ],
)
@VERSIONS_NOW
def test_the_server_name_chooses_the_certificate(pki, shake, profile, asked, expected):
    leaves = {name: pki.leaf(name) for name in ("mx.a.example", "mx.b.example", "*.c.example", "mx.c.example")}
    identities = [leaf.identity() for leaf in leaves.values()]
    server = server_context(identities, DEFAULT, ask_client_certificate=True)
    ours, theirs = shake(client_context(profile).engine(server_name=asked), server.engine())
    assert ours.facts.peer_chain == leaves[expected].chain
    assert ours.facts.server_name == theirs.facts.server_name == asked.removesuffix(".")


@VERSIONS_NOW
def test_each_certificate_of_a_context_goes_with_its_own_intermediate(pki, shake, profile):
    other = pki.root.authority("Gatepost Test CA 2", key="rsa2048")
    leaves = {"ecdsa": pki.leaf("mx.a.example"), "rsa": other.leaf("mx.a.example", key="rsa2048")}
    server = server_context([leaf.identity() for leaf in leaves.values()], DEFAULT, ask_client_certificate=False)
    for family, leaf in leaves.items():
        able = ":".join(name for name in DEFAULT.signature_algorithms.split(":") if name.startswith(family))
        client = client_context(replace(profile, signature_algorithms=able))
        ours, theirs = shake(client.engine(), server.engine())
        assert ours.facts.peer_chain == leaf.chain
        assert theirs.facts.peer_chain == ()


CLIENTS = {
    "none": lambda pki, _: None,
    "good": lambda pki, _: pki.leaf("c.example"),
    "expired": lambda pki, _: pki.leaf("c.example", begin=pki.now - 9 * pki.day, end=pki.now - pki.day),
    "not yet valid": lambda pki, _: pki.leaf("c.example", begin=pki.now + pki.day),
    "self-signed": lambda pki, _: pki.self_signed("c.example"),
    "unknown authority": lambda pki, _: pki.stranger.leaf("c.example", key="rsa2048"),
    "for servers only": lambda pki, _: pki.leaf("c.example", usages=pki.server_only),
    "no extended key usage": lambda pki, _: pki.leaf("c.example", usages=None),
    "RSA-1024": lambda pki, _: pki.leaf("c.example", key="rsa1024"),
    "SHA-1": lambda _, sha1_leaf: sha1_leaf,
    "Ed25519": lambda pki, _: pki.leaf("c.example", key="ed25519"),
    "wrong signature": lambda pki, _: pki.forged("c.example"),
}


@pytest.mark.parametrize("kind", CLIENTS)
@VERSIONS_NOW
def test_no_client_certificate_breaks_the_handshake(pki, sha1_leaf, shake, server, profile, kind):
    leaf = CLIENTS[kind](pki, sha1_leaf)
    weak = replace(profile, security_level=0)
    client = client_context(weak, identity=leaf.identity() if leaf else None)
    ours, theirs = shake(client.engine(), server.engine())
    assert theirs.facts.peer_chain == (leaf.chain if leaf else ())
    for _ in range(3):  # and nothing is left behind that would break the reads to come
        assert theirs.feed(ours.send(b"EHLO c.example\r\n")) == b"EHLO c.example\r\n"
        assert ours.feed(theirs.send(b"250 mx.a.example\r\n")) == b"250 mx.a.example\r\n"


@pytest.mark.parametrize("kind", [kind for kind in CLIENTS if kind != "none"])
@VERSIONS_NOW
def test_no_server_certificate_breaks_the_handshake(pki, sha1_leaf, shake, profile, kind):
    leaf = CLIENTS[kind](pki, sha1_leaf)
    server = server_context([leaf.identity()], replace(DEFAULT, security_level=0), ask_client_certificate=False)
    ours, theirs = shake(client_context(profile).engine(), server.engine())
    assert ours.facts.peer_chain == leaf.chain
    assert theirs.feed(ours.send(b"NOOP\r\n")) == b"NOOP\r\n"
    assert ours.feed(theirs.send(b"250 ok\r\n")) == b"250 ok\r\n"


@pytest.mark.parametrize("key", ["p256", "p384", "p521", "ed25519", "ed448", "rsa2048"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("order", ["ours", "reversed", "sha384", "sha512", "sha1"])
def test_both_sides_agree_on_the_signature(pki, shake, key, version, order):
    """The client saw the scheme on the wire; the server worked it out from the ClientHello."""
    server = server_context([pki.leaf("mx.a.example", key=key).identity()], LEGACY, ask_client_certificate=False)
    names = LEGACY.signature_algorithms.split(":")
    offered = {
        "ours": names,
        "reversed": names[::-1],
        "sha384": [name for name in names if name.endswith("384")],
        "sha512": [name for name in names if not name.endswith(("256", "384"))],
        "sha1": [name for name in names if name.endswith("sha1")],
    }[order]
    client = client_context(only(version, signature_algorithms=":".join(offered)))
    try:
        ours, theirs = shake(client.engine(), server.engine())
    except TlsFailure:
        assert order != "ours"  # no scheme in common: which are is for OpenSSL to say
        assert order != "reversed"
        return
    assert ours.facts.signature in offered
    assert theirs.facts.signature == ours.facts.signature
    assert SCHEMES[ours.facts.signature]


@pytest.mark.parametrize("version", ["TLSv1.0", "TLSv1.1"])
def test_before_tls12_a_signature_has_no_name(pki, shake, version):
    server = server_context([pki.leaf("mx.a.example").identity()], LEGACY, ask_client_certificate=False)
    ours, theirs = shake(client_context(only(version)).engine(), server.engine())
    assert ours.facts.signature == theirs.facts.signature == ""
    assert ours.facts.group == theirs.facts.group != ""


def test_a_static_rsa_session_has_neither_group_nor_signature(pki, shake):
    leaf = pki.leaf("mx.a.example", key="rsa2048")
    server = server_context([leaf.identity()], PROFILES["compatible"], ask_client_certificate=False)
    client = client_context(only("TLSv1.2", suites12="AES128-GCM-SHA256"))
    ours, theirs = shake(client.engine(), server.engine())
    for facts in (ours.facts, theirs.facts):
        assert (facts.suite, facts.group, facts.signature) == ("TLS_RSA_WITH_AES_128_GCM_SHA256", "", "")
        assert not facts.forward_secret


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (lambda pki: ServerIdentity(b"", b""), "the certificate chain cannot be read"),
        (lambda pki: pki.leaf("mx.a.example", key="rsa1024").identity(), "CN=mx.a.example cannot be used: ee key too"),
    ],
)
def test_an_identity_that_cannot_be_used_is_named(pki, identity, words):
    with pytest.raises(IdentityError, match=words):
        server_context([identity(pki)], DEFAULT, ask_client_certificate=False)
    with pytest.raises(IdentityError, match=words):
        client_context(DEFAULT, identity=identity(pki))
    client = client_context(DEFAULT).engine()
    client.start()
    assert client.take_output()


def test_a_server_needs_a_certificate():
    with pytest.raises(ValueError, match="needs a certificate"):
        server_context([], DEFAULT, ask_client_certificate=True)


# ------------------------------------------------------------------------------------------------ resumption


def exchange(ours, theirs):
    assert ours.feed(theirs.send(b"250 ok\r\n")) == b"250 ok\r\n"
    theirs.feed(ours.shutdown())
    ours.feed(theirs.shutdown())
    ours.release()
    theirs.release()


@VERSIONS_NOW
def test_twenty_of_twenty_connections_resume(pki, shake, profile):
    leaf = pki.leaf("mx.a.example")
    server = server_context([leaf.identity()], DEFAULT, ask_client_certificate=True)
    mine = pki.leaf("c.example")
    client = client_context(profile, identity=mine.identity())
    for number in range(21):
        ours, theirs = shake(client.engine(server_name="mx.a.example", session_key="a.example"), server.engine())
        assert ours.facts.resumed is theirs.facts.resumed is (number > 0)
        assert ours.facts.peer_chain == leaf.chain  # the intermediate too, which no resumed session carries
        assert theirs.facts.peer_chain == mine.chain
        assert (ours.facts.signature == "") is (number > 0)
        assert ours.facts.group == theirs.facts.group != ""
        exchange(ours, theirs)


@VERSIONS_NOW
def test_several_connections_at_once_resume_one_session(shake, server, profile):
    client = client_context(profile)
    exchange(*shake(client.engine(session_key="k"), server.engine()))
    both = [shake(client.engine(session_key="k"), server.engine()) for _ in range(3)]
    assert all(ours.facts.resumed and theirs.facts.resumed for ours, theirs in both)
    for ours, theirs in both:  # dropped without a close_notify
        ours.release()
        theirs.release()
    del both, ours, theirs
    ours, _ = shake(client.engine(session_key="k"), server.engine())
    assert ours.facts.resumed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"session_key": "k"}, {"session_key": "other"}),
        ({"session_key": "k"}, {}),
        ({}, {"session_key": "k"}),
        ({"session_key": "k", "server_name": "mx.a.example"}, {"session_key": "k", "server_name": "mx.b.example"}),
    ],
)
@VERSIONS_NOW
def test_sessions_resume_only_among_equal_keys(shake, server, profile, first, second):
    client = client_context(profile)
    exchange(*shake(client.engine(**first), server.engine()))
    ours, _ = shake(client.engine(**second), server.engine())
    assert not ours.facts.resumed


@VERSIONS_NOW
def test_sessions_stay_within_their_context(shake, server, profile):
    exchange(*shake(client_context(profile).engine(session_key="k"), server.engine()))
    ours, _ = shake(client_context(profile).engine(session_key="k"), server.engine())
    assert not ours.facts.resumed


@VERSIONS_NOW
@pytest.mark.parametrize(
    ("more", "padding", "kept"), [(8, 0, True), (9, 0, False), (0, 30_000, True), (0, 40_000, False)]
)
def test_a_session_with_a_long_or_large_chain_is_not_kept(pki, shake, profile, more, padding, kept):
    leaf = pki.leaf("mx.a.example", *[f"{number:04}.{'x' * 60}.example" for number in range(padding // 80)])
    identity = ServerIdentity(leaf.pem + pki.root.pem * (more + 1), leaf.key_pem)
    server = server_context([identity], profile, ask_client_certificate=False)
    client = client_context(profile)
    ours, theirs = shake(client.engine(session_key="k"), server.engine())
    assert len(ours.facts.peer_chain) == more + 2
    exchange(ours, theirs)
    again, _ = shake(client.engine(session_key="k"), server.engine())
    assert again.facts.resumed is kept


@VERSIONS_NOW
def test_a_session_that_failed_is_not_resumed_and_costs_only_a_full_handshake(shake, server, profile):
    client = client_context(profile)
    ours, theirs = shake(client.engine(session_key="k"), server.engine())
    assert ours.feed(theirs.send(b"220 hello\r\n"))
    with pytest.raises(TlsFailure):
        ours.feed(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    ours.release()
    ours, _ = shake(client.engine(session_key="k"), server.engine())
    assert not ours.facts.resumed


@VERSIONS_NOW
def test_what_is_forgotten_is_not_resumed_not_even_by_a_connection_that_still_runs(shake, server, profile):
    client = client_context(profile)
    ours, theirs = shake(client.engine(server_name="mx.a.example", session_key="k"), server.engine())
    client.forget("k", "mx.a.example")
    exchange(ours, theirs)
    ours, theirs = shake(client.engine(server_name="mx.a.example", session_key="k"), server.engine())
    assert not ours.facts.resumed
    exchange(ours, theirs)
    ours, _ = shake(client.engine(server_name="mx.a.example", session_key="k"), server.engine())
    assert ours.facts.resumed


@pytest.mark.parametrize("name", ["mx.a.example", "other.example"])
@VERSIONS_NOW
def test_both_sides_end_sessions_however_often_they_were_resumed(pki, shake, monkeypatch, profile, name):
    identities = [pki.leaf(one).identity() for one in ("mx.a.example", "other.example")]
    server = server_context(identities, DEFAULT, ask_client_certificate=True)
    now = [10 * MAX_AGE]
    monkeypatch.setattr(server.tickets.sessions, "_clock", lambda: now[0])
    client = client_context(profile, identity=pki.leaf("c.example").identity())
    client.sessions.clock = lambda: 0.0  # this one would resume for ever

    def resumed():
        ours, theirs = shake(client.engine(server_name=name, session_key="k"), server.engine())
        exchange(ours, theirs)
        return theirs.facts.resumed

    assert [resumed(), resumed()] == [False, True]
    now[0] += MAX_AGE - 1
    assert resumed()
    now[0] += 1
    assert [resumed(), resumed()] == [False, True]


# ------------------------------------------------------------------------------------------------ bytes


@pytest.mark.parametrize("size", [1, 16384, 16385, 200_000])
@VERSIONS_NOW
def test_data_of_any_size_arrives_whole(shake, server, profile, size):
    ours, theirs = shake(client_context(profile).engine(), server.engine())
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    sent = ours.send(data)
    assert theirs.feed(sent) == data
    echoed = theirs.send(data)
    parts = [ours.feed(echoed[start : start + 1000]) for start in range(0, len(echoed), 1000)]
    assert b"".join(parts) == data


@pytest.mark.parametrize("size", [513, 16384, 40_000])  # a part more than one of its records, one of ours, and more
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_that_asks_for_small_records_gets_all_of_an_answer(server, version, size):
    """max_fragment_length, RFC 6066 section 4: our own clients never ask for it."""
    answer = (bytes(range(48, 58)) * 4000)[:size]
    listener = socket.create_server(("127.0.0.1", 0))
    command = ("openssl", "s_client", "-quiet", version, "-maxfraglen", "512", "-connect")
    with (
        listener,
        subprocess.Popen(
            [*command, f"127.0.0.1:{listener.getsockname()[1]}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client,
    ):
        listener.settimeout(60)
        stream, _ = listener.accept()
        engine = server.engine()
        with stream:
            while not engine.facts:
                engine.feed(stream.recv(65536))
                stream.sendall(engine.take_output())
            stream.sendall(engine.send(answer) + engine.shutdown())
            stream.shutdown(socket.SHUT_WR)
            assert client.communicate()[0] == answer


@VERSIONS_NOW
def test_a_handshake_byte_by_byte(server, profile):
    ours, theirs = client_context(profile).engine(server_name="mx.a.example"), server.engine()
    ours.start()
    theirs.start()
    while not (ours.facts and theirs.facts):
        for one, other in ((ours, theirs), (theirs, ours)):
            for byte in one.take_output():
                assert other.feed(bytes([byte])) == b""
    assert theirs.facts.server_name == "mx.a.example"
    assert theirs.facts.signature == "ecdsa_secp256r1_sha256"


@VERSIONS_NOW
def test_what_comes_with_the_last_flight_is_not_lost(server, profile):
    ours, theirs = client_context(profile).engine(), server.engine()
    ours.start()
    theirs.feed(ours.take_output())
    for _ in range(3):
        if not ours.facts:
            ours.feed(theirs.take_output())
        if not ours.facts:
            theirs.feed(ours.take_output())
    assert theirs.feed(ours.take_output() + ours.send(b"EHLO c.example\r\n")) == b"EHLO c.example\r\n"


@VERSIONS_NOW
def test_closing_is_told_and_what_follows_is_not_read(shake, server, profile):
    ours, theirs = shake(client_context(profile).engine(), server.engine())
    farewell = ours.send(b"QUIT\r\n") + ours.shutdown()
    assert theirs.feed(farewell + b"\x17\x03\x03\x00\x05EVIL!") == b"QUIT\r\n"
    assert theirs.peer_closed
    assert theirs.feed(b"more") == b""
    assert ours.shutdown() == b""


@pytest.mark.parametrize("noise", [b"EHLO client.example\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 64])
def test_what_is_no_client_hello_fails(server, noise):
    engine = server.engine()
    with pytest.raises(TlsFailure):
        engine.feed(noise)
    assert engine.facts is None
    engine.take_output()
    assert engine.shutdown() == b""
    engine.release()


def test_a_failed_handshake_has_an_alert_to_send(server):
    ours, theirs = client_context(only("TLSv1.1")).engine(), server.engine()
    ours.start()
    with pytest.raises(TlsFailure, match="unsupported protocol"):
        theirs.feed(ours.take_output())
    alert = theirs.take_output()
    assert alert[0] == 21
    assert alert[-1] == 70  # protocol_version, RFC 8446 section 6
    with pytest.raises(TlsFailure, match="alert protocol version"):
        ours.feed(alert)
    assert ours.shutdown() == b""


@VERSIONS_NOW
def test_a_record_that_was_changed_on_the_way_ends_the_session_with_an_alert(shake, server, profile):
    ours, theirs = shake(client_context(profile).engine(), server.engine())
    sent = bytearray(ours.send(b"MAIL FROM:<a@c.example>\r\n"))
    sent[-1] ^= 1
    with pytest.raises(TlsFailure):
        theirs.feed(sent)
    assert theirs.take_output()
    with pytest.raises(TlsFailure):
        theirs.send(b"250 ok\r\n")


class Raw:
    """A peer that is not ours, with the library's defaults."""

    def __init__(self, context, begin):
        self.connection = SSL.Connection(context, None)
        begin(self.connection)
        self.facts = None

    def start(self):
        self.feed(b"")

    def feed(self, data):
        if data:
            self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return b""
        self.facts = True
        return b""

    def take_output(self):
        return private.take_output(self.connection)


def test_renegotiation_is_refused(shake, server):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    raw, theirs = shake(Raw(context, SSL.Connection.set_connect_state), server.engine())
    assert raw.connection.renegotiate()
    raw.feed(b"")
    assert theirs.feed(raw.take_output()) == b""
    assert theirs.take_output()[0] == 21
    raw.connection.bio_write(theirs.send(b"250 still here\r\n"))


def test_a_client_sees_the_signature_of_a_key_that_can_only_do_pss(pss_identity, shake, tmp_path):
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    for part, content in zip(("crt", "key"), pss_identity, strict=True):
        (tmp_path / part).write_bytes(content)
    context.use_certificate_file(tmp_path / "crt")
    context.use_privatekey_file(tmp_path / "key")
    for profile in (NO_TLS13, DEFAULT):
        ours, _ = shake(client_context(profile).engine(), Raw(context, SSL.Connection.set_accept_state))
        assert ours.facts.signature == "rsa_pss_pss_sha256"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("asks", [True, False])
def test_a_stapled_response_is_kept_if_it_was_asked_for(pki, shake, version, asks):
    """OpenSSL staples only what is about the certificate that it serves."""
    leaf = pki.leaf("mx.b.example")
    der = _ocsp_response(pki, leaf)
    server = server_context([leaf.identity()], DEFAULT, ask_client_certificate=False)
    server._base.set_ocsp_server_callback(lambda _connection, _data: der)
    ours, _ = shake(client_context(only(version), ask_for_staple=asks).engine(), server.engine())
    assert ours.facts.ocsp_response == (der if asks else b"")


def test_a_server_that_staples_nothing_leaves_nothing(shake, server):
    ours, theirs = shake(client_context(DEFAULT, ask_for_staple=True).engine(), server.engine())
    assert (ours.facts.ocsp_response, theirs.facts.ocsp_response) == (b"", b"")


def _ocsp_response(pki, leaf):
    issuer = pki.intermediate
    builder = ocsp.OCSPResponseBuilder().add_response(
        leaf.certificate,
        issuer.certificate,
        hashes.SHA1(),  # noqa: S303 - names the certificate
        ocsp.OCSPCertStatus.GOOD,
        pki.now,
        None,
        None,
        None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, issuer.certificate)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# ------------------------------------------------------------------------------------------------ channel binding


@VERSIONS_NOW
def test_both_sides_of_a_session_have_its_bindings_and_another_session_has_others(pki, shake, profile):
    leaf = pki.leaf("mx.a.example")
    server = server_context([leaf.identity()], profile, ask_client_certificate=False)
    client = client_context(profile)
    assert client.engine().channel_bindings() == {}
    sessions = [[end.channel_bindings() for end in shake(client.engine(), server.engine())] for _ in range(2)]
    for ours, theirs in sessions:
        assert theirs["tls-server-end-point"] == hashlib.sha256(leaf.der).digest()
        assert ours.get("tls-exporter") == theirs.get("tls-exporter")
        assert ("tls-exporter" in ours) == (profile is not NO_TLS13)
    assert len({one["tls-exporter"] for one, _ in sessions if one}) == (0 if profile is NO_TLS13 else 2)
