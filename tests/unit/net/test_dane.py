from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto

from gatepost.net.certificate import spki_der
from gatepost.net.dane import judge, unreadable
from gatepost.protocols.dane.tlsa import Selector, Tlsa, Usage, classify, parse

NAMES = ("mx.b.example", "b.example")
DIGESTS = {0: bytes, 1: lambda part: hashlib.sha256(part).digest(), 2: lambda part: hashlib.sha512(part).digest()}


def tlsa(numbers: str, der: bytes) -> bytes:
    usage, selector, matching = map(int, numbers.split())
    return bytes((usage, selector, matching)) + DIGESTS[matching](spki_der(der) if selector else der)


def key_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def verdict(pki, records, chain, *, names=NAMES, now=None):
    found = classify(records, unreadable=unreadable)
    return judge(found, chain, names=names, now=pki.now.timestamp() if now is None else now)


ALL = [f"{usage} {selector} {matching}" for usage in (2, 3) for selector in (0, 1) for matching in (0, 1, 2)]


@pytest.mark.parametrize("numbers", ALL)
@pytest.mark.parametrize("key", ["p256", "rsa2048", "ed25519"])
def test_every_kind_of_record(pki, numbers, key):
    leaf = pki.leaf("mx.b.example", key=key)
    named = leaf if numbers[0] == "3" else pki.intermediate
    found = verdict(pki, [tlsa(numbers, named.der)], leaf.chain)
    assert found.authenticated, found.detail
    other = verdict(pki, [tlsa(numbers, pki.stranger.der)], leaf.chain)
    assert (other.authenticated, other.failure) == (False, "tlsa-invalid")


# what is published, what is presented -> failure ("" if satisfied), words of the detail
CASES = {
    "anchor above what was sent, whole": (
        lambda pki: ("2 0 0", pki.root, pki.leaf("mx.b.example").chain),
        "",
        "the certificate for mx.b.example leads to the trust anchor",
    ),
    "anchor above what was sent, bare key": (
        lambda pki: ("2 1 0", pki.root, pki.leaf("mx.b.example").chain),
        "",
        "trust anchor",
    ),
    "bare key that issued the leaf, nothing else sent": (
        lambda pki: ("2 1 0", pki.intermediate, (pki.leaf("mx.b.example").der,)),
        "",
        "trust anchor",
    ),
    "anchor above what was sent, digest": (
        lambda pki: ("2 0 1", pki.root, pki.leaf("mx.b.example").chain),
        "tlsa-invalid",
        "no authority in the presented chain has this certificate",
    ),
    "root that was sent, digest": (
        lambda pki: ("2 1 1", pki.root, (*pki.leaf("mx.b.example").chain, pki.root.der)),
        "",
        "trust anchor",
    ),
    "chain in disorder": (
        lambda pki: ("2 1 1", pki.root, (pki.leaf("mx.b.example").der, pki.root.der, pki.intermediate.der)),
        "",
        "trust anchor",
    ),
    "another name of the domain": (
        lambda pki: ("2 1 1", pki.intermediate, pki.leaf("b.example").chain),
        "",
        "for b.example leads",
    ),
    "wildcard": (lambda pki: ("2 1 1", pki.intermediate, pki.leaf("*.b.example").chain), "", "for mx"),
    "no names but the CN": (
        lambda pki: ("2 1 1", pki.intermediate, pki.leaf("mx.b.example", san=False).chain),
        "",
        "for mx.b.example",
    ),
    "wrong name, DANE-TA": (
        lambda pki: ("2 1 1", pki.intermediate, pki.leaf("other.example").chain),
        "certificate-host-mismatch",
        "is for other.example (CN other.example), not for mx.b.example or b.example",
    ),
    "wrong name, DANE-EE": (
        lambda pki: _own("3 1 1", pki.leaf("other.example")),
        "",
        "the server's key is that of the TLSA record 3 1 1",
    ),
    "right CN, wrong subjectAltName": (
        lambda pki: ("2 1 1", pki.intermediate, _with_other_cn(pki)),
        "certificate-host-mismatch",
        "is for other.example",
    ),
    "expired, DANE-TA": (
        lambda pki: ("2 1 1", pki.intermediate, pki.leaf("mx.b.example", end=pki.now - pki.day / 2).chain),
        "certificate-expired",
        "CN=mx.b.example expired on",
    ),
    "expired, DANE-EE": (lambda pki: _own("3 0 1", pki.leaf("x.example", end=pki.now - pki.day / 2)), "", "record 3 0"),
    "not yet valid, DANE-TA": (
        lambda pki: ("2 1 1", pki.intermediate, pki.leaf("mx.b.example", begin=pki.now + pki.day).chain),
        "tlsa-invalid",
        "CN=mx.b.example is valid from",
    ),
    "not yet valid, DANE-EE": (lambda pki: _own("3 1 2", pki.leaf("mx.b.example", begin=pki.now + pki.day)), "", "key"),
    "self-signed, DANE-EE": (lambda pki: _own("3 1 1", pki.self_signed("mx.b.example")), "", "key"),
    "self-signed, DANE-TA": (
        lambda pki: _own("2 1 1", pki.self_signed("mx.b.example")),
        "tlsa-invalid",
        "names the server's own certificate",
    ),
    "the server's own for an authority, whole": (
        lambda pki: _own("2 0 0", pki.leaf("mx.b.example")),
        "tlsa-invalid",
        "names the server's own certificate",
    ),
    "forged in the anchor's name": (
        lambda pki: ("2 1 1", pki.intermediate, (pki.forged("mx.b.example").der, pki.intermediate.der)),
        "tlsa-invalid",
        "CN=mx.b.example: certificate signature failure",
    ),
    "forged in a bare key's name": (
        lambda pki: ("2 1 0", pki.intermediate, (pki.forged("mx.b.example").der,)),
        "tlsa-invalid",
        "CN=mx.b.example: certificate signature failure",
    ),
    "anchor sent that issued nothing": (
        lambda pki: ("2 1 1", pki.stranger, (*pki.leaf("mx.b.example").chain, pki.stranger.der)),
        "tlsa-invalid",
        "the chain ends at CN=Gatepost Test CA 1",
    ),
    "bare key of the leaf itself, self-signed": (
        lambda pki: _own("2 1 0", pki.self_signed("mx.b.example")),
        "",
        "trust anchor",
    ),
    "bare key of the leaf itself, self-signed for another name": (
        lambda pki: _own("2 1 0", pki.self_signed("other.example")),
        "certificate-host-mismatch",
        "is for other.example",
    ),
    "bare key of the leaf itself, issued by another": (
        lambda pki: _own("2 1 0", pki.leaf("mx.b.example", key="rsa2048")),
        "tlsa-invalid",
        "which has another key",
    ),
    "certificate that cannot be read, DANE-EE": (
        lambda pki: ("3 0 1", _Der(b"no certificate"), (b"no certificate",)),
        "",
        "certificate is that",
    ),
    "certificate that cannot be read, key": (
        lambda pki: ("3 1 1", pki.root, (b"no certificate",)),
        "tlsa-invalid",
        "a different one",
    ),
    "chain that cannot be read, DANE-TA": (
        lambda pki: ("2 0 0", pki.root, (b"no certificate", pki.root.der)),
        "tlsa-invalid",
        "cannot be read",
    ),
    "leaf that cannot be read, bare key": (
        lambda pki: ("2 1 0", pki.root, (b"no certificate",)),
        "tlsa-invalid",
        "what it names cannot be a trust anchor",
    ),
    "nothing presented": (lambda pki: ("3 1 1", pki.root, ()), "tlsa-invalid", "no certificate was presented"),
    "a hundred certificates, DANE-TA": (
        lambda pki: ("2 1 1", pki.intermediate, (pki.leaf("mx.b.example").der, *[pki.intermediate.der] * 100)),
        "tlsa-invalid",
        "101 certificates were presented, at most 10",
    ),
    "a hundred certificates, DANE-EE": (
        lambda pki: ("3 1 1", leaf := pki.leaf("mx.b.example"), (leaf.der, *[pki.intermediate.der] * 100)),
        "",
        "key is that",
    ),
}


