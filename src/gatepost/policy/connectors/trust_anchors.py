"""Trust anchors as a resource names them: "system", a path of the gateway's machine, or certificates in PEM.

Used by the models of `connectors`. Certificates in the text of a resource need nothing of the machine, so that tenants
can give their own. That OpenSSL can read them is for `administration` to see when they are saved. Pure.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_BLOCK: Final = re.compile(rf"{_BEGIN}(.*?){_END}", re.DOTALL)
_CHARS: Final = 16 * 1024
_CERTIFICATES: Final = 8
_WIDTH: Final = 64  # RFC 7468 section 2


def is_pem(text: str) -> bool:
    """Whether trust anchors are certificates themselves, and not the name of a place where some are."""
    return "-----BEGIN" in text


def trust_anchors(text: str) -> str:
    """The one form of trust anchors. Raises ValueError.

    Of PEM what stands around the certificates is left out; at most 16 KiB and 8 certificates are taken.
    """
    if not is_pem(text):
        if not text.isprintable():
            raise ValueError(f"{text!r} holds a control character, which no path should")
        if len(text) > 4096:
            raise ValueError("a path has at most 4096 characters")
        return text
    if len(text) > _CHARS:
        raise ValueError(
            f"the certificates have {len(text)} characters, and {_CHARS} are allowed; leave out what is not a root"
        )
    certificates = pem_certificates(text)
    if len(certificates) > _CERTIFICATES:
        raise ValueError(f"there are {len(certificates)} certificates, and at most {_CERTIFICATES} are allowed")
    return "".join(map(_block, certificates))


def pem_certificates(text: str) -> list[bytes]:
    """The certificates in PEM text, DER, in their order. Raises ValueError if something else is in it, or none."""
    if text.count("-----BEGIN") != text.count(_BEGIN) or not (blocks := _BLOCK.findall(text)):
        raise ValueError(f"write certificates only, each from {_BEGIN} to {_END}; never a private key")
    if len(blocks) != text.count(_BEGIN):
        raise ValueError(f"a certificate does not end with {_END}")
    try:
        certificates = [binascii.a2b_base64("".join(block.split()), strict_mode=True) for block in blocks]
    except ValueError:
        raise ValueError("a certificate is not base64 between its first and last line") from None
    if not all(der.startswith(b"0") for der in certificates):  # a SEQUENCE
        raise ValueError("the text between the first and last line is not a certificate")
    return list(dict.fromkeys(certificates))


def anchors_label(text: str) -> str:
    """Trust anchors in a few words: certificates by their SHA-256 fingerprints, all other text as it is."""
    if not is_pem(text):
        return text
    try:
        certificates = pem_certificates(text)
    except ValueError:
        return text
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which few commands need

    return "SHA-256 " + ", ".join(hashlib.sha256(der).hexdigest() for der in certificates)


def _block(der: bytes) -> str:
    text = binascii.b2a_base64(der, newline=False).decode("ascii")
    lines = "\n".join(text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH))
    return f"{_BEGIN}\n{lines}\n{_END}\n"
