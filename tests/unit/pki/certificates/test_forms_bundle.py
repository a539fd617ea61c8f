"""Bundles as OpenSSL reads them."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from support.table_scene import INTERMEDIATE, OLD_ROOT, ROOT, der

from gatepost.pki.certificates.forms import bundle_version, p7b, pem

ALL = [ROOT, INTERMEDIATE, OLD_ROOT]
DERS = [der(one) for one in ALL]


def thumbprints(certificates):
    return {one.fingerprint(hashes.SHA256()) for one in certificates}


@pytest.mark.parametrize("armoured", [False, True])
def test_openssl_reads_what_is_in_it(armoured):
    form = "PEM" if armoured else "DER"
    command = ["openssl", "pkcs7", "-print_certs", "-inform", form]
    done = subprocess.run(command, input=p7b(DERS, armoured=armoured), check=True, capture_output=True, timeout=30)
    assert thumbprints(x509.load_pem_x509_certificates(done.stdout)) == thumbprints(one.certificate for one in ALL)


def test_plain_pem_says_who_each_is():
    text = pem(DERS)
    assert [one.certificate for one in ALL] == x509.load_pem_x509_certificates(text)
    assert text.startswith(b"# CN=Test Root R1\n-----BEGIN CERTIFICATE-----\n")


def test_a_set_is_named_whatever_its_order():
    assert bundle_version(DERS) == bundle_version(DERS[::-1])
    assert bundle_version(DERS) != bundle_version(DERS[:2])
    assert len(bundle_version([])) == 16
