from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.certificate import CertificateError, certificate_facts
from gatepost.net.chain import judge

SERVER_SIDE, CLIENT_SIDE = "server", "client"


@pytest.fixture(scope="session")
def anchors(pki):
    return TrustAnchors([pki.root.der], "test root")


@pytest.fixture
def now(pki):
    return pki.now.timestamp()


def usage(*, sign):
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


SIGNING, IDLE = usage(sign=True), usage(sign=False)

CASES = {
    # what the peer sends -> status for a server, for a client, words of the explanation
    "good": (lambda pki: pki.leaf("mx.example").chain, "trusted", "trusted", ""),
    "good, RSA": (lambda pki: pki.leaf("mx.example", key="rsa2048").chain, "trusted", "trusted", ""),
    "good, Ed25519": (lambda pki: pki.leaf("mx.example", key="ed25519").chain, "trusted", "trusted", ""),
    "good, P-384": (lambda pki: pki.leaf("mx.example", key="p384").chain, "trusted", "trusted", ""),
    "good, with the root": (
        lambda pki: (*pki.leaf("mx.example").chain, pki.root.der),
        "trusted",
        "trusted",
        "",
    ),
    "good, in disorder": (
        lambda pki: (pki.leaf("mx.example").der, pki.stranger.der, pki.root.der, pki.intermediate.der),
        "trusted",
        "trusted",
        "",
    ),
    "good, without key identifiers": (
        lambda pki: pki.leaf("mx.example", identifiers=False).chain,
        "trusted",
        "trusted",
        "",
    ),
    "directly below the root": (lambda pki: pki.root.leaf("mx.example").chain, "trusted", "trusted", ""),
    "no extended key usage": (lambda pki: pki.leaf("mx.example", usages=None).chain, "trusted", "trusted", ""),
    "servers only": (lambda pki: pki.leaf("mx.example", usages=pki.server_only).chain, "trusted", "trusted", ""),
    "clients only": (
        lambda pki: pki.leaf("mx.example", usages=pki.client_only).chain,
        "wrong-purpose",
        "trusted",
        "CN=mx.example is not for a TLS server",
    ),
    "e-mail only": (
        lambda pki: pki.leaf("mx.example", usages=[x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]).chain,
        "wrong-purpose",
        "wrong-purpose",
        "is not for a TLS",
    ),
    "any purpose": (
        lambda pki: pki.leaf("mx.example", usages=[x509.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]).chain,
        "trusted",
        "trusted",
        "",
    ),
    "below an intermediate for e-mail": (
        lambda pki: (
            pki.root.authority(
                "Mail CA", extra=[(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)]
            )
            .leaf("mx.example")
            .chain
        ),
        "wrong-purpose",
        "wrong-purpose",
        "CN=Mail CA is not for",
    ),
    "unreadable extended key usage": (
        lambda pki: (
            pki.leaf(
                "mx.example",
                usages=None,
                extra=[(x509.UnrecognizedExtension(x509.ExtendedKeyUsage.oid, b"\x30\x03\x02\x01\x05"), False)],
            ).chain
        ),
        "invalid",
        "invalid",
        "CN=mx.example was not issued by the certificate of CN=Gatepost Test CA 1 that was sent",
    ),
    "nothing": (lambda _: (), "no-certificate", "no-certificate", "no certificate was presented"),
    "self-signed": (
        lambda pki: pki.self_signed("mx.example").chain,
        "self-signed",
        "self-signed",
        "CN=mx.example is self-signed",
    ),
    "leaf alone": (
        lambda pki: pki.leaf("mx.example").chain[:1],
        "chain-incomplete",
        "chain-incomplete",
        "CN=mx.example is issued by CN=Gatepost Test CA 1, which was not sent",
    ),
    "unknown root, sent": (
        lambda pki: (*pki.stranger.leaf("mx.example").chain, pki.stranger.der),
        "untrusted-root",
        "untrusted-root",
        "the root CN=Somebody Else's Root, which is not a trust anchor",
    ),
    "unknown root, not sent": (
        lambda pki: pki.stranger.authority("Their CA").leaf("mx.example").chain,
        "untrusted-root",
        "untrusted-root",
        "ends at CN=Their CA, whose issuer CN=Somebody Else's Root is not a trust anchor",
    ),
    "an anchor's name, another key": (
        lambda pki: pki.alone("Gatepost Test Root").leaf("mx.example").chain,
        "untrusted-root",
        "untrusted-root",
        "CN=mx.example was not issued by the trust anchor of the name CN=Gatepost Test Root",
    ),
    "expired": (
        lambda pki: pki.leaf("mx.example", begin=pki.now - 9 * pki.day, end=pki.now - pki.day).chain,
        "expired",
        "expired",
        "CN=mx.example expired on ",
    ),
    "expired intermediate": (
        lambda pki: (
            pki.root.authority("Old CA", begin=pki.now - 9 * pki.day, end=pki.now - pki.day).leaf("mx.example").chain
        ),
        "expired",
        "expired",
        "CN=Old CA expired on ",
    ),
    "not yet valid": (
        lambda pki: pki.leaf("mx.example", begin=pki.now + pki.day).chain,
        "not-yet-valid",
        "not-yet-valid",
        "CN=mx.example is valid from ",
    ),
    "RSA-1024": (
        lambda pki: pki.leaf("mx.example", key="rsa1024").chain,
        "weak-key",
        "weak-key",
        "CN=mx.example has the key RSA-1024",
    ),
    "P-224": (lambda pki: pki.leaf("mx.example", key="p224").chain, "weak-key", "weak-key", "EC-secp224r1"),
    "RSA-1024 intermediate": (
        lambda pki: pki.root.authority("Weak CA", key="rsa1024").leaf("mx.example").chain,
        "weak-key",
        "weak-key",
        "CN=Weak CA",
    ),
    "forged": (
        lambda pki: pki.forged("mx.example").chain,
        "invalid",
        "invalid",
        "CN=mx.example: certificate signature",
    ),
    "issued by a leaf": (
        lambda pki: pki.leaf("not.an.authority").leaf("mx.example").chain,
        "invalid",
        "invalid",
        "CN=not.an.authority: invalid CA",
    ),
    "an authority in the place of a peer": (
        lambda pki: (
            pki.root.authority(
                "mx.example", extra=[(x509.SubjectAlternativeName([x509.DNSName("mx.example")]), False)]
            ).chain
        ),
        "wrong-purpose",
        "wrong-purpose",
        "CN=mx.example is the certificate of an authority, not of a TLS server",
    ),
    "issued by what says nothing of itself": (
        lambda pki: (
            pki.root.authority("Silent CA", constraints=False, extra=[(SIGNING, True)]).leaf("mx.example").chain
        ),
        "invalid",
        "invalid",
        "CN=Silent CA",
    ),
    "issued by an authority that may not sign": (
        lambda pki: pki.root.authority("Idle CA", extra=[(IDLE, True)]).leaf("mx.example").chain,
        "invalid",
        "invalid",
        "CN=Idle CA",
    ),
    "outside its authority's names": (
        lambda pki: (
            pki.root.authority("Narrow CA", extra=[(x509.NameConstraints([x509.DNSName("a.example")], None), True)])
            .leaf("mx.b.example")
            .chain
        ),
        "invalid",
        "invalid",
        "CN=mx.b.example: permitted subtree violation",
    ),
    "critical extension nobody knows": (
        lambda pki: (
            pki.leaf(
                "mx.example",
                extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True)],
            ).chain
        ),
        "invalid",
        "invalid",
        "unhandled critical extension",
    ),
    "no certificate at all": (lambda _: (b"EHLO",), "invalid", "invalid", "cannot be read"),
    "rubbish behind a good leaf": (
        lambda pki: (pki.leaf("mx.example").der, b"EHLO"),
        "invalid",
        "invalid",
        "cannot be read",
    ),
    "eleven certificates": (
        lambda pki: pki.leaf("mx.example").chain * 6,
        "invalid",
        "invalid",
        "12 certificates were presented, at most 10",
    ),
    "an endless certificate": (lambda _: (b"0" * 65537,), "invalid", "invalid", "at most 10 certificates of 65536"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("purpose", [SERVER_SIDE, CLIENT_SIDE])
def test_every_reason_is_a_value_of_its_own(pki, anchors, now, case, purpose):
    chain, *expected, words = CASES[case]
    verdict = judge(chain(pki), anchors, now=now, purpose=purpose)
    assert verdict.status.value == expected[purpose == CLIENT_SIDE]
    assert verdict.trusted is (verdict.status == "trusted")
    if not verdict.trusted:
        assert words.replace("TLS server", f"TLS {purpose}") in verdict.detail
    else:
        assert verdict.anchor == "CN=Gatepost Test Root"
        assert verdict.leaf.common_name == "mx.example"


def test_sha1_is_refused_below_the_anchor_only(pki, anchors, sha1_leaf, now):
    now += 3600  # it was made after the tests began
    verdict = judge(sha1_leaf.chain, anchors, now=now, purpose="server")
    assert (verdict.status, verdict.detail) == ("weak-signature", "CN=sha1.example is signed with SHA1")
    pinned = TrustAnchors([sha1_leaf.der], "pinned")
    assert judge(sha1_leaf.chain, pinned, now=now, purpose="server").trusted


@pytest.mark.parametrize(
    ("anchor", "chain", "name"),
    [
        ("intermediate", "leaf", "CN=Gatepost Test CA 1"),
        ("intermediate", "whole", "CN=Gatepost Test CA 1"),
        ("leaf", "leaf", "CN=mx.example"),
        ("self-signed", "self-signed", "CN=self.example"),
    ],
)
def test_an_anchor_need_not_be_a_root(pki, now, anchor, chain, name):
    leaf, alone = pki.leaf("mx.example"), pki.self_signed("self.example", usages=None)
    certificates = {"intermediate": pki.intermediate, "leaf": leaf, "self-signed": alone}
    chains = {"leaf": leaf.chain[:1], "whole": leaf.chain, "self-signed": alone.chain}
    anchors = TrustAnchors([certificates[anchor].der], anchor)
    verdict = judge(chains[chain], anchors, now=now, purpose="server")
    assert (verdict.status, verdict.anchor) == ("trusted", name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"constraints": False, "extra": [(SIGNING, True)]}, "its basic constraints do not say so"),
        ({"constraints": False}, "invalid CA certificate"),
        ({"extra": [(IDLE, True)]}, "CN=Own Root"),
    ],
)
def test_an_anchor_that_issues_must_say_that_it_may(pki, now, options, words):
    own = pki.alone("Own Root", **options)
    verdict = judge(own.leaf("mx.example").chain, TrustAnchors([own.der], "own"), now=now, purpose="server")
    assert verdict.status == "invalid"
    assert words in verdict.detail


