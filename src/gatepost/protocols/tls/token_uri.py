"""The address of a private key in a token: a `pkcs11:` URI (RFC 7512), and the PEM in which OpenSSL takes it.

Read by `net.identity`. Only the attributes that choose a token and a key in it are taken. No PIN stands in a URI: it
would be in settings, pages, histories and process lists.
"""

from __future__ import annotations

import base64
import textwrap
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

SCHEME: Final = "pkcs11:"
_MOST: Final = 1000  # characters of a URI
_LABEL: Final = 32  # octets of what a token says of itself (CK_TOKEN_INFO)
_TOKEN: Final = ("token", "serial", "manufacturer", "model")
_TAKEN: Final = (*_TOKEN, "id", "object")
_PIN: Final = 'the PIN has its place in [pkcs11] pin, such as "file:/etc/gatepost/pin"'
_SHOWN: Final = 60
_TYPE: Final = b"PKCS#11 Provider URI v1.0"
_VISIBLE_STRING, _UTF8_STRING, _SEQUENCE = 0x1A, 0x0C, 0x30


class TokenUriError(ValueError):
    """A URI that does not name one private key; the text says what is wrong and what to write instead."""


class TokenUri(msgspec.Struct, frozen=True):
    """The attributes that choose a token and a private key in it.

    The token by its label, serial number, manufacturer and model, the key by its id and label. Octets,
    as the token has them; b"" for what the URI leaves out.
    """

    token: bytes = b""
    serial: bytes = b""
    manufacturer: bytes = b""
    model: bytes = b""
    id: bytes = b""
    object: bytes = b""

    def __str__(self) -> str:
        """The URI in one form, whatever was written: equal keys have equal texts."""
        attributes = ((name, getattr(self, name)) for name in _TAKEN)
        return SCHEME + ";".join(f"{name}={quote_from_bytes(value, safe='')}" for name, value in attributes if value)


def is_token_uri(text: str) -> bool:
    """Whether a text names a key in a token rather than a file."""
    return text[: len(SCHEME)].lower() == SCHEME


def parse_token_uri(text: str) -> TokenUri:
    """Read a URI (RFC 7512 section 2.3). Raises TokenUriError."""
    if not is_token_uri(text):
        raise TokenUriError(f'the URI of a key in a token begins with "{SCHEME}"')
    if len(text) > _MOST:
        raise TokenUriError(f"the URI is longer than {_MOST} characters")
    path, question, _ = text[len(SCHEME) :].partition("?")
    if question:
        raise TokenUriError(f'write the URI without "?" and what follows: {_PIN}')
    attributes = _attributes(path)
    if attributes.pop("type", b"private") != b"private":
        raise TokenUriError("write type=private, or leave it out: a private key is needed")
    if unknown := next((name for name in attributes if name not in _TAKEN), ""):
        taken = ", ".join(_TAKEN)
        raise TokenUriError(f"the attribute {unknown[:_SHOWN]!r} is not supported; the URI may have {taken}")
    if not attributes.get("token") and not attributes.get("serial"):
        raise TokenUriError("the URI names no token: add token=LABEL or serial=NUMBER")
    if not attributes.get("id") and not attributes.get("object"):
        raise TokenUriError("the URI names no key: add object=LABEL or id=%01 (the CKA_ID, percent-encoded)")
    return TokenUri(**attributes)


def token_pem(uri: TokenUri, pin_file: str = "") -> bytes:
    """The PEM that OpenSSL's provider reads as this key. pin_file: the file that has the PIN, "" if none is needed."""
    source = f"?pin-source=file:{quote_from_bytes(pin_file.encode(), safe='/')}" if pin_file else ""
    content = _tlv(_VISIBLE_STRING, _TYPE) + _tlv(_UTF8_STRING, f"{uri};type=private{source}".encode())
    lines = textwrap.wrap(base64.b64encode(_tlv(_SEQUENCE, content)).decode(), 64)
    text = "\n".join(["-----BEGIN PKCS#11 PROVIDER URI-----", *lines, "-----END PKCS#11 PROVIDER URI-----", ""])
    return text.encode()


def _attributes(path: str) -> dict[str, bytes]:
    attributes: dict[str, bytes] = {}
    for part in filter(None, path.split(";")):
        name, equals, value = part.partition("=")
        if not equals:
            raise TokenUriError(f"{part[:_SHOWN]!r} is not an attribute; write name=value, with ; between")
        if name in attributes:
            raise TokenUriError(f"the attribute {name[:_SHOWN]!r} is written twice")
        attributes[name] = _octets(name[:_SHOWN], value)
    return attributes


def _octets(name: str, value: str) -> bytes:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise TokenUriError(
            f"the attribute {name} has characters that must be percent-encoded, such as %20 for a blank"
        )
    escapes = value.split("%")[1:]
    if any(len(escape) < 2 or not _is_hexadecimal(escape[:2]) for escape in escapes):
        raise TokenUriError(f"the attribute {name} has a % without two hexadecimal digits behind it")
    octets = unquote_to_bytes(value)
    if name in _TOKEN and len(octets) > _LABEL:
        raise TokenUriError(f"the attribute {name} is longer than the {_LABEL} octets that a token has for it")
    return octets


def _is_hexadecimal(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def _tlv(tag: int, content: bytes) -> bytes:
    """An element of DER (X.690); lengths up to 65535."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 128 | len(length)]) + length + content
