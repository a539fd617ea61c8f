from __future__ import annotations

import datetime as dt
from itertools import count
from math import gcd
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from support.rsa_keys import rsa_key
from support.status_authority import HOUR, NOW, REVOKED, StatusAuthority

from gatepost.net import revocation
from gatepost.net.revocation import (
    RevocationError,
    RevocationStatus,
    RevocationUrls,
    ocsp_request,
    published,
    read_list,
    read_response,
)

AUTHORITY = StatusAuthority("Authority")
OTHER = StatusAuthority("Other")
SAME_NAME = StatusAuthority("Authority")
URL = "http://crl.example/list"
LEAF = AUTHORITY.leaf(crl=[URL])
TIME = NOW.timestamp()
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
Reason = x509.ReasonFlags


def scope(**fields: Any) -> tuple[x509.IssuingDistributionPoint, bool]:
    standard: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**standard | fields), True


def at(url: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(url)]


def said(der: bytes, certificate: x509.Certificate = LEAF, *, now: float = TIME) -> str:
    """What a list says of a certificate: "good", "revoked REASON", or why it says nothing."""
    try:
        standing = read_list(der, AUTHORITY.certificate).status_of(certificate, now)
    except RevocationError as failure:
        return str(failure)
    assert standing.revoked == (REVOKED.timestamp() if standing.status == "revoked" else 0)
    assert standing.until > TIME - 300
    return f"{standing.status} {standing.reason}".rstrip()