def test_an_anchor_of_version_1_issues_nothing(tmp_path, now, openssl):
    """Made by hand: no library of ours writes one any more."""
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    (tmp_path / "bare").write_text("[req]\ndistinguished_name = name\n[name]\n")
    openssl(tmp_path, f"req -x509 -x509v1 -config bare {new} -subj /CN=Old -days 2 -keyout ca.key -out ca.pem")
    openssl(tmp_path, f"req {new} -subj /CN=mx.example -keyout leaf.key -out leaf.csr")
    openssl(tmp_path, "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -days 1 -out leaf.pem")
    chain = [x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes()) for name in ("leaf", "ca")]
    leaf, root = (one.public_bytes(Encoding.DER) for one in chain)
    moment = chain[0].not_valid_before_utc.timestamp() + 60
    verdict = judge([leaf, root], TrustAnchors([root], "old"), now=moment, purpose="server")
    assert (verdict.status, verdict.detail) == ("invalid", "CN=Old may issue no certificates: it is of version 1")


def test_a_self_signed_authority_is_trusted_as_it_stands(pki, now):
    """`openssl req -x509` makes such a certificate for a server, and administrators pin it."""
    alone = pki.alone("mx.example")
    pinned = TrustAnchors([alone.der], "pinned")
    assert judge(alone.chain, pinned, now=now, purpose="server").trusted
    verdict = judge(
        pki.root.authority("mx.example").chain, TrustAnchors([pki.root.der], "r"), now=now, purpose="client"
    )
    assert verdict.status == "wrong-purpose"


