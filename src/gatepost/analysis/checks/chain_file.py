"""Read certificates from a file: PEM in any order, DER, PKCS#7 (.p7b), with any line ends.

Used by `analysis.checks.chain` and `analysis.checks.roots`, also for what an authority serves as its certificate. A
gateway's own files are read more strictly (`pki.certificates.files`). Bytes in, a value or one error out that says what
to do.

The private key is read here, too: its public half alone leaves this module, and who may read the file.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gatepost.net.certificate import MALFORMED, CertificateError, parse, quietly
from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cryptography import x509


_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_CERTIFICATES: Final = 2000
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_CERTIFICATE: Final = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_TRUSTED: Final = b"TRUSTED CERTIFICATE"
_PKCS7: Final = frozenset({b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA"})
_REQUEST: Final = frozenset({b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"})
_MARKS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}

type Form = Literal["PEM", "DER", "PKCS#7"]


class ChainFileError(ValueError):
    """A file that no certificate can be taken from; the text says which, where, why, and what to do."""


class CertificateFile(RedactedStruct, frozen=True):
    """The content of a file.

    certificates: DER, in its order, repetitions included. has_key: it has a private key too.
    """

    REDACTED = ("certificates",)

    source: str
    form: Form
    certificates: tuple[bytes, ...]
    has_key: bool = False


def read_file(path: Path) -> CertificateFile:
    """The certificates of a file of at most 16 MiB. Raises ChainFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as failure:
        raise ChainFileError(f"{path}: {failure.strerror}") from failure
    return parse_file(content, str(path))


def parse_file(content: bytes, source: str) -> CertificateFile:
    """The certificates in `content`. source: what it is called in the text of an error. Raises ChainFileError."""
    if len(content) > _MAX_BYTES:
        raise ChainFileError(f"{source}: larger than {_MAX_BYTES} bytes; a file of certificates is expected")
    text = _plain(content)
    file = _from_pem(text, source) if _BEGIN.search(text) else _from_der(content, source)
    if len(file.certificates) > _MAX_CERTIFICATES:
        raise ChainFileError(f"{source}: more than {_MAX_CERTIFICATES} certificates; divide the file")
    for number, der in enumerate(file.certificates, 1):
        try:
            parse(der)
        except CertificateError as failure:
            many = len(file.certificates)
            raise ChainFileError(
                f"{source}: certificate {number} of {many}: {failure}; get this one again from its authority"
            ) from failure
    return file


def _plain(content: bytes) -> bytes:
    """Text without a byte order mark: Windows likes to write UTF-16."""
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "")
    return content.decode(encoding, "replace").encode("ascii", "replace") if encoding else content


def _from_pem(text: bytes, source: str) -> CertificateFile:
    form: Form = "PEM"
    certificates: list[bytes] = []
    labels: set[bytes] = set()
    for label, content, line in _blocks(text, source):
        labels.add(label)
        if label in _CERTIFICATE:
            certificates.append(_decoded(content, line, source))
        elif label == _TRUSTED:
            certificates.append(_element(_decoded(content, line, source)))  # OpenSSL writes its own notes behind it
        elif label in _PKCS7:
            form = "PKCS#7"
            certificates += _from_pkcs7(_decoded(content, line, source), source)
    if not certificates:
        raise ChainFileError(f"{source}: {_instead(labels)}")
    return CertificateFile(source, form, tuple(certificates), any(label.endswith(b"PRIVATE KEY") for label in labels))


def _blocks(text: bytes, source: str) -> Iterator[tuple[bytes, bytes, int]]:
    """Label, content and first line of each PEM block, in time that grows with the text and no faster."""
    position, line = 0, 1
    while (begin := _BEGIN.search(text, position)) is not None:
        line += text.count(b"\n", position, begin.start())
        last = b"-----END %b-----" % begin[1]
        end = text.find(last, begin.end())
        following = _BEGIN.search(text, begin.end())
        if end < 0 or (following is not None and following.start() < end):
            raise ChainFileError(
                f"{source}: the block that begins in line {line} does not end: the file was cut off, or its line "
                "-----END ...----- is broken; copy it again, whole"
            )
        yield begin[1], text[begin.end() : end], line
        position = end + len(last)
        line += text.count(b"\n", begin.start(), position)