class _Der:
    def __init__(self, der: bytes) -> None:
        self.der = der


def _own(numbers, leaf):
    return numbers, leaf, leaf.chain


def _with_other_cn(pki):
    return pki.intermediate.leaf("mx.b.example", san=False, extra=[(_san("other.example"), False)]).chain


def _san(name):
    return x509.SubjectAlternativeName([x509.DNSName(name)])


@pytest.mark.parametrize("case", CASES)
def test_cases(pki, case):
    build, failure, words = CASES[case]
    numbers, named, chain = build(pki)
    found = verdict(pki, [tlsa(numbers, named.der)], chain)
    assert (found.failure or "") == failure, found.detail
    assert words in found.detail
    assert found.authenticated is (failure == "")


def test_without_names_nobody_is_meant(pki):
    chain = pki.leaf("mx.b.example").chain
    for names in ((), ("*.example",), ("",)):
        assert verdict(pki, [tlsa("2 1 1", pki.intermediate.der)], chain, names=names).failure == (
            "certificate-host-mismatch"
        )


def test_time_counts_for_anchors_only(pki):
    chain = pki.leaf("mx.b.example").chain
    late = (pki.now + 400 * pki.day).timestamp()
    anchor, own = tlsa("2 1 1", pki.intermediate.der), tlsa("3 1 1", chain[0])
    assert verdict(pki, [anchor], chain, now=late).failure == "certificate-expired"
    found = verdict(pki, [anchor, own], chain, now=late)
    assert str(found.matched).startswith("3 1 1")
    assert found.refusals == ()  # own certificates are tried first


FULL = {
    "certificate": (lambda pki: tlsa("2 0 0", pki.root.der), ""),
    "key": (lambda pki: tlsa("3 1 0", pki.root.der), ""),
    "no certificate": (lambda _: b"\x02\x00\x00\x30\x00", "its data cannot be used: it is not an X.509 certificate"),
    "no key": (lambda _: b"\x03\x01\x00\x30\x00", "its data is no public key that can be read"),
    "a certificate for a key": (
        lambda pki: b"\x03\x01\x00" + pki.root.der,
        "its data is no public key that can be read",
    ),
}