def test_an_expired_anchor_ends_its_trust(pki, now):
    old = pki.alone("Old Root", begin=pki.now - 9 * pki.day, end=pki.now - pki.day)
    verdict = judge(old.leaf("mx.example").chain, TrustAnchors([old.der], "old"), now=now, purpose="server")
    assert verdict.status == "expired"
    assert "CN=Old Root expired" in verdict.detail


def test_two_anchors_with_one_name_are_both_tried(pki, now):
    twin = pki.alone("Gatepost Test Root")
    anchors = TrustAnchors([twin.der, pki.root.der], "twins")
    for root in (twin, pki.root):
        assert judge(root.authority("CA").leaf("mx.example").chain, anchors, now=now, purpose="server").trusted


def test_an_authority_that_was_renewed_is_found_beside_its_expired_self(pki, now):
    """The AddTrust outage of 2020: of two certificates with one name and key the expired one was taken."""
    root = pki.alone("Renewed Root")
    old = pki.renewed(root, begin=pki.now - 9 * pki.day, end=pki.now - pki.day)
    chain = root.leaf("mx.example").chain
    for certificates in ([old.der, root.der], [root.der, old.der]):
        assert judge(chain, TrustAnchors(certificates, "both"), now=now, purpose="server").trusted
    assert judge((*chain, old.der), TrustAnchors([root.der], "new"), now=now, purpose="server").trusted


