from __future__ import annotations

import time
from hashlib import pbkdf2_hmac
from threading import Event, Thread

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, load_pem_private_key, pkcs12
from cryptography.x509 import load_pem_x509_certificates

from gatepost.analysis.checks.pkcs12_file import Pkcs12Error, TooSlow, open_pkcs12
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.smime import ber

CHAIN, KEY = Authority("A root").issue(["mx.a.example"])
WORD = b"geheim"
SALT, IV = b"s" * 8, b"i" * 16


def sequence(*parts):
    return ber.write(ber.SEQUENCE, *parts)


def oid(text):
    return ber.write(ber.OID, ber.oid(text))


def integer(number):
    return ber.write(ber.INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def octets(content):
    return ber.write(ber.OCTET_STRING, content)


def sealing(rounds):
    """PBES2 (RFC 8018 appendix A.4) by PBKDF2 with HMAC-SHA-256 and AES-256-CBC."""
    prf = sequence(oid("1.2.840.113549.2.9"), b"\5\0")
    derivation = sequence(oid("1.2.840.113549.1.5.12"), sequence(octets(SALT), integer(rounds), prf))
    cipher = sequence(oid("2.16.840.1.101.3.4.1.42"), octets(IV))
    return sequence(oid("1.2.840.113549.1.5.13"), sequence(derivation, cipher))


def with_hidden(rounds):
    """A file whose encrypted part, of one round, has a key that takes `rounds` (RFC 7292 section 4)."""
    key = sequence(sealing(rounds), octets(b"x" * 64))
    inner = sequence(sequence(oid("1.2.840.113549.1.12.10.1.2"), ber.write(0xA0, key)))
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(pbkdf2_hmac("sha256", WORD, SALT, 1, 32)), modes.CBC(IV)).encryptor()
    sealed = encryptor.update(padder.update(inner) + padder.finalize())
    content = sequence(oid("1.2.840.113549.1.7.1"), sealing(1), ber.write(0x80, sealed))
    part = sequence(oid("1.2.840.113549.1.7.6"), ber.write(0xA0, sequence(integer(0), content)))
    whole = sequence(oid("1.2.840.113549.1.7.1"), ber.write(0xA0, octets(sequence(part))))
    return sequence(integer(3), whole)


def test_what_is_in_a_file_comes_out():
    leaf, *others = load_pem_x509_certificates(CHAIN)
    key = load_pem_private_key(KEY, None)
    made = pkcs12.serialize_key_and_certificates(b"x", key, leaf, others, BestAvailableEncryption(WORD))
    certificates = [certificate.public_bytes(Encoding.DER) for certificate in (leaf, *others)]
    assert open_pkcs12(made, WORD) == (certificates, KEY)
    for wrong in (b"wrong", None):
        with pytest.raises(Pkcs12Error, match="password"):
            open_pkcs12(made, wrong)


def test_rounds_that_nobody_sees_take_a_second_and_hold_no_other_thread():
    gaps, over = [], Event()

    def watch():
        before = time.monotonic()
        while not over.wait(0.02):
            gaps.append(time.monotonic() - before)
            before = time.monotonic()

    watcher = Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(TooSlow):
            open_pkcs12(with_hidden(2**31 - 1), WORD, cpu_seconds=1)
    finally:
        over.set()
        watcher.join()
    assert len(gaps) > 10  # in a second or more; before, there was none


def test_hidden_rounds_that_are_usual_are_tried():
    with pytest.raises(Pkcs12Error, match="password"):
        open_pkcs12(with_hidden(2048), WORD)
