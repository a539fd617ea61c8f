"""Certificates out of files as administrators have them."""

from __future__ import annotations

import base64
import subprocess
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12
from cryptography.x509 import CertificateSigningRequestBuilder, Name
from hypothesis import given
from hypothesis import strategies as st
from support.chains import Made, pem, server
from support.status_authority import StatusAuthority

from gatepost.analysis.checks.chain_file import ChainFileError, parse_file, read_file

ROOT = StatusAuthority("Root")
INTERMEDIATE = StatusAuthority("Intermediate", parent=ROOT)
LEAF = server(INTERMEDIATE)
PEM = pem(LEAF.certificate, INTERMEDIATE.certificate)
DERS = (LEAF.der, INTERMEDIATE.certificate.public_bytes(Encoding.DER))
BUNDLE = pkcs7.serialize_certificates([LEAF.certificate, INTERMEDIATE.certificate], Encoding.DER)
REQUEST = CertificateSigningRequestBuilder(subject_name=Name([])).sign(LEAF.key, hashes.SHA256())
PFX = pkcs12.serialize_key_and_certificates(
    b"mx", LEAF.key, LEAF.certificate, None, serialization.BestAvailableEncryption(b"secret")
)


@pytest.mark.parametrize(
    ("content", "form", "has_key"),
    [
        (PEM, "PEM", False),
        (PEM.replace(b"\n", b"\r\n"), "PEM", False),
        (PEM.replace(b"\n", b"\r"), "PEM", False),
        (b"subject=CN = mx1\nissuer=CN = x\n" + PEM + b"\n\n trailing", "PEM", False),
        (b"\xef\xbb\xbf" + PEM, "PEM", False),
        (PEM.decode().encode("utf-16"), "PEM", False),
        (LEAF.key_pem + PEM, "PEM", True),
        (PEM.replace(b"CERTIFICATE", b"X509 CERTIFICATE"), "PEM", False),
        (BUNDLE, "PKCS#7", False),
        (b"-----BEGIN PKCS7-----\n" + base64.encodebytes(BUNDLE) + b"-----END PKCS7-----\n", "PKCS#7", False),
    ],
)
def test_what_is_read(content, form, has_key):
    file = parse_file(content, "chain.pem")
    assert (file.form, file.has_key, set(file.certificates)) == (form, has_key, set(DERS))


def test_order_and_repetitions_are_kept():
    assert parse_file(PEM + PEM, "x").certificates == DERS * 2
    assert parse_file(LEAF.der, "x").certificates == DERS[:1]
    assert parse_file(LEAF.der, "x").form == "DER"


def test_a_certificate_with_notes_of_openssl(tmp_path):
    (tmp_path / "plain.pem").write_bytes(LEAF.pem)
    command = ["openssl", "x509", "-in", "plain.pem", "-trustout", "-addtrust", "serverAuth", "-out", "t.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    assert b"TRUSTED CERTIFICATE" in (tmp_path / "t.pem").read_bytes()
    assert read_file(tmp_path / "t.pem").certificates == (LEAF.der,)


WRONG = [
    (b"", "x: the file is empty"),
    (b" \r\n", "x: the file is empty"),
    (b"hello", "x: neither PEM (-----BEGIN CERTIFICATE-----) nor DER nor PKCS#7; name a file of certificates"),
    (LEAF.key_pem, "x: a private key without a certificate; name the certificate here, and this file as its key"),
    (REQUEST.public_bytes(Encoding.PEM), "x: a request for a certificate (CSR), not a certificate; name the file"),
    (PFX, "x: PKCS#12 (.pfx, .p12), which holds a private key under a password; take the certificates out: openssl"),
    (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----", "x: no certificate in it but X509 CRL; a file with"),
    (PEM[:-10], "does not end: the file was cut off"),
    (PEM[: len(LEAF.pem) - 20] + b"\n" + PEM, "x: the block that begins in line 1 does not end"),
    (b"\n" + LEAF.pem + b"-----BEGIN CERTIFICATE-----\n" * 300_000, "does not end"),
    (
        b"\n\n-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
        "x: the block that begins in line 3 is not base64",
    ),
    (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "x: certificate 1 of 1: it is not an X.509"),
    (b"0\x82\x01\x00abc", "x: neither a certificate (DER) nor a PKCS#7 bundle that can be read: "),
    (b"0", "x: neither a certificate (DER) nor"),
    (LEAF.der[:-1], "x: neither a certificate (DER) nor"),
    (b" " * (16 * 1024 * 1024 + 1), "x: larger than 16777216 bytes"),
    (LEAF.pem * 2001, "x: more than 2000 certificates"),
]


@pytest.mark.parametrize(("content", "text"), WRONG, ids=[text[:40] for _, text in WRONG])
def test_what_cannot_be_read(content, text):
    with pytest.raises(ChainFileError) as caught:
        parse_file(content, "x")
    assert text in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ChainFileError, match=why):
            read_file(path)


def test_the_key_is_not_shown():
    assert "PRIVATE" not in repr(parse_file(LEAF.key_pem + PEM, "x"))
    assert isinstance(LEAF, Made)


@given(st.binary(max_size=200), st.sampled_from([b"", b"0\x82", b"-----BEGIN CERTIFICATE-----\n", b"\xff\xfe"]))
def test_nothing_but_the_one_error(content, start):
    with suppress(ChainFileError):
        parse_file(start + content, "x")
