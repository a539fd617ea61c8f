from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.tls.profile import PROFILES
from gatepost.protocols.tls.signature import SCHEMES, offered_schemes, scheme_name, served_scheme

ORDER = PROFILES["legacy"].signature_algorithms


def vector(width, data):
    return len(data).to_bytes(width) + data


def extension(kind, data):
    return kind.to_bytes(2) + vector(2, data)


def signature_algorithms(*codes):
    return extension(13, vector(2, b"".join(code.to_bytes(2) for code in codes)))


def hello(extensions, *, record=16384, suites=b"\x13\x01", session=b"s" * 32):
    body = b"\x03\x03" + b"r" * 32 + vector(1, session) + vector(2, suites) + vector(1, b"\x00")
    if extensions is not None:
        body += vector(2, extensions)
    message = b"\x01" + vector(3, body)
    return b"".join(
        b"\x16\x03\x01" + vector(2, message[start : start + record]) for start in range(0, len(message), record)
    )


SERVER_NAME = extension(0, vector(2, b"\x00" + vector(2, b"mail.b.example")))


@pytest.mark.parametrize("record", [1, 7, 16384])
@pytest.mark.parametrize("session", [b"", b"s" * 32])
def test_the_list_is_found_however_the_message_is_cut(record, session):
    stream = hello(SERVER_NAME + signature_algorithms(0x0403, 0x0804), record=record, session=session)
    assert offered_schemes(stream) == (0x0403, 0x0804)
    assert offered_schemes(stream + b"\x14\x03\x03\x00\x01\x01") == (0x0403, 0x0804)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\x16",
        b"EHLO client.example\r\n",
        hello(None),
        hello(b""),
        hello(SERVER_NAME),
        hello(signature_algorithms()),
        hello(extension(13, b"")),
        b"\x16\x03\x01" + vector(2, b"\x02" + vector(3, b"x" * 80)),  # a ServerHello
        b"\x16\x03\x01" + vector(2, b"\x01\x00"),
        hello(signature_algorithms(0x0403))[:-1],
        b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, b"\x03\x03")),
    ],
    ids=range(12),
)
def test_what_is_not_there_is_not_found(stream):
    assert offered_schemes(stream) == ()


def test_a_list_of_odd_length_gives_its_whole_part():
    assert offered_schemes(hello(extension(13, vector(2, b"\x04\x03\x08")))) == (0x0403,)


def test_an_endless_client_hello_is_given_up():
    body = b"\x03\x03" + b"r" * 32 + vector(1, b"") + vector(2, b"\x13\x01" * 32000) + vector(1, b"\x00")
    body += vector(2, signature_algorithms(0x0403))
    parts = [b"\x01" + vector(3, body)[:16000], *(vector(3, body)[i : i + 16000] for i in range(16000, 90000, 16000))]
    assert offered_schemes(b"".join(b"\x16\x03\x01" + vector(2, part) for part in parts)) == (0x0403,)
    body += b"\x00" * 40000
    message = b"\x01" + vector(3, body)
    assert (
        offered_schemes(b"".join(b"\x16\x03\x01" + vector(2, message[i : i + 16000]) for i in range(0, 120000, 16000)))
        == ()
    )


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_raise(noise, cut):
    stream = hello(SERVER_NAME + signature_algorithms(0x0403, 0x0804))
    offered_schemes(noise)
    offered_schemes(stream[:cut] + noise + stream[cut:])


@pytest.mark.parametrize(
    ("version", "key", "offered", "expected"),
    [
        ("TLSv1.3", "EC-P-256", (), "ecdsa_secp256r1_sha256"),
        ("TLSv1.3", "EC-P-384", (), "ecdsa_secp384r1_sha384"),
        ("TLSv1.3", "EC-P-521", (), "ecdsa_secp521r1_sha512"),
        ("TLSv1.3", "Ed25519", (), "ed25519"),
        ("TLSv1.2", "Ed448", (), "ed448"),
        ("TLSv1.2", "EC-P-384", (0x0503, 0x0403), "ecdsa_secp256r1_sha256"),
        ("TLSv1.2", "EC-P-256", (0x0603,), "ecdsa_secp521r1_sha512"),
        ("TLSv1.3", "RSA-2048", (0x0403, 0x0806, 0x0805), "rsa_pss_rsae_sha384"),
        ("TLSv1.3", "RSA-2048", (0x0401,), ""),
        ("TLSv1.2", "RSA-2048", (0x0401, 0x0501), "rsa_pkcs1_sha256"),
        ("TLSv1.2", "RSA-2048", (0x0401, 0x0804), "rsa_pss_rsae_sha256"),
        ("TLSv1.2", "RSA-2048", (0x0201,), "rsa_pkcs1_sha1"),
        ("TLSv1.2", "RSA-2048", (), ""),
        ("TLSv1.3", "RSA-PSS-2048", (0x080A,), "rsa_pss_pss_sha384"),
        ("TLSv1.1", "RSA-2048", (0x0401,), ""),
        ("TLSv1.0", "EC-P-256", (0x0403,), ""),
        ("TLSv1.3", "unknown", (0x0403,), ""),
    ],
)
def test_the_first_of_our_order_that_the_client_offers_and_the_key_can_do(version, key, offered, expected):
    stream = hello(signature_algorithms(*offered))
    assert served_scheme(stream, version=version, key=key, order=ORDER) == expected


def test_names_and_codes_are_one_to_one():
    assert len(set(SCHEMES.values())) == len(SCHEMES)
    assert all(scheme_name(code) == name for name, code in SCHEMES.items())
    assert scheme_name(0x0A0B) == "0x0a0b"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_scheme_of_a_profile_is_known(profile):
    assert set(profile.signature_algorithms.split(":")) <= set(SCHEMES)