SERIAL = LEAF.serial_number
LISTS = {
    "empty": ({}, "good"),
    "others": ({"revoked": {SERIAL + 1: None, 1: None, 2**159 - 1: Reason.superseded}}, "good"),
    "revoked": ({"revoked": {SERIAL: Reason.key_compromise, 5: None}}, "revoked keyCompromise"),
    "revoked, no reason": ({"revoked": {SERIAL: None}}, "revoked"),
    "unspecified": ({"revoked": {SERIAL: Reason.unspecified}}, "revoked"),
    "on hold": ({"revoked": {SERIAL: Reason.certificate_hold}}, "revoked certificateHold"),
    "taken off again": ({"revoked": {SERIAL: Reason.remove_from_crl}}, "good"),
    "expired": ({"hours": (-48, -24)}, "the list has expired on "),
    "expired, our clock is a little fast": ({"hours": (-48, -0.05)}, "good"),
    "of the future": ({"hours": (24, 48)}, "the list is of the future, "),
    "of the future, our clock is a little slow": ({"hours": (0.05, 24)}, "good"),
    "another's key": ({"signer": SAME_NAME.key}, "its signature is not that of CN=Authority"),
    "another's name": ({"name": OTHER.name}, "the list is of another issuer than CN=Authority"),
    "another's list": ({"signer": OTHER.key, "name": OTHER.name}, "the list is of another issuer"),
    "other kind of key": ({"signer": ed25519.Ed25519PrivateKey.generate()}, "its signature algorithm is not that"),
    "delta": ({"extensions": [(x509.DeltaCRLIndicator(3), True)]}, "the list is a delta"),
    "number": ({"extensions": [(x509.CRLNumber(3), False)]}, "good"),
    "unknown extension": ({"extensions": [(UNKNOWN, False)]}, "good"),
    "unknown critical extension": ({"extensions": [(UNKNOWN, True)]}, "the list has an unknown critical extension 1.2"),
    "unknown critical entry extension": (
        {"revoked": {5: None}, "entry_extensions": [(UNKNOWN, True)]},
        "an entry has an unknown critical extension 1.2.3.4",
    ),
    "entry of another issuer": (
        {"revoked": {5: None}, "entry_extensions": [(x509.CertificateIssuer([x509.DirectoryName(OTHER.name)]), True)]},
        "an entry has an unknown critical extension",
    ),
    "invalidity date": (
        {"revoked": {SERIAL: None}, "entry_extensions": [(x509.InvalidityDate(dt.datetime(2020, 1, 1)), False)]},  # noqa: DTZ001
        "revoked",
    ),
    "its own point": ({"extensions": [scope(full_name=at(URL))]}, "good"),
    "another point": ({"extensions": [scope(full_name=at(URL + "2"))]}, "the list is of another distribution point"),
    "another kind of name": (
        {"extensions": [scope(full_name=[x509.DNSName("crl.example")])]},
        "the list is of another distribution point",
    ),
    "users only": ({"extensions": [scope(only_contains_user_certs=True)]}, "good"),
    "authorities only": ({"extensions": [scope(only_contains_ca_certs=True)]}, "the list is for another kind"),
    "attributes only": ({"extensions": [scope(only_contains_attribute_certs=True)]}, "the list is indirect, or"),
    "indirect": ({"extensions": [scope(indirect_crl=True)]}, "the list is indirect, or"),
    "some reasons": (
        {"extensions": [scope(only_some_reasons=frozenset([Reason.key_compromise]))]},
        "the list is indirect, or for some reasons",
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_a_list_says(name: str) -> None:
    options, expected = LISTS[name]
    found = said(AUTHORITY.crl(**options))
    assert found == expected or (expected not in {"good", "revoked"} and found.startswith(expected)), found


def test_a_list_for_users_says_nothing_of_an_authority() -> None:
    below = StatusAuthority("Below", parent=AUTHORITY)
    assert said(AUTHORITY.crl(extensions=[scope(only_contains_user_certs=True)]), below.certificate).startswith(
        "the list is for another kind"
    )
    assert said(AUTHORITY.crl(extensions=[scope(only_contains_ca_certs=True)]), below.certificate) == "good"


def test_a_certificate_without_basic_constraints_is_a_users() -> None:
    bare = x509.load_der_x509_certificate(LEAF.public_bytes(Encoding.DER))
    assert said(AUTHORITY.crl(extensions=[scope(only_contains_user_certs=True)]), bare) == "good"

    kind = x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"\x30\x7f")
    odd = AUTHORITY.issue(AUTHORITY.name, AUTHORITY.key, [(kind, True)], ca=True)
    found = said(AUTHORITY.crl(extensions=[scope(only_contains_user_certs=True)]), odd)
    assert found.startswith("what the certificate is for cannot be read")


NO_LISTS = {
    "nothing": b"",
    "too short": b"0",
    "text": b"nonsense",
    "end missing": AUTHORITY.crl()[:-20],
    "octet too many": AUTHORITY.crl() + b"x",
    "beginning only": AUTHORITY.crl()[:60],
}


@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_no_list(name: str) -> None:
    with pytest.raises(RevocationError, match="cannot be read"):
        read_list(NO_LISTS[name], AUTHORITY.certificate)


def test_every_changed_octet_is_noticed() -> None:
    good = AUTHORITY.crl({SERIAL: Reason.key_compromise})
    # Before the signature stands how many of its last bits are not used: with one fewer it may still be the same.
    unused = len(good) - len(x509.load_der_x509_crl(good).signature) - 1
    for place in {*range(0, len(good), 7)} - {unused}:
        changed = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        with pytest.raises(RevocationError):
            read_list(changed, AUTHORITY.certificate)


def test_a_list_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_LIST_BYTES", 100)
    assert said(AUTHORITY.crl()) == "the list is larger than 100 bytes"


def test_a_large_list_takes_little_room() -> None:
    entries = {serial * 7 + 2**100: Reason.superseded for serial in range(5000)} | {SERIAL: Reason.ca_compromise}
    found = read_list(AUTHORITY.crl(entries), AUTHORITY.certificate)
    assert len(found) == 5001
    assert found.size < 14 * 5001 + 2000
    assert found.status_of(LEAF, TIME) == RevocationStatus("revoked", TIME + 3600, "cACompromise", REVOKED.timestamp())


@pytest.mark.parametrize(
    "key",
    [rsa_key(), ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()],
    ids=["rsa", "ed25519", "ed448"],
)
def test_keys_of_every_kind(key: Any) -> None:
    authority = StatusAuthority("Authority", key=key)
    leaf = authority.leaf()
    standing = read_list(authority.crl({leaf.serial_number: None}), authority.certificate).status_of(leaf, TIME)
    assert standing.status == "revoked"
    response = authority.response(leaf)
    assert read_response(response, leaf, authority.certificate, TIME).status == "good"


@pytest.mark.parametrize(
    ("crl_sign", "expected"), [(True, "good"), (None, "good"), (False, "CN=CA may not sign lists")]
)
def test_an_authority_must_be_allowed_to_sign_lists(crl_sign: bool | None, expected: str) -> None:
    authority = StatusAuthority("CA", crl_sign=crl_sign)
    leaf = authority.leaf()
    try:
        found = str(read_list(authority.crl(), authority.certificate).status_of(leaf, TIME).status)
    except RevocationError as failure:
        found = str(failure)
    assert found.startswith(expected)


def test_sha_1_proves_nothing() -> None:
    authority = StatusAuthority("Old", key=rsa_key())
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    with pytest.raises(RevocationError, match="it is signed with SHA1"):
        read_list(authority.crl().replace(sha256, sha1), authority.certificate)


DELEGATE, DELEGATE_KEY = AUTHORITY.responder()
FOREIGN, FOREIGN_KEY = SAME_NAME.responder()


def _slow_key() -> rsa.RSAPrivateKey:
    """A key with an exponent of 257 bits or a little more."""
    known = rsa_key().private_numbers()
    phi = (known.p - 1) * (known.q - 1)
    exponent = next(number for number in count((1 << 256) + 1, 2) if gcd(number, phi) == 1)
    private = pow(exponent, -1, phi)
    return rsa.RSAPrivateNumbers(
        known.p,
        known.q,
        private,
        private % (known.p - 1),
        private % (known.q - 1),
        known.iqmp,
        rsa.RSAPublicNumbers(exponent, known.public_numbers.n),
    ).private_key()


SLOW_KEY = _slow_key()
SLOW = AUTHORITY.issue(DELEGATE.subject, SLOW_KEY, [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)])
UNFIT, UNFIT_KEY = AUTHORITY.responder(usages=[ExtendedKeyUsageOID.SERVER_AUTH])
BARE, BARE_KEY = AUTHORITY.responder(usages=())
EXPIRED, EXPIRED_KEY = AUTHORITY.responder(days=(-30, -1))
RESPONSES = {
    "good": ({}, "good"),
    "revoked": ({"status": "revoked", "reason": Reason.key_compromise}, "revoked keyCompromise"),
    "revoked, no reason": ({"status": "revoked"}, "revoked"),
    "revoked, unspecified": ({"status": "revoked", "reason": Reason.unspecified}, "revoked"),
    "unknown": ({"status": "unknown"}, "unknown"),
    "by the hash of the key": ({"by_key": True}, "good"),
    "no nextUpdate": ({"hours": (-1, None)}, "good"),
    "no nextUpdate and old": ({"hours": (-48, None)}, "the OCSP response has expired on"),
    "expired": ({"hours": (-48, -24)}, "the OCSP response has expired on"),
    "of the future": ({"hours": (24, 48)}, "the OCSP response is of the future"),
    "forged": ({"forged": True}, "its signature is not that of CN=Authority"),
    "delegated": ({"signer": DELEGATE_KEY, "responder": DELEGATE}, "good"),
    "delegated, by key": ({"signer": DELEGATE_KEY, "responder": DELEGATE, "by_key": True}, "good"),
    "delegated, not sent along": (
        {"signer": DELEGATE_KEY, "responder": DELEGATE, "attach": False},
        "the OCSP response is signed by neither the issuer nor",
    ),
    "delegated, forged": (
        {"signer": DELEGATE_KEY, "responder": DELEGATE, "forged": True},
        "its signature is not that of CN=responder",
    ),
    "delegated by another": (
        {"signer": FOREIGN_KEY, "responder": FOREIGN},
        "the OCSP responder CN=responder is not of the issuer but of CN=Authority",
    ),
    "a server's certificate": (
        {"signer": UNFIT_KEY, "responder": UNFIT},
        "the OCSP responder CN=responder was not made",
    ),
    "any certificate": ({"signer": BARE_KEY, "responder": BARE}, "the OCSP responder CN=responder was not made"),
    "delegate whose key takes long": (
        {"signer": SLOW_KEY, "responder": SLOW},
        "the OCSP responder CN=responder has an RSA key with an exponent of more than 256 bits",
    ),
    "delegate has expired": ({"signer": EXPIRED_KEY, "responder": EXPIRED}, "the certificate of the OCSP responder"),
    "of another's certificate": ({"issuer": OTHER.certificate}, "the OCSP response is about other certificates"),
    "with a nonce": ({"extensions": [(x509.OCSPNonce(b"12345678"), True)]}, "good"),
    "unknown critical extension": ({"extensions": [(UNKNOWN, True)]}, "the OCSP response has an unknown critical"),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_what_a_response_says(name: str) -> None:
    options, expected = RESPONSES[name]
    try:
        standing = read_response(AUTHORITY.response(LEAF, **options), LEAF, AUTHORITY.certificate, TIME)
        found = f"{standing.status} {standing.reason}".rstrip()
        assert standing.until == (0 if name == "no nextUpdate" else TIME + 3600)
        assert standing.revoked == (REVOKED.timestamp() if standing.status == "revoked" else 0)
    except RevocationError as failure:
        found = str(failure)
    assert found == expected or (" " in expected and found.startswith(expected)), found


def test_a_response_about_another_certificate() -> None:
    other = AUTHORITY.leaf()
    with pytest.raises(RevocationError, match="about other certificates"):
        read_response(AUTHORITY.response(other), LEAF, AUTHORITY.certificate, TIME)


TRY_LATER = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
NO_RESPONSES = {
    "nothing": (b"", "cannot be read"),
    "text": (b"junk", "cannot be read"),
    "beginning only": (AUTHORITY.response(LEAF)[:100], "cannot be read"),
    "too large": (b"0" * 70000, "larger than 65536"),
    "try later": (TRY_LATER.public_bytes(Encoding.DER), "the OCSP responder says try_later"),
}


@pytest.mark.parametrize("name", NO_RESPONSES)
def test_what_is_no_response(name: str) -> None:
    der, words = NO_RESPONSES[name]
    with pytest.raises(RevocationError, match=words):
        read_response(der, LEAF, AUTHORITY.certificate, TIME)


def test_the_question_names_the_certificate() -> None:
    asked = ocsp.load_der_ocsp_request(ocsp_request(LEAF, AUTHORITY.certificate))
    assert asked.serial_number == LEAF.serial_number
    assert isinstance(asked.hash_algorithm, hashes.SHA1)


def point(**fields: Any) -> x509.DistributionPoint:
    standard: dict[str, Any] = {"full_name": None, "relative_name": None, "reasons": None, "crl_issuer": None}
    return x509.DistributionPoint(**standard | fields)


RELATIVE = x509.RelativeDistinguishedName(list(AUTHORITY.name)[:1])
PLACES = {
    "nothing": ([], RevocationUrls((), ())),
    "one": ([point(full_name=at("http://a/"))], RevocationUrls(("http://a/",), ())),
    "spare": ([point(full_name=at("HTTP://a/") + at("http://b/"))], RevocationUrls(("HTTP://a/", "http://b/"), ())),
    "two": (
        [point(full_name=at("http://a/")), point(full_name=at("http://b/"))],
        RevocationUrls(("http://a/", "http://b/"), ()),
    ),
    "ldap": ([point(full_name=at("ldap://a/"))], RevocationUrls((), (), "ldap address")),
    "https": ([point(full_name=at("https://a/"))], RevocationUrls((), (), "https address")),
    "directory name": ([point(full_name=[x509.DirectoryName(OTHER.name)])], RevocationUrls((), ())),
    "relative": ([point(relative_name=RELATIVE)], RevocationUrls((), (), "distribution point without address")),
    "another issuer's": (
        [point(full_name=at("http://a/"), crl_issuer=[x509.DirectoryName(OTHER.name)])],
        RevocationUrls((), (), "list of another issuer or of some reasons only"),
    ),
    "some reasons": (
        [point(full_name=at("http://a/"), reasons=frozenset([Reason.key_compromise]))],
        RevocationUrls((), (), "list of another issuer or of some reasons only"),
    ),
    "many": (
        [point(full_name=at(f"http://{n}/")) for n in range(9)],
        RevocationUrls(tuple(f"http://{n}/" for n in range(4)), ()),
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_the_status_is_published(name: str) -> None:
    points, expected = PLACES[name]
    more = [(x509.CRLDistributionPoints(points), False)] if points else []
    assert published(AUTHORITY.leaf(more=more)) == expected


def test_responders_are_found_among_other_accesses() -> None:
    accesses = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, *at("http://issuers/")),
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, *at("http://ocsp/")),
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, *at("https://ocsp/")),
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.DNSName("ocsp")),
        ]
    )
    assert published(AUTHORITY.leaf(more=[(accesses, False)])) == RevocationUrls((), ("http://ocsp/",), "https address")


def test_distribution_points_that_cannot_be_read() -> None:
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.31"), b"\x30\x03\x02\x01\x01")
    leaf = AUTHORITY.leaf(more=[(broken, False)])
    assert published(leaf) == RevocationUrls((), (), "distribution points that cannot be read")


def test_nothing_of_this_depends_on_the_clock_of_the_machine() -> None:
    later = (NOW + 30 * 24 * HOUR).timestamp()
    assert said(AUTHORITY.crl(hours=(29 * 24, 31 * 24)), now=later) == "good"