def test_limits_are_parameters(pki, anchors, now):
    chain = pki.leaf("mx.example").chain
    for limit in ({"max_chain": 1}, {"max_certificate_bytes": 100}):
        assert judge(chain, anchors, now=now, purpose="server", **limit).status == "invalid"
    assert judge(chain, anchors, now=now, purpose="server").trusted


def test_a_verdict_changes_when_a_certificate_expires_though_it_is_cached(pki, anchors, now):
    chain = pki.leaf("mx.example", begin=pki.now + 600 * pki.day / 86400, end=pki.now + 1200 * pki.day / 86400).chain

    def status(seconds):
        return judge(chain, anchors, now=now + seconds, purpose="server").status.value

    assert [status(seconds) for seconds in (0, 599, 601, 601, 1199, 1201, 900, 0)] == [
        "not-yet-valid",
        "not-yet-valid",
        "trusted",
        "trusted",
        "trusted",
        "expired",
        "trusted",
        "not-yet-valid",
    ]


def test_a_verdict_is_cached_for_its_anchors_and_purpose_alone(pki, anchors, now):
    chain = pki.leaf("mx.example", usages=pki.client_only).chain
    first = judge(chain, anchors, now=now, purpose="client")
    assert judge(chain, anchors, now=now, purpose="client") is first
    assert judge(chain, anchors, now=now, purpose="server").status == "wrong-purpose"
    other = TrustAnchors([pki.stranger.der], "other")
    assert judge(chain, other, now=now, purpose="client").status == "untrusted-root"
    same = TrustAnchors([pki.root.der], "the same set from elsewhere")
    assert judge(chain, same, now=now, purpose="client") is first
    assert judge(chain, anchors, now=now + 3601, purpose="client") is not first


