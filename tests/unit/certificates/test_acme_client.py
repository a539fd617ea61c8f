"""What needs no authority; the rest is in `tests/system/test_acme.py`, against Pebble."""

from __future__ import annotations

import datetime as dt
import ssl
from email.utils import format_datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gatepost.certificates.acme_challenges import AcmeFailed
from gatepost.certificates.acme_client import Authority, _seconds, certificate_id

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DAY = dt.timedelta(days=1)


def certificate(serial, issuer_key=b""):
    name, now = x509.Name([]), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(serial).not_valid_before(now).not_valid_after(now + DAY)
    if issuer_key:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key, None, None), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_the_id_of_a_renewed_certificate():
    """The example of RFC 9773 section 4.1."""
    issuer = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_id(certificate(0x87654321, issuer)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert certificate_id(certificate(0x17654321, issuer)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.F2VDIQ"
    assert certificate_id(certificate(0x87654321)) == ""


RETRIES = {"": 0, "120": 120, "-5": 0, "soon": 0, "1.5": 0, "9" * 40: 999999999, "Thu, 01 Jan 1970 00:00:00 GMT": 0}


@pytest.mark.parametrize(("text", "seconds"), RETRIES.items())
def test_retry_after(text, seconds):
    assert _seconds(text) == seconds


def test_retry_after_as_a_date():
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(hours=2), usegmt=True)
    assert 7000 < _seconds(later) < 7300


def authority(url, seconds=20.0):
    return Authority(url, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), KEY_PEM, seconds=seconds)


def test_an_authority_that_is_not_there_is_named():
    url = "https://127.0.0.1:1/directory"
    with pytest.raises(AcmeFailed, match=rf"{url} cannot be reached: .*; is the way out to its port open\?"):
        authority(url)


def test_it_never_leaves_https_and_never_goes_on_for_ever():
    with pytest.raises(AcmeFailed, match="it leads to an address that is not https"):
        authority("http://127.0.0.1:1/directory")
    with pytest.raises(AcmeFailed, match="took too long in all"):
        authority("https://127.0.0.1:1/directory", seconds=-1.0)
