"""Tests of the address of a private key in a token."""

from __future__ import annotations

import base64

import pytest

from gatepost.protocols.tls.token_uri import TokenUri, TokenUriError, is_token_uri, parse_token_uri, token_pem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pkcs11:token=gw;object=mx", TokenUri(token=b"gw", object=b"mx")),
        ("PKCS11:object=mx;type=private;token=gw;", TokenUri(token=b"gw", object=b"mx")),
        ("pkcs11:serial=01ab;id=%01%FF", TokenUri(serial=b"01ab", id=b"\x01\xff")),
        (
            "pkcs11:model=SoftHSM%20v2;manufacturer=a%3Bb;token=mx%20gateway;id=a",
            TokenUri(token=b"mx gateway", manufacturer=b"a;b", model=b"SoftHSM v2", id=b"a"),
        ),
    ],
)
def test_a_uri_names_token_and_key(text: str, expected: TokenUri) -> None:
    parsed = parse_token_uri(text)
    assert parsed == expected
    assert parse_token_uri(str(parsed)) == parsed


def test_equal_keys_have_one_text() -> None:
    assert str(parse_token_uri("pkcs11:object=m%78;token=a%20b")) == "pkcs11:token=a%20b;object=mx"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file:/key.pem", 'begins with "pkcs11:"'),
        ("pkcs11:" + "a" * 1000, "longer than 1000"),
        ("pkcs11:token=gw;object=mx?pin-value=1234", "the PIN has its place in"),
        ("pkcs11:token=gw;object=mx?", "the PIN has its place in"),
        ("pkcs11:token=gw;mx", "'mx' is not an attribute"),
        ("pkcs11:token=gw;token=other;object=mx", "written twice"),
        ("pkcs11:token=gw;object=mx;type=public", "write type=private"),
        ("pkcs11:token=gw;object=mx;slot-id=1", "'slot-id' is not supported"),
        ("pkcs11:object=mx", "names no token"),
        ("pkcs11:token=;object=mx", "names no token"),
        ("pkcs11:token=gw", "names no key"),
        ("pkcs11:token=my gw;object=mx", "percent-encoded"),
        ("pkcs11:token=gw;object=m\u00fc", "percent-encoded"),
        ("pkcs11:token=gw;object=m\n", "percent-encoded"),
        ("pkcs11:token=gw;object=100%", "without two hexadecimal digits"),
        ("pkcs11:token=gw;object=%zz", "without two hexadecimal digits"),
        (f"pkcs11:token={'a' * 33};object=mx", "longer than the 32 octets"),
    ],
)
def test_what_names_no_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(TokenUriError, match=why):
        parse_token_uri(text)


def test_a_pin_in_a_uri_is_not_repeated() -> None:
    with pytest.raises(TokenUriError) as refused:
        parse_token_uri("pkcs11:token=gw;object=mx?pin-value=4711")
    assert "4711" not in str(refused.value)


def test_a_file_is_no_uri() -> None:
    assert is_token_uri("PKCS11:token=a")
    assert not is_token_uri("/etc/pkcs11:key")
    assert not is_token_uri("")


@pytest.mark.parametrize("pin_file", ["", "/etc/gate post/pin", "/" + "x" * 60, "/" + "x" * 250])
def test_the_pem_holds_the_uri_and_where_the_pin_is(pin_file: str) -> None:
    lines = token_pem(TokenUri(token=b"gw", object=b"mx"), pin_file).decode().splitlines()
    assert lines[0] == "-----BEGIN PKCS#11 PROVIDER URI-----"
    assert lines[-1] == "-----END PKCS#11 PROVIDER URI-----"
    assert all(len(line) <= 64 for line in lines)
    der = base64.b64decode("".join(lines[1:-1]))
    uri = b"pkcs11:token=gw;object=mx;type=private"
    uri += b"?pin-source=file:" + pin_file.replace(" ", "%20").encode() if pin_file else b""
    assert der.endswith(uri)
    assert b"\x1a\x19PKCS#11 Provider URI v1.0\x0c" in der
    # The outer length covers all that follows.
    size, start = (der[1], 2) if der[1] < 128 else (int.from_bytes(der[2 : 2 + (der[1] & 127)]), 2 + (der[1] & 127))
    assert (der[0], size) == (0x30, len(der) - start)