def _instead(labels: set[bytes]) -> str:
    """Explain what a PEM file has in place of a certificate."""
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        return "a private key without a certificate; name the certificate here, and this file as its key"
    if labels & _REQUEST:
        return "a request for a certificate (CSR), not a certificate; name the file that the authority sent in answer"
    known = ", ".join(sorted(label.decode("ascii") for label in labels))
    return f"no certificate in it but {known}; a file with -----BEGIN CERTIFICATE----- is expected"


def _decoded(content: bytes, line: int, source: str) -> bytes:
    try:
        return base64.b64decode(content, validate=False)
    except binascii.Error as failure:
        raise ChainFileError(
            f"{source}: the block that begins in line {line} is not base64: {failure}; copy all of it again"
        ) from failure


def _element(der: bytes) -> bytes:
    """The first DER element, without what follows it."""
    if len(der) < 4 or der[1] != 0x82:
        return der
    return der[: 4 + int.from_bytes(der[2:4])]


def _from_der(content: bytes, source: str) -> CertificateFile:
    if not content.strip():
        raise ChainFileError(f"{source}: the file is empty")
    if not content.startswith(b"0"):  # a SEQUENCE
        raise ChainFileError(
            f"{source}: neither PEM (-----BEGIN CERTIFICATE-----) nor DER nor PKCS#7; "
            "name a file of certificates, such as fullchain.pem"
        )
    with suppress(CertificateError):
        parse(content)
        return CertificateFile(source, "DER", (content,))
    if is_pkcs12(content):
        raise ChainFileError(
            f"{source}: PKCS#12 (.pfx, .p12), which holds a private key under a password; take the certificates out: "
            "openssl pkcs12 -nokeys -in FILE -out chain.pem"
        )
    return CertificateFile(source, "PKCS#7", tuple(_from_pkcs7(content, source)))


def is_pkcs12(content: bytes) -> bool:
    """Whether it is PKCS#12: PFX ::= SEQUENCE { version INTEGER (3), … } (RFC 7292 section 4)."""
    start = 2 + (content[1] & 0x7F if len(content) > 1 and content[1] > 0x80 else 0)
    return content[start : start + 3] == b"\x02\x01\x03"


def _from_pkcs7(der: bytes, source: str) -> Sequence[bytes]:
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415 - it imports all of email

    with quietly():
        try:
            found: list[x509.Certificate] = pkcs7.load_der_pkcs7_certificates(der)
            certificates = [certificate.public_bytes(Encoding.DER) for certificate in found]
        except MALFORMED as failure:
            raise ChainFileError(
                f"{source}: neither a certificate (DER) nor a PKCS#7 bundle that can be read: {str(failure)[:200]}"
            ) from failure
    if not certificates:
        raise ChainFileError(f"{source}: a PKCS#7 bundle without certificates")
    return certificates


_MAX_KEY_BYTES = 1024 * 1024
_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----")  # a certificate may stand before it


class KeyFile(RedactedStruct, frozen=True):
    """path: as it was named. mode: permission bits. public: its public half, DER (SubjectPublicKeyInfo)."""

    REDACTED = ("public",)

    path: str
    mode: int
    public: bytes


def read_key(path: Path) -> KeyFile:
    """Read a private key in PEM, without a password. Raises ChainFileError."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_BYTES)
    except OSError as failure:
        raise ChainFileError(f"{path}: {failure.strerror}") from failure
    if b"-----BEGIN" not in content:
        raise ChainFileError(f"{path}: no private key in PEM; make one of it: openssl pkey -in {path} -out key.pem")
    if (match := _KEY.search(content)) is None:
        raise ChainFileError(f"{path}: no private key in it; name the file with -----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(content[match.start() :], password=None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError as failure:
        raise ChainFileError(
            f"{path}: the private key is encrypted, and a server cannot type its password; "
            f"decrypt it: openssl pkey -in {path} -out key.pem (umask 077)"
        ) from failure
    except (ValueError, UnsupportedAlgorithm) as failure:
        raise ChainFileError(f"{path}: a private key that cannot be read: {str(failure)[:200]}") from failure
    return KeyFile(str(path), mode, public)
