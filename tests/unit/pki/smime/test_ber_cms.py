from __future__ import annotations

from typing import Any

import pytest

from gatepost.pki.smime.ber import issuer_of, oid, shared_info


@pytest.mark.parametrize(
    ("dotted", "octets"),
    [("1.2.840.113549.1.7.3", "2a864886f70d010703"), ("2.16.840.1.101.3.4.1.42", "60864801650304012a"), ("1.3", "2b")],
)
def test_object_identifiers(dotted: str, octets: str) -> None:
    assert oid(dotted).hex() == octets


def test_the_issuer_is_named_octet_for_octet(make: Any) -> None:
    certificate = make().certificate
    assert issuer_of(certificate) == certificate.issuer.public_bytes()
    assert "Müller CA".encode() in issuer_of(certificate)


def test_shared_info_has_the_length_in_bits() -> None:
    assert shared_info(b"\x30\0", 32).hex() == "300a3000a206040400000100"
    assert shared_info(b"\x30\0", 16, b"u").hex() == "300f3000a003040175a206040400000080"