def test_the_cache_is_bounded_in_bytes(pki, anchors, now):
    first = pki.leaf("mx.example")
    kept = judge(first.chain, anchors, now=now, purpose="server")
    for number in range(140):
        judge((first.der, bytes([number]) * 60000), anchors, now=now, purpose="server")
    again = judge(first.chain, anchors, now=now, purpose="server")
    assert again == kept
    assert again is not kept


def test_judging_leaves_nothing_behind_that_breaks_tls(pki, anchors, now):
    judge(pki.forged("mx.example").chain, anchors, now=now, purpose="server")
    judge((pki.leaf("mx.example").der, b"0\x03\x02\x01\x01"), anchors, now=now, purpose="server")
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()


@settings(max_examples=200)
@given(damage=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_bytes_raise_and_no_damage_is_trusted(pki, anchors, damage):
    chain = pki.intermediate.leaf("mx.example").chain
    damaged = [bytearray(der) for der in chain]
    for which, position, value in damage:
        damaged[which][position] = value
    verdict = judge([bytes(der) for der in damaged], anchors, now=pki.now.timestamp(), purpose="server")
    assert verdict.detail
    if damaged[0] != chain[0]:
        assert not verdict.trusted


def test_the_path_goes_from_the_leaf_to_the_anchor(pki, anchors, now):
    leaf = pki.leaf("mx.example")
    assert judge(leaf.chain, anchors, now=now, purpose="server").path == (leaf.der, pki.intermediate.der, pki.root.der)
    expired = pki.leaf("mx.example", end=pki.now - pki.day / 2)
    assert judge(expired.chain, anchors, now=now, purpose="server").path == ()
    weak = pki.leaf("mx.example", key="rsa1024")
    assert judge(weak.chain, anchors, now=now, purpose="server").path == ()


def test_the_names_of_this_package_are_here(pki):
    assert certificate_facts(pki.root.der).common_name == "Gatepost Test Root"
    assert issubclass(AnchorsError, ValueError)
    assert issubclass(CertificateError, ValueError)


@pytest.mark.parametrize(("bits", "status"), [(256, "trusted"), (257, "weak-key")])
def test_a_key_that_takes_long_to_verify_by_is_refused_unread(pki, anchors, now, bits, status):
    """With an exponent of 3072 bits each signature takes 8 ms, and for DANE many paths are tried."""
    modulus, exponent = (1 << 2048) - 1, (1 << (bits - 1)) + 1
    leaf = pki.leaf("mx.example")
    slow = x509.CertificateBuilder(
        leaf.certificate.subject, leaf.certificate.issuer, RSAPublicNumbers(exponent, modulus).public_key(), 7,
        leaf.certificate.not_valid_before_utc, leaf.certificate.not_valid_after_utc,
    ).sign(pki.intermediate.key, SHA256())  # fmt: skip
    verdict = judge((*leaf.chain, slow.public_bytes(Encoding.DER)), anchors, now=now, purpose="server")
    assert verdict.status == status
    assert ("exponent of more than 256 bits" in verdict.detail) is not verdict.trusted


def test_a_key_of_an_unknown_kind_is_invalid(pki, anchors, now):
    """OpenSSL takes such a certificate, but cannot give it back."""
    key = bytes.fromhex("06072a8648ce3d0201")  # id-ecPublicKey
    chain = pki.leaf("mx.example").chain
    damaged = chain[0].replace(key, bytes.fromhex("06072b8648ce3d0201"))
    for trusted in (anchors, TrustAnchors([pki.intermediate.der], "intermediate")):
        verdict = judge((damaged, *chain[1:]), trusted, now=now, purpose="server")
        assert (verdict.status, verdict.leaf is not None) == ("invalid", True)


def test_an_authority_by_itself_is_judged_as_one(pki, anchors, now):
    assert judge(pki.intermediate.chain, anchors, now=now, purpose="authority").trusted
    assert judge(pki.intermediate.chain, anchors, now=now, purpose="server").status == "wrong-purpose"
