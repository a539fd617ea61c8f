from __future__ import annotations

import base64
import hashlib

import pytest

from gatepost.policy.connectors.trust_anchors import anchors_label, is_pem, pem_certificates, trust_anchors

DER = b"0\x82" + bytes(range(200))
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def pem(der, line=76):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at : at + line] for at in range(0, len(text), line))
    return f"{BEGIN}\n{lines}\n{END}\n"


@pytest.mark.parametrize("text", ["", "system", "/etc/roots.pem", "roots/"])
def test_a_name_stays_as_it_is(text):
    assert trust_anchors(text) == anchors_label(text) == text
    assert not is_pem(text)


@pytest.mark.parametrize(
    "text",
    [
        pem(DER),
        pem(DER).replace("\n", "\r\n"),
        pem(DER).replace("\n", ""),  # as a field of one line in a browser makes it
        f"subject=CN = Root\n{pem(DER)}bag\n{pem(DER)}",
    ],
)
def test_certificates_come_to_one_form(text):
    assert trust_anchors(text) == pem(DER, 64)
    assert pem_certificates(text) == [DER]
    assert trust_anchors(trust_anchors(text)) == trust_anchors(text)


def test_several_keep_their_order():
    other = DER + b"x"
    assert pem_certificates(trust_anchors(pem(other) + pem(DER))) == [other, DER]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/etc/\nroots", "control character"),
        ("x" * 4097, "4096"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "never a private key"),
        (pem(DER) + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "never a private key"),
        (BEGIN, "certificates only"),
        (pem(DER) + BEGIN, "does not end"),
        (f"{BEGIN}\n!!!!\n{END}", "not base64"),
        (f"{BEGIN}\nAAAA\n{END}", "not a certificate"),
        (f"{BEGIN}\n{END}", "not a certificate"),
        (pem(b"0" * 20000), "characters"),
        ("".join(pem(DER + bytes([n])) for n in range(9)), "9 certificates"),
    ],
)
def test_what_is_not_taken(text, why):
    with pytest.raises(ValueError, match=why):
        trust_anchors(text)


def test_certificates_are_shown_by_their_fingerprints():
    assert anchors_label(pem(DER)) == f"SHA-256 {hashlib.sha256(DER).hexdigest()}"
    assert anchors_label("see -----BEGIN something") == "see -----BEGIN something"
