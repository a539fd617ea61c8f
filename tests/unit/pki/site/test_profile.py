"""Certificates of a site as OpenSSL sees them: strict verification, and the text of each."""

from __future__ import annotations

import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from support.rsa_keys import rsa_key

from gatepost.pki.certificates.authority import Authority, key_pem
from gatepost.pki.site.profile import (
    Signer,
    authority_certificate,
    endpoint_name,
    is_site_name,
    node_name,
    sign_endpoint,
    sign_node,
    sign_server,
    site_of,
)

SITE, NODE, WEEK = "contoso-site", "mx2.contoso.example", 7 * 86400.0
LIMITS = ("contoso.example", "hq.example")


def made(domains=(), now=None):
    key, now = ec.generate_private_key(ec.SECP256R1()), time.time() if now is None else now
    pem = authority_certificate(SITE, domains, key, now)
    return pem, Signer(x509.load_pem_x509_certificate(pem), key, now)


@pytest.fixture(scope="module", params=[(), LIMITS], ids=["any name", "limited"])
def root(request):
    return made(request.param)


def der(pem):
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def public():
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def verify(tmp_path, root_pem, leaf, *options):
    (tmp_path / "root.pem").write_bytes(root_pem)
    (tmp_path / "leaf.pem").write_bytes(leaf)
    argv = ["openssl", "verify", "-x509_strict", *options, "-CAfile", tmp_path / "root.pem", tmp_path / "leaf.pem"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def text(pem):
    argv = ["openssl", "x509", "-noout", "-text"]
    return subprocess.run(argv, input=pem, capture_output=True, check=True).stdout.decode()


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_each_kind_passes_the_strict_check_for_both_ends(root, tmp_path, purpose):
    root_pem, signer = root
    leaves = [
        sign_node(signer, SITE, NODE, public(), WEEK),
        sign_endpoint(signer, SITE, "mx1.contoso.example", public(), WEEK),
        sign_server(signer, ["exch.contoso.example", "hq.example"], public(), WEEK),
        sign_server(signer, ["exch.hq.example"], rsa_key().public_key(), WEEK),
    ]
    for leaf in leaves:
        assert verify(tmp_path, root_pem, leaf, "-purpose", purpose) == f"{tmp_path}/leaf.pem: OK\n"
    assert verify(tmp_path, root_pem, leaves[0], "-verify_hostname", NODE).endswith("OK\n")


def test_a_root_as_openssl_shows_it(root):
    shown = text(root[0])
    assert "Issuer: O=contoso-site, CN=contoso-site CA" in shown
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0" in shown
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign" in shown
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in shown
    limited = "Permitted:\n                  DNS:contoso.example\n                  DNS:hq.example" in shown
    assert limited == ("Name Constraints" in shown)
    years = root[1].certificate.not_valid_after_utc - root[1].certificate.not_valid_before_utc
    assert 3649 < years.days < 3652


def test_a_node_as_openssl_shows_it(root):
    shown = text(sign_node(root[1], SITE, NODE, public(), WEEK))
    assert f"Subject: O={SITE}, CN={NODE}" in shown
    assert f"DNS:{NODE}, URI:spiffe://{SITE}/node/{NODE}" in shown
    assert "CA:FALSE" in shown
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in shown


def test_an_rsa_key_may_encipher_keys_too(root):
    leaf = sign_server(root[1], ["x.hq.example"], rsa_key().public_key(), WEEK)
    assert "Digital Signature, Key Encipherment" in text(leaf)


def test_a_limited_root_vouches_for_no_other_name(tmp_path):
    root_pem, signer = made(LIMITS)
    for name in ("www.bank.example", "contoso.example.evil.example", "192.0.2.1"):
        leaf = sign_server(signer, [name], public(), WEEK)
        assert "permitted subtree violation" in verify(tmp_path, root_pem, leaf) or name == "192.0.2.1"
        assert "OK" not in verify(tmp_path, root_pem, leaf)


def test_nothing_below_it_may_sign(tmp_path):
    root_pem, signer = made()
    below = ec.generate_private_key(ec.SECP256R1())
    leaf = sign_node(signer, SITE, NODE, below.public_key(), WEEK)
    false = Signer(x509.load_pem_x509_certificate(leaf), below, signer.now)
    forged = sign_server(false, ["www.contoso.example"], public(), WEEK)
    (tmp_path / "chain.pem").write_bytes(leaf)
    assert "OK" not in verify(tmp_path, root_pem, forged, "-untrusted", tmp_path / "chain.pem")


def test_no_certificate_outlives_its_root():
    _, signer = made(now=1_700_000_000.0)
    late = Signer(signer.certificate, signer.key, signer.now + 3649.5 * 86400)
    leaf = x509.load_pem_x509_certificate(sign_node(late, SITE, NODE, public(), WEEK))
    assert leaf.not_valid_after_utc == signer.certificate.not_valid_after_utc
    first = x509.load_pem_x509_certificate(sign_node(signer, SITE, NODE, public(), WEEK))
    assert first.not_valid_before_utc == signer.certificate.not_valid_before_utc
    assert first.not_valid_after_utc.timestamp() == 1_700_000_000 + WEEK


def test_whom_a_certificate_names():
    _, signer = made()
    assert site_of(der(sign_node(signer, SITE, NODE, public(), WEEK))) == (SITE, f"node/{NODE}")
    assert site_of(der(sign_endpoint(signer, SITE, NODE, public(), WEEK))) == (SITE, "authority")
    assert (node_name(SITE, NODE), endpoint_name(SITE)) == (
        f"spiffe://{SITE}/node/{NODE}",
        f"spiffe://{SITE}/authority",
    )


def uris(*names):
    """A certificate that names these, from no authority of ours."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(key.public_key()).serial_number(1)
    root = made()[1].certificate
    builder = builder.not_valid_before(root.not_valid_before_utc).not_valid_after(root.not_valid_after_utc)
    alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(one) for one in names])
    return builder.add_extension(alternative, critical=True).sign(key, SHA256())


@pytest.mark.parametrize(
    "names",
    [
        ("https://contoso-site/node/x",),
        ("spiffe://contoso-site",),
        ("spiffe://contoso-site/",),
        ("spiffe:///node/x",),
        ("spiffe://Contoso/node/x",),
        ("spiffe://contoso-site/node/x", "spiffe://contoso-site/authority"),
        ("spiffe://user@contoso-site/node/x",),
        ("spiffe://contoso-site:8444/node/x",),
    ],
)
def test_what_names_nobody(names):
    assert site_of(uris(*names).public_bytes(Encoding.DER)) == ("", "")


def test_certificates_of_others_name_nobody():
    assert site_of(der(sign_server(made()[1], [NODE], public(), WEEK))) == ("", "")
    assert site_of(der(Authority("Other").certificate_pem)) == ("", "")
    assert site_of(b"no certificate") == ("", "")


NAMES = [
    ("contoso-site", True),
    ("a", True),
    ("contoso.example", True),
    ("9", True),
    ("a" * 63, True),
    ("a" * 64, False),
    ("", False),
    ("-a", False),
    ("a-", False),
    ("Contoso", False),
    ("a b", False),
    ("a/b", False),
    ("a_b", False),
    ("ä", False),
    ("a\n", False),
]


@pytest.mark.parametrize(("name", "good"), NAMES)
def test_what_a_site_may_be_called(name, good):
    assert is_site_name(name) is good


def test_a_key_is_pem():
    key = ec.generate_private_key(ec.SECP256R1())
    assert key_pem(key).startswith(b"-----BEGIN PRIVATE KEY-----")
