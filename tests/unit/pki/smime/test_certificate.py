from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.pki.smime.certificate import addresses, bears, fingerprint, fit, owner_of, unfit_to_encrypt, unfit_to_sign

MAIL, ANY = ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("Ann@B.Example", "ann@b.example"),
        ("B.Example", "b.example"),
        ("Ä@Bücher.example", "ä@xn--bcher-kva.example"),
    ],
)
def test_owners_have_one_form(text: str, owner: str) -> None:
    assert owner_of(text) == owner


@pytest.mark.parametrize("text", ["", "a b@c.example", "@c.example", "no domain"])
def test_what_is_no_owner(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        owner_of(text)


@pytest.mark.parametrize(
    ("fields", "encrypt", "sign"),
    [
        ({}, "", ""),
        ({"extended": MAIL, "usages": "key_encipherment"}, "", "is not for signatures (key usage)"),
        ({"extended": ANY, "usages": "digital_signature"}, "is not for encryption (key usage)", ""),
        ({"usages": "content_commitment"}, "is not for encryption (key usage)", ""),
        ({"extended": SERVER}, "is not for mail (extended key usage)", "is not for mail (extended key usage)"),
        ({"days": (-9, -1)}, "expired on 2026-09-20", "expired on 2026-09-20"),
        ({"days": (1, 9)}, "is not valid before 2026-09-22", "is not valid before 2026-09-22"),
        ({"key": "rsa1024"}, "has a weak key (RSA-1024)", "has a weak key (RSA-1024)"),
        ({"key": "p192"}, "has a weak key (EC-secp192r1)", "has a weak key (EC-secp192r1)"),
        ({"key": "brainpool"}, "", ""),
        ({"key": "p256", "usages": "key_agreement"}, "", "is not for signatures (key usage)"),
        ({"key": "p256", "usages": "key_encipherment"}, "is not for encryption (key usage)", "is not for signatures"),
        ({"key": "ed25519"}, "has a key of an unsupported kind", "has a key of an unsupported kind"),
    ],
)
def test_what_a_certificate_is_good_for(make: Any, now: float, fields: dict[str, Any], encrypt: str, sign: str) -> None:
    certificate = make(**fields).certificate
    for found, wanted in ((unfit_to_encrypt(certificate, now), encrypt), (unfit_to_sign(certificate, now), sign)):
        assert found.startswith(wanted)
        assert bool(found) is bool(wanted)


def test_those_that_are_fit(make: Any, now: float) -> None:
    good, bad = make().certificate, make(days=(-9, -1)).certificate
    assert fit([good, bad], now) == ([good], [f"certificate {fingerprint(bad)[:16]} expired on 2026-09-20"])


def test_the_addresses_it_bears(make: Any) -> None:
    subject = [(NameOID.COMMON_NAME, "x"), (NameOID.EMAIL_ADDRESS, "Two@P.example")]
    names = [x509.RFC822Name("ann@p.example"), x509.RFC822Name("ann@p.example"), x509.DNSName("gw.p.example")]
    certificate = make(names=names, subject=subject).certificate
    assert addresses(certificate) == ("ann@p.example", "two@p.example")
    assert addresses(make(names=[]).certificate) == ()
    assert addresses(make(names=[], subject=[(NameOID.EMAIL_ADDRESS, "nobody")]).certificate) == ()
    for owner, yes in {
        "ann@p.example": True,
        "bob@p.example": False,
        "p.example": True,
        "gw.p.example": True,
        "example": False,
        "q.example": False,
    }.items():
        assert bears(certificate, owner) is yes, owner