@pytest.mark.parametrize("case", FULL)
def test_what_records_hold_whole_must_be_readable(pki, case):
    build, words = FULL[case]
    record = parse(build(pki))
    assert isinstance(record, Tlsa)
    assert unreadable(record).startswith(words)
    assert bool(unreadable(record)) is bool(words)


def test_a_key_that_cannot_sign_is_no_anchor(pki):
    key = x25519.X25519PrivateKey.generate().public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    found = verdict(pki, [b"\x02\x01\x00" + spki], pki.leaf("mx.b.example").chain)
    assert found.failure == "tlsa-invalid"


def test_the_key_is_taken_as_it_stands(pki, pss_identity):
    for der in (pki.root.der, pki.leaf("a.example", key="rsa2048").der, pki.leaf("a.example", key="ed25519").der):
        assert spki_der(der) == key_of(x509.load_der_x509_certificate(der))
    # RSASSA-PSS: written again it would be a plain RSA key, and its digest that of another one.
    certificate = x509.load_pem_x509_certificate(pss_identity[0])
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert spki_der(der) in der
    assert bytes.fromhex("06092a864886f70d01010a") in spki_der(der)


def element(tag: int, content: bytes) -> bytes:
    octets = len(content).to_bytes(2)
    return bytes((tag, 0x82)) + octets + content


def indefinite(content: bytes) -> bytes:
    return b"\x30\x80" + content + b"\x00\x00"


def long_form(content: bytes) -> bytes:
    """A SEQUENCE whose tag is written in two octets, the second of which one may take for a length of 16."""
    return b"\x3f\x10" + bytes((len(content),)) + content


def disguised(leaf: x509.Certificate, algorithm: Callable[[bytes], bytes]) -> bytes:
    """A certificate of the same key whose signature algorithm (OID first, then what `algorithm` makes) is BER."""
    tbs = leaf.tbs_certificate_bytes
    end = leaf.public_bytes(serialization.Encoding.DER).rpartition(tbs)[2]
    content = tbs[4:]  # behind SEQUENCE with a length of two octets
    signature = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    start = content.index(signature)
    changed = content[:start] + algorithm(signature[2:]) + content[start + len(signature) :]
    return element(0x30, element(0x30, changed) + end)


@pytest.mark.parametrize(
    "algorithm",
    [
        lambda oid, spki: indefinite(oid + indefinite(b"\x05\x00" + spki)),
        # Taken for one of 16 octets it ends before what looks like issuer, validity, subject and key.
        lambda oid, spki: long_form(oid + element(0x30, b"\x30\x00" * 3 + spki)),
    ],
    ids=["indefinite lengths", "a long tag"],
)
def test_a_key_elsewhere_in_the_certificate_is_not_the_servers_key(pki, algorithm):
    """Who has no key of the domain may put the domain's own where a lax reader of BER would look for a server's."""
    named, attacker = pki.leaf("mx.b.example"), pki.leaf("mx.b.example", key="p384")
    der = disguised(attacker.certificate, lambda oid: algorithm(oid, spki_der(named.der)))
    loaded = crypto.load_certificate(crypto.FILETYPE_ASN1, der)
    presented = crypto.dump_certificate(crypto.FILETYPE_ASN1, loaded)  # as `net.engine` has it of a handshake
    assert loaded.get_pubkey().to_cryptography_key() == attacker.key.public_key()
    assert spki_der(presented) == b""
    assert not verdict(pki, [tlsa("3 1 1", named.der)], [presented]).authenticated


@pytest.fixture(scope="module")
def leaf(pki):
    return pki.leaf("mx.b.example").der


@given(st.data())
def test_any_octets_are_judged(pki, leaf, data):
    cut = data.draw(st.integers(0, len(leaf)))
    damaged = bytearray(leaf)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(leaf) - 1))] ^= data.draw(st.integers(1, 255))
    chain = data.draw(st.sampled_from([(leaf[:cut],), (bytes(damaged),), (data.draw(st.binary(max_size=60)),)]))
    assert isinstance(spki_der(chain[0]), bytes)
    records = [tlsa(numbers, pki.intermediate.der) for numbers in ALL]
    found = verdict(pki, records, (*chain, pki.intermediate.der))
    assert found.detail
    if chain[0] != leaf:
        assert not found.authenticated or _same_but_for_what_is_unsigned(chain[0], leaf)


def _same_but_for_what_is_unsigned(one, other):
    """A signature may be written in more ways than one; what it signs may not."""
    return x509.load_der_x509_certificate(one).tbs_certificate_bytes == (
        x509.load_der_x509_certificate(other).tbs_certificate_bytes
    )


def test_whole_numbers_name_what_they_are():
    assert (Usage.DANE_TA, Usage.DANE_EE, Selector.CERT, Selector.SPKI) == (2, 3, 0, 1)
